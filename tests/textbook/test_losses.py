"""Losses and penalties against torch, and their wrong input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from striate.textbook import losses
from striate.textbook.arrays import TextbookError

many = settings(max_examples=50, deadline=None, derandomize=True)


def scores_and_labels(n, classes, seed):
    rng = np.random.default_rng(seed)
    return 3 * rng.normal(size=(n, classes)), rng.integers(0, classes, n)


def agree(ours, theirs, x):
    """Value and gradient at x."""
    t = torch.tensor(x, requires_grad=True)
    expected = theirs(t)
    expected.backward()
    value, gradient = ours(x)
    assert value == pytest.approx(expected.item(), rel=1e-9)
    np.testing.assert_allclose(gradient, t.grad, rtol=1e-9, atol=1e-15)


@many
@given(st.integers(1, 6), st.integers(2, 7), st.integers(0, 999))
def test_classification_losses(n, classes, seed):
    scores, labels = scores_and_labels(n, classes, seed)
    truth = torch.tensor(labels)
    agree(
        lambda s: losses.softmax_cross_entropy(s, labels),
        lambda t: F.cross_entropy(t, truth),
        scores,
    )
    for margin in (1.0, 0.3):
        agree(
            lambda s, m=margin: losses.hinge(s, labels, m),
            lambda t, m=margin: F.multi_margin_loss(t, truth, margin=m) * classes,
            scores,
        )


@many
@given(st.integers(0, 999))
def test_regression_and_penalties(seed):
    rng = np.random.default_rng(seed)
    x, target = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    agree(lambda p: losses.mse(p, target), lambda t: F.mse_loss(t, torch.tensor(target)), x)
    agree(lambda w: losses.l2(w, 0.3), lambda t: 0.15 * (t**2).sum(), x)
    agree(lambda w: losses.l1(w, 0.3), lambda t: 0.3 * t.abs().sum(), x)


def test_known_values():
    """T3: ten equal scores cost ln 10 = 2.3026; L11: the hinge of (3.2, 5.1, −1.7) at 0 is 2.9."""
    assert losses.softmax_cross_entropy(np.zeros((4, 10)), [1, 2, 3, 4])[0] == pytest.approx(
        2.302585
    )
    assert losses.hinge([[3.2, 5.1, -1.7]], [0])[0] == pytest.approx(2.9)


def test_large_scores_do_not_overflow():
    value, gradient = losses.softmax_cross_entropy([[1e4, 0.0], [-1e4, 0.0]], [1, 1])
    assert value == pytest.approx(5000)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("scores", "labels", "piece"),
    [
        (np.ones((2, 3)), [0, 3], "label 1 is 3, expected 0 to 2"),
        (np.ones((2, 3)), [0, -1], "label 1 is -1"),
        (np.ones((2, 3)), [0.0, 1.0], "float64, expected class numbers"),
        (np.ones((2, 3)), [0], "the labels has shape (1,), expected (2,)"),
        (np.ones(3), [0], "the scores has shape (3,), expected (N, C)"),
        ([[np.inf, 0]], [0], "not finite"),
    ],
)
def test_wrong_input(scores, labels, piece):
    for loss in (losses.softmax_cross_entropy, losses.hinge):
        with pytest.raises(TextbookError) as error:
            loss(scores, labels)
        assert piece in str(error.value)
    with pytest.raises(TextbookError, match="expected"):
        losses.mse(np.ones((2, 3)), np.ones(3))
