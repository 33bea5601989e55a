"""Splits (D3), batch plans (F15), statistics (D1), stores."""

import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.core.errors import DataError
from striate.data.augment import About, Pipeline
from striate.data.boxes import boxes_of
from striate.data.cache import Cache
from striate.data.dataset import open_dataset
from striate.data.decode import Unified
from striate.data.images import ArrayImages
from striate.data.loader import (
    ArrayStore,
    KeepingStore,
    ahead,
    batches,
    epoch_plan,
    hard_weights,
    loaded,
    ordered_plan,
    sampled_plan,
    selective_weights,
    steps_per_epoch,
)
from striate.data.prepare import measure, shift_and_scale
from striate.data.read import SplitDecoder
from striate.data.splits import (
    Splitting,
    dealt,
    grouped_holdout,
    stratified_folds,
    stratified_holdout,
)
from striate.data.targets import Labels, LabelSets
from tests.conftest import COLOURS, write_tree


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


def whole(count, batch):
    return epoch_plan(count, batch, 0, 0)


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("mode", ["memory", "cache", "files", "keeping"])
def test_every_store_gives_the_same(mode, threads, tree, tmp_path):
    images = open_dataset(tree).splits["train"].images
    how = Unified(12, 3, "crop", 100)
    cache = Cache(tmp_path / "cache", 0 if mode == "files" else 2**30)
    decoder = SplitDecoder(how, cache, mode == "memory", "off" if mode == "keeping" else "full")
    store = None
    for _ in range(2):  # the second time from the cache
        found, pixels = decoder.read(images)
        assert not found.faults
        assert (pixels is None) == (mode in ("files", "keeping"))
        if mode != "keeping" or store is None:
            store = decoder.store(images, (found, pixels), np.arange(len(images)), again=True)
        assert isinstance(store, KeepingStore) == (mode == "keeping")
        plan = whole(len(images), 7)
        for got, ids in zip(loaded(store, plan, threads), plan, strict=True):
            expected = np.stack([how.load(images, int(i)) for i in ids])
            np.testing.assert_array_equal(got, expected)


def test_batches_do_not_depend_on_threads_batch_size_or_start():
    store = ArrayStore(np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8))
    targets = Labels(np.arange(30))  # each image's target is its number
    about = About(8, np.zeros(3))
    for strengths in ({"pad": 1, "flip": 0.5}, {"pad": 1, "mixup": 0.4, "cutmix": 1.0}):
        pipe = Pipeline(0, strengths, about)
        reference = list(batches(store, targets, whole(30, 7), pipe, 3, start=0, threads=0))
        threaded = list(batches(store, targets, whole(30, 7), pipe, 3, start=2, threads=2))
        single = list(batches(store, targets, whole(30, 1), pipe, 3, start=0, threads=1))
        together = np.concatenate([b.images for b in reference])
        np.testing.assert_array_equal(np.concatenate([b.images for b in single]), together)
        np.testing.assert_array_equal(
            np.concatenate([b.images for b in threaded]),
            np.concatenate([b.images for b in reference[2:]]),
        )
        if pipe.mixes:
            lam = np.concatenate([b.mixing.lam for b in reference])
            np.testing.assert_array_equal(np.concatenate([b.mixing.lam for b in single]), lam)
            partners = np.concatenate([b.mixing.partners.array for b in reference])
            order = np.concatenate(whole(30, 7))
            np.testing.assert_array_equal(partners, np.roll(order, 1))


def test_joined_batches_do_not_depend_on_threads_batch_size_or_start():
    """Mosaics too: the partners are the three images before in the epoch's order."""
    store = ArrayStore(np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8))
    targets = boxes_of([
        (np.array([[0.0, 0, 16, 16]]), np.array([i]), np.zeros(1, np.uint8)) for i in range(30)
    ])  # fmt: skip
    pipe = Pipeline(0, {"mosaic": 1.0}, About(16, np.zeros(3)))
    reference = list(batches(store, targets, whole(30, 7), pipe, 3, start=0, threads=0))
    threaded = list(batches(store, targets, whole(30, 7), pipe, 3, start=2, threads=2))
    single = list(batches(store, targets, whole(30, 1), pipe, 3, start=0, threads=1))
    together = np.concatenate([b.images for b in reference])
    np.testing.assert_array_equal(np.concatenate([b.images for b in single]), together)
    np.testing.assert_array_equal(threaded[0].images, reference[2].images)
    order = np.concatenate(whole(30, 7))
    for position, batch in enumerate(single):
        wanted = {int(order[(position - k) % 30]) for k in range(4)}
        assert set(batch.targets.numbers.tolist()) == wanted
    few = list(batches(store, targets, [np.array([3, 8])], pipe, 0, start=0, threads=0))
    assert set(few[0].targets.numbers.tolist()) == {3, 8}  # fewer images than partners


def test_a_generator_closed_early_leaves_no_thread():
    before = threading.active_count()
    made = ahead(lambda x: x, range(100), 3)
    assert next(made) == 0
    made.close()
    assert threading.active_count() == before


def test_an_error_comes_at_its_place():
    def work(x):
        if x == 3:
            raise ValueError("three")
        return x

    made = ahead(work, range(9), 2)
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(made)


def test_arrays_need_no_copy():
    array = np.zeros((3, 4, 4, 1), dtype=np.uint8)
    assert ArrayImages(array).pixels(1, 100).base is array
    assert ArrayImages(array).take([2, 0]).array is array
    assert ArrayImages(array, "x[").take([2, 0]).take([1]).key(0) == "0"


class TestSamplers:
    def test_proportions(self):
        weights = np.array([1.0, 1, 2, 4, 0])
        counts = np.zeros(5)
        for epoch in range(400):
            ids = np.concatenate(sampled_plan(weights, 2, 0, epoch))
            assert len(ids) == 5
            assert len(set(ids.tolist())) == 5  # a repeated image has a number of its own
            counts += np.bincount(ids % 5, minlength=5)
        np.testing.assert_allclose(counts / counts.sum(), weights / 8, atol=0.01)

    def test_balanced_classes_occur_equally_often(self):
        targets = np.repeat([0, 1, 2], [90, 9, 1])
        ids = np.concatenate(sampled_plan(Labels(targets).balanced(), 10, 0, 0)) % 100
        counts = np.bincount(targets[ids])
        assert counts.max() - counts.min() <= 4

    def test_several_labels(self):
        table = np.array([[1, 0], [1, 0], [1, 1], [0, 0]], dtype=np.float32)
        np.testing.assert_allclose(LabelSets(table).balanced(), [1 / 3, 1 / 3, 1, 1 / 4])

    def test_a_repeated_image_is_augmented_anew(self):
        store = ArrayStore(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8))
        pipe = Pipeline(0, {"pad": 3}, About(8, np.zeros(1)))
        plan = sampled_plan(np.array([1.0, 0, 0, 0]), 4, 0, 0)
        targets = Labels(np.arange(4))
        (batch,) = batches(store, targets, plan, pipe, 0, start=0, threads=0)
        assert batch.ids.tolist() == [0, 0, 0, 0]
        assert len({image.tobytes() for image in batch.images}) > 1

    def test_hard_images_come_more_often(self):
        losses = np.array([0.1] * 50 + [2.0] * 50)
        ids = np.concatenate(sampled_plan(hard_weights(losses), 10, 0, 0)) % 100
        assert 60 < (ids >= 50).sum() < 90
        np.testing.assert_array_equal(hard_weights(np.zeros(3)), np.ones(3))

    def test_the_easier_half_comes_half_as_often(self):
        losses = np.random.default_rng(0).random(3000)
        ids = np.concatenate(sampled_plan(selective_weights(losses), 100, 0, 0)) % 3000
        times = np.bincount(ids, minlength=3000)
        easy = losses <= np.median(losses)
        assert len(ids) == 3000
        assert times[~easy].mean() == pytest.approx(2 * times[easy].mean(), abs=0.02)
        assert times[~easy].min() == 1
        assert set(times[easy].tolist()) == {0, 1}
        assert len(set(selective_weights(np.ones(9)).tolist())) == 1


class TestGroups:
    @given(st.integers(3, 40), st.integers(0, 99), st.floats(0.1, 0.5))
    def test_groups_stay_whole(self, groups, seed, fraction):
        rng = np.random.default_rng(seed)
        names = [f"g{g}" for g in range(groups) for _ in range(rng.integers(1, 9))]
        strata = rng.integers(0, 3, len(names))
        kept, held = grouped_holdout(strata, names, fraction, seed, "test")
        assert sorted([*kept, *held]) == list(range(len(names)))
        assert not {names[i] for i in kept} & {names[i] for i in held}
        assert len(kept)
        assert len(held)

    def test_shares_and_strata_are_kept(self):
        rng = np.random.default_rng(0)
        names = [f"g{g}" for g in range(200) for _ in range(5)]
        strata = np.repeat(rng.integers(0, 4, 200), 5)
        _, held = grouped_holdout(strata, names, 0.2, 0, "test")
        shares = np.bincount(strata[held]) / np.bincount(strata)
        np.testing.assert_allclose(shares, 0.2, atol=0.03)

    def test_too_few_groups(self):
        with pytest.raises(DataError, match="2 groups cannot fill 3 parts"):
            dealt([0, 0, 1], ["a", "a", "b"], [1 / 3] * 3, 0, "folds")

    def test_an_expression_that_does_not_match(self, tree):
        with pytest.raises(DataError, match=r"not found in 12 of 12 paths"):
            open_dataset(tree, Splitting(group_by="patient(\\d+)"))

    def test_groups_across_given_splits_stop(self, tree):
        with pytest.raises(DataError, match="4 groups are in more than one given split"):
            open_dataset(tree, Splitting(group_by=r"/(\d+)\.png"))


def test_many_groups_and_classes_need_little_memory():
    rng = np.random.default_rng(0)
    strata, groups = rng.integers(0, 1000, 40_000), rng.integers(0, 20_000, 40_000).astype(str)
    tracemalloc.start()
    numbers = dealt(strata, groups.tolist(), [0.8, 0.2], 0, "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert abs((numbers == 1).mean() - 0.2) < 0.02
    assert all(len({*numbers[groups == g]}) == 1 for g in np.unique(groups)[:200])
    assert peak < 50e6  # a dense table would be 160 MB


class TestFolds:
    @given(st.lists(st.integers(0, 3), min_size=10, max_size=120), st.integers(2, 6))
    def test_each_image_once_and_strata_even(self, strata, folds):
        numbers = stratified_folds(strata, folds, 0)
        sizes = np.bincount(numbers, minlength=folds)
        assert sizes.max() - sizes.min() <= 1
        for value in set(strata):
            inside = np.bincount(numbers[np.array(strata) == value], minlength=folds)
            assert inside.max() - inside.min() <= 1

    def test_folds_of_a_dataset_partition_it(self, tmp_path):
        root = write_tree(tmp_path, dict.fromkeys(COLOURS, 10))
        seen = []
        for fold in (1, 2, 3):
            opened = open_dataset(root, Splitting(folds=3, fold=fold))
            images = opened.splits["test"].images
            seen += [images.key(i) for i in range(len(images))]
            assert opened.splits_from["test"] == f"fold {fold} of 3, stratified, seed 0"
        assert len(seen) == len(set(seen)) == 30


def test_the_latest_are_held_out(tmp_path):
    write_tree(tmp_path, dict.fromkeys(COLOURS, 10))
    rows = [f"{c}/{i}.png,{c},{2000 + i}" for c in COLOURS for i in range(10)]
    (tmp_path / "table.csv").write_text("path,label,year\n" + "\n".join(rows))
    opened = open_dataset(tmp_path / "table.csv", Splitting(time_by="year"))
    years = {
        name: [2000 + int(split.images.key(i).split("/")[1][:-4]) for i in range(len(split))]
        for name, split in opened.splits.items()
    }
    assert max(years["train"]) < min(years["val"]) <= max(years["val"]) < min(years["test"])
    assert len(years["test"]) == 6


def test_groups_from_a_column(tmp_path):
    write_tree(tmp_path, dict.fromkeys(COLOURS, 12))
    rows = [f"{c}/{i}.png,{c},p{i}" for c in COLOURS for i in range(12)]
    (tmp_path / "table.csv").write_text("path,label,patient\n" + "\n".join(rows))
    opened = open_dataset(tmp_path / "table.csv", Splitting(group_by="patient"))
    patients = [
        {split.images.key(i).split("/")[1] for i in range(len(split))}
        for split in opened.splits.values()
    ]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 12


def test_whitening_decorrelates():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(50, 9, 9, 1)) * [30.0, 20, 10] + rng.normal(size=(50, 9, 9, 3)) * 9
    images = (images + 120).clip(0, 255).astype(np.uint8)
    shift, matrix = shift_and_scale("whiten", measure(np.array_split(images, 5)))
    flat = ((images - shift) @ matrix).reshape(-1, 3)
    np.testing.assert_allclose(np.cov(flat.T), np.eye(3), atol=1e-3)
    np.testing.assert_allclose(flat.mean(axis=0), 0, atol=1e-3)
    assert np.isfinite(shift_and_scale("whiten", measure([images[..., :1].repeat(3, 3)]))[1]).all()
