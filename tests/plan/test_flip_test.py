"""The flip probe: labels that a mirror changes forbid flips, others allow them (D2)."""

import numpy as np
import pytest

from striate.tasks.classify import make_task
from striate.training.probe import flip_probe

TASK = make_task("cross_entropy", smoothing=0.0, multi_label=False)


def arrows(count, seed, size=12):
    """A bright bar on the left (class 0) or the right (class 1): mirroring swaps the classes."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    images = rng.integers(0, 90, (count, size, size, 1)).astype(np.uint8)
    for image, target in zip(images, targets, strict=True):
        image[:, 1:3] += np.uint8(150 * (target == 0))
        image[:, -3:-1] += np.uint8(150 * (target == 1))
    return images, targets


def shades(count, seed, size=12):
    """Dark or bright: a mirror changes nothing."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    images = rng.integers(0, 90, (count, size, size, 1)) + 120 * targets[:, None, None, None]
    return images.astype(np.uint8), targets


def noise(count, seed, size=12):
    """Nothing to learn."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (count, size, size, 1)).astype(np.uint8), rng.integers(0, 2, count)


@pytest.mark.parametrize(("make", "flip"), [(arrows, False), (shades, True)])
@pytest.mark.parametrize("size", [12, 70])
def test_verdicts(make, flip, size):
    verdict = flip_probe(make(240, 0, size), make(60, 1, size), TASK, 2, seed=0)
    assert verdict.flip == flip, verdict.why


def test_no_skill_means_no_flips():
    verdict = flip_probe(noise(150, 0), noise(50, 1), TASK, 2, seed=0)
    assert not verdict.flip
    assert verdict.why.startswith("undecided, so no")


def test_the_same_answer_twice():
    first, again = (flip_probe(arrows(90, 0), arrows(30, 1), TASK, 2, seed=3) for _ in range(2))
    assert first == again
