"""Splits (D3), batch plans (F15), statistics (D1), stores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.data.check import Unified, decode_all
from striate.data.dataset import open_dataset
from striate.data.images import ArrayImages
from striate.data.loader import DiskStore, MemoryStore, epoch_plan, ordered_plan, steps_per_epoch
from striate.data.prepare import measure, shift_and_scale
from striate.data.splits import stratified_holdout


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.floats(0.01, 0.9))
def test_stratified_holdout(strata, fraction):
    kept, held = stratified_holdout(strata, fraction, 0, "test")
    assert sorted([*kept, *held]) == list(range(len(strata)))
    for value in set(strata):
        total = strata.count(value)
        out = sum(strata[i] == value for i in held)
        assert out == 0 if total == 1 else 1 <= out <= total - 1
        assert abs(out - total * fraction) <= 1 or out in (1, total - 1)


@given(st.integers(1, 400), st.integers(1, 64))
def test_plans_hold_each_image_once_and_no_lone_remainder(count, batch):
    for plan in (epoch_plan(count, batch, 0, 3), ordered_plan(count, batch)):
        assert sorted(np.concatenate(plan)) == list(range(count))
        lengths = [len(ids) for ids in plan]
        assert len(plan) == steps_per_epoch(count, batch)
        assert max(lengths) <= batch
        assert max(lengths) - min(lengths) <= 1  # F15: 65 images by 64 are 33 + 32, never 64 + 1


def test_epochs_are_shuffled_differently():
    orders = [np.concatenate(epoch_plan(100, 10, 0, e)).tolist() for e in range(3)]
    assert len({tuple(o) for o in orders}) == 3


def test_statistics_match_numpy():
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 7, 3), dtype=np.uint8)
    found = measure(np.array_split(images, 7))
    np.testing.assert_allclose(found.mean, images.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(found.deviation, images.std(axis=(0, 1, 2)))
    np.testing.assert_allclose(found.mean_image, images.mean(axis=0))


@pytest.mark.parametrize("kind", ["standardise", "mean_image", "unit", "symmetric"])
def test_preparations(kind):
    images = np.random.default_rng(0).integers(0, 256, (500, 4, 4, 1), dtype=np.uint8)
    shift, scale = shift_and_scale(kind, measure([images]))
    x = (images - shift) * scale
    if kind == "standardise":
        assert x.mean() == pytest.approx(0, abs=1e-4)
        assert x.std() == pytest.approx(1, abs=1e-4)
    if kind == "mean_image":
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-4)
    if kind == "unit":
        np.testing.assert_allclose((x.min(), x.max()), (0, 1), atol=1e-6)
    if kind == "symmetric":
        np.testing.assert_allclose((x.min(), x.max()), (-1, 1), atol=1e-6)


def test_a_constant_channel_stays_finite():
    _, scale = shift_and_scale("standardise", measure([np.full((3, 4, 4, 1), 9, np.uint8)]))
    assert np.isfinite(scale).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_give_what_memory_gives(workers, tree):
    images = open_dataset(tree).splits["train"].images
    how = Unified(12, 3, "crop", 100)
    pixels, faults = decode_all(images, how, (), keep=True)
    assert not faults
    plan = epoch_plan(len(images), 7, 0, 0)
    from_memory = list(MemoryStore(pixels).batches(plan))
    from_disk = list(DiskStore(images, how, workers).batches(plan))
    for a, b in zip(from_memory, from_disk, strict=True):
        np.testing.assert_array_equal(a, b)


def test_arrays_need_no_copy():
    array = np.zeros((3, 4, 4, 1), dtype=np.uint8)
    assert ArrayImages(array).pixels(1, 100).base is array
