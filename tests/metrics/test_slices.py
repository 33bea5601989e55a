"""Slices: worse parts are found, chance is not, and corrections are those of a plain formula."""

import numpy as np
import pytest

from striate.metrics.slices import by_slice, holm


def test_a_worse_part_is_found_and_comes_first():
    rng = np.random.default_rng(0)
    place = rng.choice(["indoor", "outdoor", "night"], 600)
    right = (rng.random(600) < np.where(place == "night", 0.7, 0.95)).astype(float)
    first = by_slice(right, {"place": place, "size": rng.integers(20, 400, 600)})[0]
    assert (first.column, first.value, first.worse) == ("place", "night", True)
    assert first.low < first.score < first.high < first.others
    assert first.n == (place == "night").sum()


def test_chance_is_not_taken_for_a_difference():
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(60):
        right = (rng.random(300) < 0.9).astype(float)
        columns = {str(c): rng.random(300) for c in range(5)}
        alarms += any(s.worse for s in by_slice(right, columns))
    assert alarms <= 6  # 5 % of 60 are 3


def test_numbers_are_quartered_and_small_parts_left_out():
    values = np.arange(100.0)
    found = by_slice(np.ones(100), {"x": values, "few": np.array(["a"] * 95 + ["b"] * 5)})
    assert [s.n for s in found if s.column == "x"] == [25, 25, 25, 25]
    assert [s.value for s in found if s.column == "few"] == ["a"]
    assert not any(s.worse for s in found)


def test_several_labels_have_shares():
    rng = np.random.default_rng(0)
    group = np.array(["a", "b"] * 100)
    right = np.clip(rng.normal(np.where(group == "a", 0.6, 0.9), 0.1), 0, 1)
    first = by_slice(right, {"group": group})[0]
    assert (first.value, first.worse) == ("a", True)


def test_holm():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.03, 0.06, 0.06, 0.02])
    assert len(holm(np.zeros(0))) == 0


@pytest.mark.parametrize("values", [np.zeros(50), np.array([f"name {i}" for i in range(50)])])
def test_nothing_to_compare(values):
    assert by_slice(np.ones(50), {"x": values}) == []
