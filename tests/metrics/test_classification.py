"""Scores against scikit-learn, on random and degenerate input."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from striate.metrics.classification import (
    accuracy,
    average_precision,
    confusion,
    exact_match,
    mean_average_precision,
    precision_recall_f1,
    top_k_error,
)


@pytest.mark.parametrize("seed", range(5))
def test_random_input(seed):
    rng = np.random.default_rng(seed)
    truth, scores = rng.integers(0, 7, 200), rng.random((200, 7))
    predicted = scores.argmax(axis=1)
    assert accuracy(truth, scores) == pytest.approx(sk.accuracy_score(truth, predicted))
    for k in (1, 3, 5):
        expected = 1 - sk.top_k_accuracy_score(truth, scores, k=k)
        assert top_k_error(truth, scores, k) == pytest.approx(expected)
    table = confusion(truth, predicted, 7)
    np.testing.assert_array_equal(table, sk.confusion_matrix(truth, predicted))
    expected = sk.precision_recall_fscore_support(truth, predicted, zero_division=0)[:3]
    np.testing.assert_allclose(precision_recall_f1(table), np.stack(expected, axis=1))
    several = rng.random((200, 7)) < 0.3
    for c in range(7):
        expected = sk.average_precision_score(several[:, c], scores[:, c])
        assert average_precision(several[:, c], scores[:, c]) == pytest.approx(expected)
    expected = sk.average_precision_score(several, scores, average="macro")
    assert mean_average_precision(several, scores) == pytest.approx(expected)
    assert exact_match(several, scores - 0.5) == pytest.approx(
        sk.accuracy_score(several, scores > 0.5)
    )


def test_ties_in_average_precision():
    truth, scores = np.array([1, 0, 1, 0, 0]), np.array([0.5, 0.5, 0.5, 0.1, 0.9])
    assert average_precision(truth, scores) == pytest.approx(
        sk.average_precision_score(truth, scores)
    )


def test_equal_scores_are_no_top_k_success():
    assert top_k_error(np.array([0, 1]), np.zeros((2, 10)), 5) == 1.0


def test_degenerate_input():
    empty = np.zeros((0, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(accuracy(np.zeros(0, int), empty))
        assert np.isnan(top_k_error(np.zeros(0, int), empty))
        assert np.isnan(average_precision(np.zeros(4), np.arange(4.0)))
        assert np.isnan(mean_average_precision(np.zeros((4, 2)), np.zeros((4, 2))))
        one_class = precision_recall_f1(confusion(np.zeros(5, int), np.ones(5, int), 3))
    nan = np.nan  # class 1 has no images, so no recall; class 0 was never predicted; 2 is neither
    np.testing.assert_array_equal(one_class, [[nan, 0, 0], [0, nan, nan], [nan, nan, nan]])


def test_lecture_example():
    """E1: TP=1, FP=2, FN=1, TN=2 → precision 1/3, recall 1/2."""
    truth, predicted = np.array([1, 0, 0, 1, 0, 0]), np.array([1, 1, 1, 0, 0, 0])
    precision, recall, _ = precision_recall_f1(confusion(truth, predicted, 2))[1]
    assert (precision, recall) == (pytest.approx(1 / 3), pytest.approx(1 / 2))
