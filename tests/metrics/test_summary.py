"""All figures at once: values against scikit-learn, intervals around them, and degenerate input."""

import numpy as np
import pytest
from sklearn import metrics as sk

from striate.metrics.summary import summarise


def example(n=600, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + 2 * np.eye(classes)[truth]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, shares


def summary(truth, shares):
    right = float((shares.argmax(axis=1) == truth).mean())
    losses = -np.log(shares[np.arange(len(truth)), truth])
    return summarise(truth, shares, losses, {"accuracy": right, "loss": float(losses.mean()),
                                             "n": len(truth)})  # fmt: skip


def test_values():
    truth, shares = example()
    found, predicted = summary(truth, shares).scores, shares.argmax(axis=1)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth, predicted, average="macro"))
    onehot = np.eye(5)[truth]
    assert found["mean_average_precision"] == pytest.approx(
        sk.average_precision_score(onehot, shares, average="macro")
    )
    assert found["mean_area_under_roc"] == pytest.approx(
        sk.roc_auc_score(truth, shares, multi_class="ovr")
    )


def test_every_figure_has_an_interval_around_it():
    found = summary(*example())
    assert found.scores.keys() - found.intervals.keys() == {"n"}
    assert found.intervals.keys() == found.by.keys()
    for name, (low, high) in found.intervals.items():
        if name != "calibration_error":  # chance only adds to it: the truth lies below
            assert low < found.scores[name] < high, name
    for row in found.classes:
        assert {"precision", "recall", "f1", "average_precision"} <= row.keys()


def test_intervals_hold():
    """Mean average precision of many samples lies in the interval of one, nearly always."""
    truth = np.mean([summary(*example(seed=s)).scores["mean_average_precision"] for s in range(30)])
    inside = []
    for seed in range(30):
        low, high = summary(*example(seed=seed)).intervals["mean_average_precision"]
        inside.append(low < truth < high)
    assert np.mean(inside) >= 0.85


def test_several_labels():
    rng = np.random.default_rng(0)
    truth, shares = (rng.random((200, 4)) < 0.3).astype(int), rng.random((200, 4))
    scores = {"mean_average_precision": 0.3, "exact_match": 0.1, "loss": 0.7, "n": 200}
    found = summarise(truth, shares, rng.random(200), scores)
    low, high = found.intervals["mean_average_precision"]
    assert low < found.scores["mean_average_precision"] < high
    assert found.scores["mean_average_precision"] == pytest.approx(
        sk.average_precision_score(truth, shares, average="macro")
    )
    assert "average_precision" in found.classes[0]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_images(n):
    truth, shares = example()
    with np.errstate(all="raise"):
        found = summarise(truth[:n], shares[:n], np.ones(n), {"accuracy": 1.0, "loss": 1.0, "n": n})
    assert found.scores["n"] == n
    assert np.isnan(found.intervals["loss"]).all() == (n < 2)


def test_one_class_only():
    shares = np.tile([0.9, 0.1], (20, 1))
    found = summarise(np.zeros(20, dtype=int), shares, np.ones(20),
                      {"accuracy": 1.0, "loss": 0.1, "n": 20})  # fmt: skip
    assert found.scores["balanced_accuracy"] == 1.0
    assert found.intervals["balanced_accuracy"][0] < 0.9  # no error among 20 is no proof
    assert found.scores["mean_average_precision"] == 1.0
    assert "mean_area_under_roc" not in found.scores


def test_losses_that_are_all_the_same():
    """Of a dead network: a mean without a spread, and above 1."""
    truth = np.arange(10) % 5
    for shares in (np.full((10, 5), 0.2), np.eye(5)[(truth + 1) % 5]):
        losses = np.full(10, 2.3)
        found = summarise(truth, shares, losses, {"accuracy": 0.0, "loss": 2.3, "n": 10})
        assert found.intervals["loss"] == (pytest.approx(2.3), pytest.approx(2.3))
        assert found.intervals["accuracy"][0] == 0


def test_a_perfect_score_of_a_rare_class_is_not_certain():
    truth = np.repeat([0, 1], [998, 2])
    found = summary(truth, np.where(np.eye(2)[truth] > 0, 0.9, 0.1))
    for name in ("balanced_accuracy", "macro_f1", "mean_average_precision", "mean_area_under_roc"):
        assert found.intervals[name][0] < 0.5, name
    assert found.classes[1]["average_precision"][0] < 0.5
    assert found.classes[0]["average_precision"][0] > 0.99


@pytest.mark.parametrize(("warp", "true"), [(1.0, 0.0), (0.7, 0.066)])
def test_intervals_of_the_calibration_error_hold(warp, true):
    """Of an honest network, whose error is 0, and of one that is too sure."""
    inside = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        logits = 2 * rng.normal(size=(1000, 3))
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        truth = (shares.cumsum(axis=1) > rng.random((1000, 1))).argmax(axis=1)
        told = np.exp(logits / warp) / np.exp(logits / warp).sum(axis=1, keepdims=True)
        low, high = summary(truth, told).intervals["calibration_error"]
        inside.append(low <= true <= high)
    assert np.mean(inside) >= 0.85
