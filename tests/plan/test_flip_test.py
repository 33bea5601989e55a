"""The flip test: labels that a mirror changes forbid flips, others allow them (D2)."""

import numpy as np
import pytest

from striate.data.targets import Labels
from striate.plan.flip_test import flip_test
from striate.tasks import make_task

TASK = make_task("labels", "cross_entropy", smoothing=0.0)


def arrows(count, seed, size=12):
    """A bright bar on the left (class 0) or the right (class 1): mirroring swaps the classes."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    images = rng.integers(0, 90, (count, size, size, 1)).astype(np.uint8)
    for image, target in zip(images, targets, strict=True):
        image[:, 1:3] += np.uint8(150 * (target == 0))
        image[:, -3:-1] += np.uint8(150 * (target == 1))
    return images, Labels(targets)


def shades(count, seed, size=12):
    """Dark or bright: a mirror changes nothing."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    images = rng.integers(0, 90, (count, size, size, 1)) + 120 * targets[:, None, None, None]
    return images.astype(np.uint8), Labels(targets)


def noise(count, seed, size=12):
    """Nothing to learn."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 255, (count, size, size, 1)).astype(np.uint8)
    return images, Labels(rng.integers(0, 2, count))


@pytest.mark.parametrize(("make", "flip"), [(arrows, False), (shades, True)])
@pytest.mark.parametrize("size", [12, 70])
def test_verdicts(make, flip, size):
    verdict = flip_test(make(240, 0, size), make(60, 1, size), TASK, 2, seed=0)
    assert verdict.flip == flip, verdict.why


def test_no_skill_means_no_flips():
    verdict = flip_test(noise(150, 0), noise(50, 1), TASK, 2, seed=0)
    assert not verdict.flip
    assert verdict.why.startswith("undecided, so no")


def test_the_same_answer_twice():
    first, again = (flip_test(arrows(90, 0), arrows(30, 1), TASK, 2, seed=3) for _ in range(2))
    assert first == again


def one_sided(count, seed, size=16):
    """A bar left or right that nearly always tells the class is learnt first, a fine texture that a
    mirror does not change later."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    images = rng.integers(80, 140, (count, size, size, 1))
    right = np.where(rng.random(count) < 0.97, targets, 1 - targets)
    y, x = np.indices((size, size))
    for image, target, here in zip(images, targets, right, strict=True):
        image[:, 10:14] += 90 * here
        image[:, 2:6] += 90 * (1 - here)
        image[..., 0] += 14 * ((x * target + y) % 2)
    return images.clip(0, 255).astype(np.uint8), Labels(targets)


def test_who_wants_to_know_exactly_waits_for_the_end():
    """After some steps mirrored images look hopeless, at the end they are read."""
    images, targets = one_sided(4000, 0)
    cut = np.arange(3000)
    train, val = (
        (images[:3000], targets.take(cut)),
        (images[3000:], targets.take(cut[:1000] + 3000)),
    )
    assert flip_test(train, val, TASK, 2, seed=0, early=False).flip
