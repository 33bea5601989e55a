"""Checks with a model: planted wrong labels are found, unlike splits are told apart."""

import numpy as np
import pytest

from striate.audit.check import check
from striate.audit.crossfit import SIDE, crossfit
from striate.audit.labels import doubtful_labels
from striate.core.errors import MissingExtraError
from striate.data.decode import Unified
from striate.data.sources import open_source
from striate.metrics.difference import told_apart
from striate.training.log import drained
from tests.conftest import write_tree


@pytest.fixture(scope="module")
def digits():
    part = open_source("digits").parts["all"]
    how = Unified(SIDE, 1, "squash", 1)
    pixels = np.stack([how.load(part.images, i) for i in range(len(part))])
    return pixels, part.targets.array


@pytest.fixture(scope="module")
def noisy(digits):
    """5 % of the labels are wrong."""
    pixels, targets = digits
    rng = np.random.default_rng(0)
    wrong = rng.choice(len(targets), len(targets) // 20, replace=False)
    labels = targets.copy()
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, len(wrong))) % 10
    return labels, set(wrong.tolist()), crossfit({"train": (pixels, labels)}, 10)["train"]


@pytest.mark.slow
def test_planted_wrong_labels_are_found(noisy):
    pytest.importorskip("cleanlab", reason="extra: audit")
    labels, wrong, judged = noisy
    found = set(doubtful_labels(labels, judged.probabilities).tolist())
    assert len(found & wrong) / len(wrong) > 0.8
    assert len(found & wrong) / len(found) > 0.7


@pytest.mark.slow
def test_no_image_is_judged_by_a_network_that_saw_it(noisy, digits):
    """Otherwise it would have learned the wrong labels by heart."""
    labels, wrong, judged = noisy
    places = np.array(sorted(wrong))
    assert (judged.probabilities[places].argmax(1) == labels[places]).mean() < 0.2
    assert (judged.probabilities.argmax(1) == digits[1]).mean() > 0.9


@pytest.mark.slow
def test_without_cleanlab(monkeypatch, noisy):
    monkeypatch.setitem(__import__("sys").modules, "cleanlab.filter", None)
    with pytest.raises(MissingExtraError, match="pip install 'striate\\[audit\\]'"):
        doubtful_labels(noisy[0], noisy[2].probabilities)


def test_alike_and_unlike():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(600, 20)), rng.normal(size=(500, 20))
    alike = told_apart(one, other)
    assert alike.low < 0.55
    assert 0.4 < alike.area < 0.6
    unlike = told_apart(one, other + 0.5)
    assert unlike.low > 0.8
    assert unlike.low <= unlike.area <= unlike.high


def test_the_interval_is_honest():
    """For alike splits 0.5 lies in it nearly always."""
    inside = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        found = told_apart(rng.normal(size=(150, 8)), rng.normal(size=(150, 8)), seed)
        inside += found.low <= 0.53
    assert inside >= 7


def test_a_weak_network_does_not_accuse(tmp_path):
    """Colours that mean nothing: no label can be called wrong."""
    counts = {f"{split}/{c}": n for split, n in (("train", 60), ("val", 40)) for c in "ab"}
    root = write_tree(tmp_path, counts, (32, 32))
    found = drained(check(str(root)))
    assert not [f for f in found.findings if f.rule == "doubtful labels" and f.verdict == "warn"]
    assert any(f.rule == "split difference" for f in found.findings)
