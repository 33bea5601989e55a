"""Intervals against scipy, against plain resampling of images, and by how often they hold."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binom, binomtest

from striate.metrics.classification import balanced_accuracy, confusion, macro_f1
from striate.metrics.intervals import (
    difference,
    exact,
    mcnemar,
    mean_interval,
    of_mean,
    of_table,
    wilson,
)


@pytest.mark.parametrize(("right", "n"), [(0, 5), (5, 5), (1, 3), (90, 100), (4998, 5000)])
def test_wilson(right, n):
    known = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((known.low, known.high))


def test_wilson_holds_as_often_as_it_says():
    n, share = 60, 0.93
    counts = np.arange(n + 1)
    inside = [low <= share <= high for low, high in (wilson(k, n) for k in counts)]
    assert 0.92 < binom.pmf(counts, n, share)[inside].sum() < 0.98


def test_of_mean_holds_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [of_mean(rng.exponential(size=200)) for _ in range(500)]
    assert np.mean([low < 1 < high for low, high in found]) == pytest.approx(0.95, abs=0.03)


def naive(truth, predicted, statistic, classes, resamples=1000):
    """The textbook's bootstrap: draw images, not cells."""
    rng, n, values = np.random.default_rng(1), len(truth), []
    for _ in range(resamples):
        i = rng.integers(0, n, n)
        values.append(statistic(confusion(truth[i], predicted[i], classes)))
    return np.percentile(values, (2.5, 97.5))


def test_of_table_is_the_bootstrap_over_images():
    rng = np.random.default_rng(0)
    truth = rng.choice(5, 400, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    predicted = np.where(rng.random(400) < 0.8, truth, rng.integers(0, 5, 400))
    statistics = {"balanced": balanced_accuracy, "f1": macro_f1}
    found = of_table(confusion(truth, predicted, 5), statistics)
    for name, f in statistics.items():
        wanted = naive(truth, predicted, lambda t, f=f: f(t.diagonal(), t.sum(0), t.sum(1)), 5)
        assert found[name] == pytest.approx(wanted, abs=0.012)


def test_differences_on_the_same_images():
    rng = np.random.default_rng(0)
    theirs = rng.random(2000) < 0.8
    ours = np.where(rng.random(2000) < 0.05, True, theirs)
    mean, (low, high) = difference(ours, theirs)
    assert mean == pytest.approx(ours.mean() - theirs.mean())
    assert 0 < low < mean < high
    losses = rng.random(2000)
    mean, (low, high) = difference(losses + 0.01, losses)
    assert (low, mean, high) == (pytest.approx(0.01),) * 3


def test_mcnemar_by_its_sum():
    """8 images only ours gets right, 2 only theirs: both tails of a fair coin."""
    ours = np.array([True] * 8 + [False] * 2 + [True] * 30)
    theirs = np.array([False] * 8 + [True] * 2 + [True] * 30)
    wanted = 2 * sum(math.comb(10, k) for k in range(3)) / 2**10
    assert mcnemar(ours, theirs) == pytest.approx(wanted)
    assert mcnemar(ours, ours) == 1.0


def test_without_images():
    assert np.isnan(wilson(0, 0)).all()
    assert np.isnan(of_mean(np.zeros(1))).all()
    assert of_mean(np.ones(40)) == wilson(40, 40)  # all right is no certainty
    assert of_mean(np.arange(40) % 4 == 0) == wilson(10, 40)
    assert np.isnan(of_table(np.zeros((3, 3), dtype=int), {"f1": macro_f1})["f1"]).all()
    assert np.isnan(difference(np.zeros(0), np.zeros(0))[0])


@pytest.mark.parametrize("n", [1, 2, 7.5, 30, 1e6])
def test_clopper_and_pearson_by_the_beta_distribution(n):
    for right in (0, n / 3, n - 1, n):
        low, high = exact(right, n)
        assert low == pytest.approx(stats.beta.ppf(0.025, right, n - right + 1) if right else 0)
        assert high == pytest.approx(
            stats.beta.ppf(0.975, right + 1, n - right) if right < n else 1
        )


def test_mean_interval_by_students_distribution():
    values = [0.3, 0.5, 0.45]
    wanted = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert mean_interval(values) == pytest.approx(wanted)


def test_mcnemar_by_the_binomial_test():
    for only_ours, only_theirs in ((0, 0), (0, 5), (3, 3), (7, 2), (40, 71)):
        ours = np.repeat([True, False, True], (only_ours, only_theirs, 4))
        theirs = np.repeat([False, True, True], (only_ours, only_theirs, 4))
        both = only_ours + only_theirs
        wanted = stats.binomtest(only_ours, both).pvalue if both else 1.0
        assert mcnemar(ours, theirs) == pytest.approx(wanted)
