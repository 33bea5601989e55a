"""Curves and thresholds against scikit-learn, with ties and degenerate input."""

import numpy as np
import pytest
from sklearn import metrics as sk

from striate.metrics.curves import curve, threshold_for


def example(seed, ties):
    rng = np.random.default_rng(seed)
    truth = rng.random(300) < 0.3
    scores = rng.normal(size=300) + truth
    return truth, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_points_and_areas(seed, ties):
    truth, scores = example(seed, ties)
    found = curve(truth, scores)
    precision, recall, thresholds = sk.precision_recall_curve(truth, scores)
    np.testing.assert_allclose(found.precision[::-1], precision[:-1])
    np.testing.assert_allclose(found.recall[::-1], recall[:-1])
    np.testing.assert_allclose(found.thresholds[::-1], thresholds)
    false, true, _ = sk.roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(found.false_positive_rate, false[1:])
    np.testing.assert_allclose(found.recall, true[1:])
    assert found.area_under_roc == pytest.approx(sk.roc_auc_score(truth, scores))
    assert found.average_precision == pytest.approx(sk.average_precision_score(truth, scores))


def test_thinned_curves_keep_their_shape():
    truth, scores = example(0, ties=False)
    found = curve(truth, scores)
    few = found.thinned(60)
    assert 20 < len(few.thresholds) <= 61
    assert few.recall[-1] == 1.0
    assert few.area_under_roc == pytest.approx(found.area_under_roc, abs=0.02)


def test_thresholds_reach_what_was_wanted():
    truth, scores = example(1, ties=False)
    found = curve(truth, scores)
    at = threshold_for(found, precision=0.8)
    called = scores >= at
    assert sk.precision_score(truth, called) >= 0.8
    others = [t for t in scores if sk.precision_score(truth, scores >= t, zero_division=0) >= 0.8]
    assert max(sk.recall_score(truth, scores >= t) for t in others) == pytest.approx(
        sk.recall_score(truth, called)
    )
    at = threshold_for(found, recall=0.9)
    assert sk.recall_score(truth, scores >= at) >= 0.9
    assert threshold_for(found, precision=1.1) is None
    with pytest.raises(ValueError, match="a precision or a recall"):
        threshold_for(found)


def test_degenerate_input():
    none = curve(np.zeros(4), np.arange(4.0))
    assert np.isnan([none.average_precision, none.area_under_roc]).all()
    every = curve(np.ones(4), np.arange(4.0))
    assert every.average_precision == 1.0
    assert np.isnan(every.area_under_roc)
    empty = curve(np.zeros(0), np.zeros(0))
    assert np.isnan(empty.average_precision)
    same = curve(np.array([1, 0, 1, 0]), np.zeros(4))
    assert (same.average_precision, same.area_under_roc) == (0.5, 0.5)
