"""All figures at once: values against scikit-learn, intervals around them, and degenerate input."""

import numpy as np
import pytest
from sklearn import metrics as sk

from striate.metrics.summary import summarise, summarise_sets


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
    found = summarise_sets(truth, shares, rng.random(200), scores)
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
        low, high = found.intervals["loss"]
        assert low == pytest.approx(2.3)
        assert 2.3 < high < 4  # an image that none of ten was like may be worse
        assert found.intervals["accuracy"][0] == 0


def test_a_perfect_score_of_a_rare_class_is_not_certain():
    truth = np.repeat([0, 1], [998, 2])
    found = summary(truth, np.where(np.eye(2)[truth] > 0, 0.9, 0.1))
    assert found.intervals["balanced_accuracy"][0] < 0.6
    for name in ("macro_f1", "mean_average_precision", "mean_area_under_roc"):
        assert np.isnan(found.intervals[name]).all(), name
        assert "too few images" in found.by[name]
    assert np.isnan(found.classes[1]["average_precision"]).all()
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


def drawn(rng, n, priors, strength, sureness):
    """Labels and probabilities of a classifier whose logits are signal and noise."""
    truth = rng.choice(len(priors), n, p=priors)
    z = rng.normal(size=(n, len(priors)))
    z[np.arange(n), truth] += strength
    logits = z * strength * sureness
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return truth, shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("sureness", [1.0, 2.0])
@pytest.mark.parametrize(
    ("n", "priors", "strength"),
    [(1000, [0.2] * 5, 2.96), (300, [0.2] * 5, 3.78), (100, [0.992 / 9] * 9 + [0.008], 3.75)],
)
def test_intervals_hold_or_say_that_images_are_too_few(n, priors, strength, sureness):
    """As benchmarks/intervals.py does with 400 draws and 93 %."""
    rng = np.random.default_rng(0)
    true = summary(*drawn(rng, 60_000, priors, strength, sureness)).scores
    held = {name: [] for name in true if name != "n"}
    for _ in range(80):
        found = summary(*drawn(rng, n, priors, strength, sureness))
        for name, inside in held.items():
            low, high = found.intervals[name]
            if np.isfinite(low):
                inside.append(low - 1e-9 <= true[name] <= high + 1e-9)
    for name, inside in held.items():
        assert len(inside) < 8 or np.mean(inside) > 0.87, name


def test_a_class_that_is_absent_has_no_recall():
    from striate.metrics.classification import per_class

    truth, shares = example(classes=3)
    here = truth < 2
    rows = per_class(truth[here], shares[here], ["a", "b", "c"])
    assert np.isnan(rows[2]["recall"])
    assert np.isnan(rows[2]["f1"])
    assert np.isfinite(rows[2]["precision"])


def test_one_image_has_no_average_precision():
    found = summary(np.array([1]), np.array([[0.2, 0.8]]))
    assert "mean_average_precision" not in found.scores
    assert np.isnan(found.classes[1]["average_precision"]).all()
