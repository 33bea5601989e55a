"""Numbers by position: repeatable, independent of the batch, uniform."""

import numpy as np
from scipy import stats

from striate.core.randomness import permutation, uniform


def test_a_number_depends_on_its_position_only():
    together = uniform(3, 7, "crop", np.arange(100), 4)
    alone = np.concatenate([uniform(3, 7, "crop", np.array([i]), 4) for i in range(100)])
    np.testing.assert_array_equal(together, alone)


def test_every_key_matters():
    base = uniform(1, 1, "flip", np.arange(50))
    for other in (
        uniform(2, 1, "flip", np.arange(50)),
        uniform(1, 2, "flip", np.arange(50)),
        uniform(1, 1, "crop", np.arange(50)),
        uniform(1, 1, "flip", np.arange(50, 100)),
    ):
        assert not np.any(base == other)


def test_uniform_and_uncorrelated():
    rows = uniform(0, 0, "test", np.arange(20_000), 3)
    for column in rows.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    epochs = [uniform(0, e, "test", np.arange(20_000))[:, 0] for e in range(3)]
    for a, b in [(rows[:, 0], rows[:, 1]), (epochs[0], epochs[1]), (epochs[1], epochs[2])]:
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.03
    assert abs(np.corrcoef(rows[:-1, 0], rows[1:, 0])[0, 1]) < 0.03


def test_permutation():
    order = permutation(5, 2, "order", 1000)
    assert sorted(order) == list(range(1000))
    assert not np.array_equal(order, permutation(5, 3, "order", 1000))


def test_pinned_value():
    """Old runs must resume under new versions: this number may never change."""
    assert uniform(0, 0, "crop", np.array([0]), 1)[0, 0] == PINNED


PINNED = 0.9302164317477978
