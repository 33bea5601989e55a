"""Boxes as targets: the laws, and that they follow pixels and vanish by the written rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.data.augment import About, Pipeline
from striate.data.boxes import CROWD, CUT, DIFFICULT, Boxes, boxes_of
from striate.testing import check_targets


def some(rng, images=6, classes=3, side=64):
    rows = []
    for i in range(images):
        count = int(rng.integers(0 if i else 1, 5))
        corners = rng.uniform(0, side / 2, (count, 2))
        places = np.concatenate([corners, corners + rng.uniform(4, side / 2, (count, 2))], axis=1)
        rows.append((places, rng.integers(0, classes, count), np.zeros(count, np.uint8)))
    return boxes_of(rows)


@pytest.mark.parametrize("seed", range(5))
def test_the_laws_of_targets(seed):
    assert check_targets(some(np.random.default_rng(seed)), classes=3)


@given(st.lists(st.integers(0, 4), max_size=8), st.data())
@settings(max_examples=60, deadline=None)
def test_taking_images_takes_their_objects(counts, data):
    rows = [
        (np.full((n, 4), float(i)), np.arange(n), np.zeros(n, np.uint8))
        for i, n in enumerate(counts)
    ]
    boxes = boxes_of(rows)
    ids = data.draw(st.lists(st.integers(0, max(0, len(counts) - 1)), max_size=9))
    chosen = np.array(ids if counts else [], dtype=np.int64)
    taken = boxes.take(chosen)
    assert len(taken) == len(chosen)
    for place, i in enumerate(chosen):
        own = taken.only(place)
        assert (own.places == i).all()
        np.testing.assert_array_equal(own.numbers, np.arange(counts[i]))
    kept = boxes.where(boxes.numbers % 2 == 0)
    assert len(kept) == len(boxes)
    assert (kept.numbers % 2 == 0).all()


@pytest.mark.parametrize("chain", [
    {"flip": 0.5}, {"pad": 6}, {"resized": 0.4}, {"rotate": 20}, {"affine": 0.1},
    {"flip": 0.5, "vertical_flip": 0.5, "resized": 0.5},
])  # fmt: skip
def test_boxes_follow_pixels(chain):
    """A rectangle that is drawn is found again within a pixel by the box that was moved."""
    n, side = 40, 96
    rng = np.random.default_rng(0)
    corners = rng.integers(20, 45, (n, 2)).astype(float)
    places = np.concatenate([corners, corners + rng.integers(12, 30, (n, 2))], axis=1)
    images = np.zeros((n, side, side, 1), np.uint8)
    for i, (left, top, right, bottom) in enumerate(places.astype(int)):
        images[i, top:bottom, left:right] = 255
    boxes = boxes_of([(p[None], np.zeros(1, int), np.zeros(1, np.uint8)) for p in places])
    pipe = Pipeline(1, chain, About(side, np.zeros(1)))
    moved, matrices = pipe.moved(images, np.arange(n), 0)
    after = boxes.moved(matrices, side)
    checked = 0
    for i in range(n):
        lit = np.argwhere(moved[i, ..., 0] > 127)
        own = after.only(i)
        if not len(lit) or not len(own.numbers):
            continue
        top, left = lit.min(axis=0)
        bottom, right = lit.max(axis=0) + 1
        np.testing.assert_allclose(own.places[0], [left, top, right, bottom], atol=1.01)
        checked += 1
    assert checked > 30


def test_what_leaves_is_cut_marked_and_dropped():
    still = np.array([[[1.0, 0, 0], [0, 1, 0]]])
    places = np.array([[2.0, 2, 12, 12], [-8, 0, 12, 10], [-9, 0, 1, 10], [-30, 0, -5, 9],
                       [3, 3, 4.5, 9]])  # fmt: skip
    flags = np.array([DIFFICULT, 0, 0, 0, 0], np.uint8)
    boxes = boxes_of([(places, np.arange(5), flags)]).moved(still, 20)
    assert boxes.numbers.tolist() == [0, 1, 2, 4]
    assert boxes.flags.tolist() == [DIFFICULT, 0, CUT, CUT]
    np.testing.assert_array_equal(boxes.places[1], [0, 0, 12, 10])
    assert boxes.sure.tolist() == [False, True, False, False]


def test_an_empty_image_is_known_and_a_dropped_class_takes_its_objects_along():
    none = (np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, np.uint8))
    one = (
        np.array([[0.0, 0, 9, 9], [1, 1, 5, 5]]),
        np.array([0, 1]),
        np.array([0, CROWD], np.uint8),
    )
    boxes = boxes_of([none, one, none])
    assert boxes.labelled() == 3
    assert boxes.strata().tolist() == [-1, 0, -1]
    assert boxes.of(0) == ()
    gone = boxes.renumbered(np.array([-1, 0]), 1)
    assert (len(gone), gone.numbers.tolist(), gone.flags.tolist()) == (3, [0], [CROWD])
    assert len(boxes_of([])) == 0
    assert isinstance(boxes_of([]).with_more([boxes]), Boxes)
