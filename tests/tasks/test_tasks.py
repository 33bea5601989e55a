"""Losses against NumPy (L11), and what tasks refuse."""

import numpy as np
import pytest
import torch

from striate.core.errors import RecipeError
from striate.data.targets import Labels, LabelSets
from striate.tasks import make_task
from striate.tasks.classify.losses import LOSSES

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 4)).astype(np.float32)
TRUTH = RNG.integers(0, 4, 6)
TABLE = (RNG.random((6, 4)) < 0.4).astype(np.float32)


def loss(name, targets, smoothing=0.0):
    each = LOSSES[name](torch.from_numpy(LOGITS), torch.from_numpy(targets), smoothing)
    assert each.shape == (6,)
    return each.mean().item()


def log_softmax(s):
    return s - np.log(np.exp(s).sum(axis=1, keepdims=True))


def test_cross_entropy():
    own = log_softmax(LOGITS)[np.arange(6), TRUTH]
    assert loss("cross_entropy", TRUTH) == pytest.approx(-own.mean(), rel=1e-5)
    smoothed = -(0.9 * own + 0.1 * log_softmax(LOGITS).mean(axis=1)).mean()
    assert loss("cross_entropy", TRUTH, 0.1) == pytest.approx(smoothed, rel=1e-5)


def test_hinge_is_the_lecture_s_sum():
    total = 0.0
    for scores, y in zip(LOGITS, TRUTH, strict=True):
        total += sum(max(0, scores[j] - scores[y] + 1) for j in range(4) if j != y)
    assert loss("hinge", TRUTH) == pytest.approx(total / 6, rel=1e-5)


def test_mse():
    assert loss("mse", TRUTH) == pytest.approx(((LOGITS - np.eye(4)[TRUTH]) ** 2).mean(), rel=1e-5)


def test_sigmoid():
    p = 1 / (1 + np.exp(-LOGITS))
    expected = -(TABLE * np.log(p) + (1 - TABLE) * np.log(1 - p)).mean()
    assert loss("sigmoid", TABLE) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "hinge", "mse"])
def test_single_label_task(name):
    task = make_task("labels", name, smoothing=0.1)
    scores = task.scores({"logits": LOGITS}, Labels(TRUTH))
    assert set(scores) == {"accuracy", "plain_accuracy", "top5_error", "loss", "n"}
    assert scores["loss"] == pytest.approx(loss(name, TRUTH), rel=1e-5)
    shares = task.probabilities(LOGITS)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert (shares.argmax(axis=1) == LOGITS.argmax(axis=1)).all() or name == "mse"


def test_multi_label_task():
    task = make_task("label_sets", "sigmoid", smoothing=0)
    assert task.main_score == "mean_average_precision"
    assert set(task.scores({"logits": LOGITS}, LabelSets(TABLE))) == {
        "mean_average_precision", "plain_mean_average_precision", "exact_match", "loss", "n"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("crossentropy", "labels", "Perhaps you meant: cross_entropy"),
        ("sigmoid", "labels", "one label"),
        ("hinge", "label_sets", "several labels"),
    ],
)
def test_refusals(name, kind, expected):
    with pytest.raises(RecipeError) as error:
        make_task(kind, name, smoothing=0)
    assert expected in str(error.value)
