"""Large pictures in parts: every place is in a tile, and what two tiles say is said once."""

import numpy as np
import pytest

from striate.core.boxes import Found
from striate.plan.tiles import merged, tiles_of


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize(("width", "height"), [(100, 80), (7, 3), (1, 1), (1001, 333)])
def test_tiles_cover_the_picture(width, height, count):
    tiles = tiles_of(width, height, count)
    assert len(tiles) == 1 + (count > 1) * count**2
    assert (tiles[:, 2:] > tiles[:, :2]).all()
    assert (tiles[:, :2] >= 0).all()
    assert (tiles[:, 2] <= width).all()
    assert (tiles[:, 3] <= height).all()
    seen = np.zeros((height, width), dtype=bool)
    for left, top, right, bottom in tiles[1:] if count > 1 else tiles:
        seen[top:bottom, left:right] = True
    assert seen.all()


def found(*rows):
    places = np.array([row[:4] for row in rows], dtype=float).reshape(-1, 4)
    return Found(places, np.array([r[4] for r in rows], int), np.array([r[5] for r in rows], float))


def test_one_object_in_two_tiles_is_said_once():
    windows = np.array([[0, 0, 100, 100], [0, 0, 60, 100], [40, 0, 100, 100]], dtype=float)
    whole = found((30, 30, 80, 60, 0, 0.6))
    left = found((31, 30, 60, 61, 0, 0.9), (5, 5, 20, 20, 1, 0.5))  # cut at 60
    right = found((40, 30, 80, 60, 0, 0.8), (41, 70, 50, 80, 0, 0.4))
    said = merged([whole, left, right], windows, (100, 100))
    np.testing.assert_array_equal(said.places, [[30, 30, 80, 60], [5, 5, 20, 20], [41, 70, 50, 80]])
    np.testing.assert_array_equal(said.numbers, [0, 1, 0])
    assert (np.diff(said.scores) <= 0).all()


def test_what_only_a_cut_box_says_stays():
    windows = np.array([[0, 0, 100, 100], [0, 0, 60, 100]], dtype=float)
    said = merged([found(), found((20, 20, 59.5, 50, 0, 0.7))], windows, (100, 100))
    assert len(said.scores) == 1


def test_another_class_at_the_same_place_stays():
    windows = np.array([[0, 0, 100, 100]], dtype=float)
    said = merged([found((1, 1, 9, 9, 0, 0.5), (1, 1, 9, 9, 1, 0.4))], windows, (100, 100))
    assert len(said.scores) == 2
