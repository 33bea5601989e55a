"""Curves and thresholds against scikit-learn, with ties and degenerate input."""

import numpy as np
import pytest
from sklearn import metrics as sk

from striate.metrics.curves import areas, curve, threshold_for
from striate.metrics.intervals import of_area


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


@pytest.mark.parametrize("ties", [False, True])
def test_areas_and_what_moves_them(ties):
    """Influences against the areas of curves in which one image counts a little more."""
    truth, scores = example(0, ties)
    found, whole, n = areas(truth, scores), curve(truth, scores), len(truth)
    assert found.average_precision == pytest.approx(whole.average_precision)
    assert found.area_under_roc == pytest.approx(whole.area_under_roc)
    assert abs(found.moves_precision.sum()) < 1e-8
    assert abs(found.moves_roc.sum()) < 1e-8
    step = 1e-6
    for image in range(0, n, 29):
        weights = np.ones(n)
        weights[image] += step
        up = sk.average_precision_score(truth, scores, sample_weight=weights)
        assert (up - found.average_precision) / step * n == pytest.approx(
            found.moves_precision[image], abs=1e-3
        )
        up = sk.roc_auc_score(truth, scores, sample_weight=weights)
        assert (up - found.area_under_roc) / step * n == pytest.approx(
            found.moves_roc[image], abs=1e-3
        )


@pytest.mark.parametrize(("name", "moves"), [("average_precision", "moves_precision"),
                                             ("area_under_roc", "moves_roc")])  # fmt: skip
def test_intervals_of_areas_hold(name, moves):
    """Of 400 samples of 300 images, the true area lies in about 95 %."""
    rng = np.random.default_rng(0)

    def sample(n):
        truth = rng.random(n) < 0.3
        return areas(truth, rng.normal(size=n) + 1.5 * truth)

    true = getattr(sample(400_000), name)
    inside = []
    for _ in range(400):
        found = sample(300)
        low, high = of_area(getattr(found, name), getattr(found, moves))
        inside.append(low < true < high)
    assert 0.92 < np.mean(inside) < 0.98


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
    for truth in (np.zeros(4), np.ones(4), np.zeros(0)):
        found = areas(truth, np.arange(float(len(truth))))
        assert np.isnan(found.area_under_roc)
        assert (found.moves_roc == 0).all()
    assert areas(np.ones(4), np.arange(4.0)).average_precision == 1.0
    assert areas(np.array([1, 0, 1, 0]), np.zeros(4)).average_precision == 0.5
