"""What a review found: copies and exclusions that moved splits, caches that failed, odd sources."""

import io
import json
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

import striate
from striate.audit.check import check, check_run
from striate.core.errors import DataError, RunError
from striate.data.cache import Cache
from striate.data.check.changes import Registered, changes
from striate.data.dataset import open_dataset
from striate.data.decode import Unified
from striate.data.images import ArrayImages, content_hash
from striate.data.read import SplitDecoder
from striate.data.shards import write_shards
from striate.data.sources import open_source
from striate.data.splits import Splitting, latest
from striate.training.log import drained
from tests.conftest import COLOURS, QUICK, encoded, picture, write_tree


def keys(dataset, split):
    images = dataset.splits[split].images
    return {images.key(i) for i in range(len(images))}


@pytest.fixture
def doubled(tmp_path):
    """Class folders in which some images are there twice."""
    root = write_tree(tmp_path / "data", dict.fromkeys(COLOURS, 20))
    for i in range(8):
        (root / "red" / f"copy{i}.png").write_bytes((root / "red" / f"{i}.png").read_bytes())
    return root


def test_a_run_whose_held_out_copies_were_left_out_can_be_evaluated(doubled, tmp_path):
    run = striate.train(doubled, run=tmp_path / "run", **QUICK)
    assert any(f["rule"] == "copies" for f in run.read_json("dataset.json")["findings"])
    assert run.evaluate()["accuracy"] == run.finished.test["accuracy"]


def test_the_check_says_what_training_does_with_copies(doubled):
    found = drained(check(str(doubled), models=False))
    assert found.verdict != "fail"
    assert any(f.rule == "held-out copies" for f in found.findings)


def test_excluding_one_image_moves_no_other(tmp_path):
    root = write_tree(tmp_path / "data", dict.fromkeys(COLOURS, 20))
    before = open_dataset(root)
    victim = min(keys(before, "train"))
    after = open_dataset(root, exclude=[("", victim)])
    assert keys(before, "test") == keys(after, "test")
    assert keys(before, "train") - keys(after, "train") == {victim}


def test_positions_are_excluded_in_their_own_split_only():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    data = {"train": (images[:40], np.arange(40) % 2), "test": (images[40:], np.arange(20) % 2)}
    opened = open_dataset(data, exclude=[("train", "3")])
    assert len(opened.splits["test"]) == 20
    assert sum(len(opened.splits[n]) for n in ("train", "val")) == 39
    with pytest.raises(DataError, match="in several splits"):
        open_dataset(data, exclude=[("", "3")])


def test_the_list_of_excluded_images_is_in_the_run(tmp_path, monkeypatch):
    root = write_tree(tmp_path / "data", dict.fromkeys(COLOURS, 20))
    table = tmp_path / "x.csv"
    table.write_text("exclude,split,image\nyes,all,red/0.png\n")
    monkeypatch.chdir(tmp_path)
    run = striate.train(root, run=tmp_path / "run", exclude="x.csv", **QUICK)
    table.unlink()
    monkeypatch.chdir(root)
    assert striate.Run(run.path).evaluate()["n"] == run.finished.test["n"]


def test_unread_images_are_not_called_changed(tmp_path, striate_cli):
    root = write_tree(tmp_path / "data", dict.fromkeys(COLOURS, 20))
    knobs = {**QUICK, "check": "off", "data.memory_mb": 0, "data.cache_mb": 0}
    run = striate.train(root, run=tmp_path / "run", **knobs)
    assert run.evaluate()["n"] == 12
    assert striate_cli("data", "check", run.path)[0] == 0
    (root / "red" / "0.png").unlink()
    assert striate_cli("data", "check", run.path)[0] == 1


def test_folds_of_another_request_are_refused(tmp_path):
    striate.cross_validate("fake:60x1x8x8x2", folds=3, run=tmp_path / "cv", **QUICK)
    for source, knobs in (("fake:60x1x8x8x2", {"folds": 2}), ("fake:80x1x8x8x2", {"folds": 3}),
                          ("fake:60x1x8x8x2", {"folds": 3, "seed": 5})):  # fmt: skip
        with pytest.raises(RunError, match="was trained with another"):
            striate.cross_validate(source, run=tmp_path / "cv", **QUICK, **knobs)


def test_folds_of_arrays_are_continued(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), np.arange(60) % 2
    stream = striate.api.folds.stream_folds(data, folds=2, run=tmp_path / "cv", **QUICK)
    for record in stream:
        if getattr(record, "step", 0) == 2:
            stream.close()
            break
    assert len(striate.cross_validate(data, folds=2, run=tmp_path / "cv", **QUICK).values) == 2


class TestTimes:
    @pytest.mark.parametrize(
        ("times", "share", "held"),
        [
            (["0.05", "0.1", "0.25", "0.5"], 0.25, [3]),
            (["-3", "-2", "-1", "0", "1"], 0.2, [4]),
            (["2023-12-31", "2024-01-02", "2024-01-01"], 0.34, [1]),
            (["f2", "f10", "f9"], 0.34, [1]),
        ],
    )
    def test_order(self, times, share, held):
        assert latest(times, share)[1].tolist() == held

    def test_ambiguous_dates(self):
        with pytest.raises(DataError, match="no time that can be put in order"):
            latest(["12/31/2023", "01/01/2024"], 0.5)


def test_blank_groups_are_refused(tmp_path):
    write_tree(tmp_path, dict.fromkeys(COLOURS, 10))
    rows = [f"{c}/{i}.png,{c},{'' if i == 3 else i}" for c in COLOURS for i in range(10)]
    (tmp_path / "t.csv").write_text("path,label,patient\n" + "\n".join(rows))
    with pytest.raises(DataError, match="3 images have nothing in the column"):
        open_dataset(tmp_path / "t.csv", Splitting(group_by="patient"))


def test_group_columns_are_no_classes_in_later_commands(tmp_path, striate_cli):
    write_tree(tmp_path, {"red": 20, "blue": 20})
    rows = [f"{c}/{i}.png,{int(c == 'red')},{int(c == 'blue')},p{i}" for c in ("red", "blue")
            for i in range(20)]  # fmt: skip
    table = tmp_path / "t.csv"
    table.write_text("path,a,b,patient\n" + "\n".join(rows))
    run = striate.train(table, run=tmp_path / "run", group_by="patient", **QUICK)
    assert run.evaluate(table)["n"] == 40
    assert striate_cli("data", "check", run.path)[0] == 0


def test_group_leakage_can_be_accepted(tmp_path):
    root = write_tree(tmp_path / "d", {f"{s}/{c}": 8 for s in ("train", "test") for c in COLOURS})
    by = r"/(\d+)\.png"
    with pytest.raises(DataError, match="accept it with --allow"):
        open_dataset(root, Splitting(group_by=by))
    opened = open_dataset(root, Splitting(group_by=by), allow=["leakage"])
    assert any(f.rule == "group leakage" and f.verdict == "warn" for f in opened.findings)


def test_a_split_that_is_all_copies(tmp_path, striate_cli):
    root = write_tree(tmp_path / "d", {f"train/{c}": 6 for c in COLOURS})
    for c in COLOURS:
        (root / "val" / c).mkdir(parents=True)
        for i in range(6):
            (root / "val" / c / f"{i}.png").write_bytes((root / f"train/{c}/{i}.png").read_bytes())
    with pytest.raises(DataError, match="pairs of pixel-identical"):
        striate.train(root, **QUICK)
    assert striate_cli("data", "check", root, "--quick")[0] == 1


def test_small_sets_and_damaged_splits_are_checked(tmp_path, striate_cli):
    root = write_tree(tmp_path / "d", {"train/a": 6, "train/b": 6, "val/a": 2, "val/b": 2})
    code, out, _ = striate_cli("data", "check", root)
    assert code == 0
    assert "fewer than 40 training images" in out
    for path in root.rglob("val/*/*.png"):
        path.write_bytes(b"x")
    assert striate_cli("data", "check", root)[0] == 1


class TestCacheFaults:
    def read(self, tree, cache):
        images = open_dataset(tree).splits["train"].images
        return SplitDecoder(Unified(12, 3, "crop", 100), cache, in_memory=False).read(images)

    def test_a_folder_that_cannot_be_made(self, tree, tmp_path):
        (tmp_path / "file").touch()
        found, pixels = self.read(tree, Cache(tmp_path / "file" / "c", 2**30))
        assert pixels is None
        assert found.seen.all()

    def test_half_written_images_are_finished(self, tree, tmp_path, monkeypatch):
        whole = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda h, d, at: whole(h, d[: max(1, len(d) // 2)], at))
        _, pixels = self.read(tree, Cache(tmp_path / "c", 2**30))
        monkeypatch.undo()
        _, fresh = self.read(tree, Cache(tmp_path / "other", 2**30))
        np.testing.assert_array_equal(pixels, fresh)

    def test_a_full_disk(self, tree, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        found, pixels = self.read(tree, Cache(tmp_path / "c", 2**30))
        assert pixels is None
        assert found.seen.all()
        assert not list((tmp_path / "c" / "pixels").iterdir())

    def test_limit_zero_writes_nothing(self, tree, tmp_path):
        self.read(tree, Cache(tmp_path / "c", 0))
        assert not (tmp_path / "c").exists()

    def test_splits_of_one_set_do_not_evict_each_other(self, tree, tmp_path):
        images = open_dataset(tree).splits["train"].images
        size = len(images) * 12 * 12 * 3
        cache = Cache(tmp_path / "c", 2 * size)
        how = Unified(12, 3, "crop", 100)
        decoder = SplitDecoder(how, cache, in_memory=False, total=3 * size)
        assert decoder.read(images)[1] is None


class TestShardFaults:
    @pytest.fixture
    def shards(self, tree, tmp_path):
        list(write_shards(open_source(tree), tmp_path / "s", size=10**6))
        return tmp_path / "s"

    def spoil(self, shards, change):
        path = shards / "striate-shards.json"
        index = json.loads(path.read_text())
        change(index)
        path.write_text(json.dumps(index))

    @pytest.mark.parametrize(
        "change",
        [
            lambda i: i["splits"].update(train=["../secret.tar"]),
            lambda i: i["splits"].update(train=["/etc/x.tar"]),
            lambda i: i.update(splits={"../x": i["splits"]["train"]}),
            lambda i: i.update(classes=["one"]),
            lambda i: i.pop("classes"),
            lambda i: i.update(format=99),
        ],
    )
    def test_hostile_or_damaged_index(self, change, shards):
        self.spoil(shards, change)
        with pytest.raises(DataError):
            open_source(shards)

    def test_an_entry_of_no_shard(self, shards):
        entries = np.load(shards / "train.entries.npy")
        entries["shard"] = 9
        np.save(shards / "train.entries.npy", entries)
        with pytest.raises(Exception, match="cannot be read"):
            open_source(shards).parts["train"].images.raw(0)

    def test_a_folder_with_an_index_of_its_own(self, tree):
        (tree / "index.json").write_text("{}")
        assert len(open_source(tree).parts["train"]) == 36

    def test_out_is_a_file(self, tree, tmp_path):
        (tmp_path / "f").touch()
        with pytest.raises(DataError, match="no folder"):
            list(write_shards(open_source(tree), tmp_path / "f", size=10))


@pytest.mark.parametrize(
    ("kind", "target"), [(tarfile.LNKTYPE, "a/0.png"), (tarfile.SYMTYPE, "../a/0.png")]
)
def test_links_in_a_tar_are_images(kind, target, tmp_path):
    data = encoded(picture((9, 9, 9)))
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a/0.png", "a/1.png", "b/0.png"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("b/1.png")
        link.type, link.linkname = kind, target
        tar.addfile(link)
    part = open_source(tmp_path / "x.tar").parts["all"]
    assert len(part) == 4
    assert part.images.raw(3) == data


def test_a_link_out_of_a_tar_is_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        link = tarfile.TarInfo("b/1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "../../secret.png"
        tar.addfile(link)
    with pytest.raises(DataError, match=r"links to ../../secret.png"):
        open_source(tmp_path / "x.tar")


def test_splits_of_different_kinds_of_labels():
    images = np.zeros((4, 8, 8), np.uint8)
    table, numbers = np.eye(4, dtype=int), np.arange(4)
    with pytest.raises(DataError, match="several labels an image in train, one in test"):
        open_source({"train": (images, table), "test": (images, numbers)})
    with pytest.raises(DataError, match="labels of shape"):
        open_source((images, 5))


def test_images_swapped_between_splits_are_changed():
    one, other = (ArrayImages(np.full((1, 2, 2, 1), v, np.uint8)) for v in (1, 2))
    known = [
        Registered(name, name, "0", content_hash(images.raw(0)).hex())
        for name, images in (("train", one), ("test", other))
    ]
    assert [f.verdict for f in changes(known, {"train": one, "test": other})] == ["pass"]
    swapped = changes(known, {"train": other, "test": one})
    assert [(f.rule, f.verdict) for f in swapped] == [("changed images", "fail")]
    # in one part by now: an image is what it was wherever it lies
    assert [f.verdict for f in changes(known[:1], {"all": one})] == ["pass"]


def test_damaged_registers(trained, tmp_path):
    import shutil

    for spoil in (lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:40] + b"zz" * 30)):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(trained[0], tmp_path / "run")
        spoil(tmp_path / "run" / "images.csv.gz")
        with pytest.raises(RunError, match="images.csv.gz"):
            check_run(tmp_path / "run")


def test_augment_of_unreadable_images(tmp_path, striate_cli):
    for name in "ab":
        (tmp_path / "d" / name).mkdir(parents=True)
        for i in range(6):
            (tmp_path / "d" / name / f"{i}.png").write_bytes(b"x")
    code, _, err = striate_cli("data", "augment", tmp_path / "d")
    assert code == 2
    assert "no image can be read" in err


def test_an_animated_gif_with_a_damaged_second_frame(tmp_path):
    frames = [Image.fromarray(picture((50 * i, 90, 20), seed=i)) for i in range(2)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    from striate.data.decode import ANIMATED, examine

    header, pixels = examine(buffer.getvalue()[:-60], 1)
    assert header.flags & ANIMATED
    assert pixels.shape == (16, 16, 3)
