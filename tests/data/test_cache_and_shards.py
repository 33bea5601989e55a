"""The cache: seen once, safe under two processes, limited. Shards: byte ranges, anywhere."""

import multiprocessing
import os
import tarfile
import time

import fsspec
import numpy as np
import pytest

import striate
from striate.core.errors import DataError, StriateError
from striate.data import cache as caching
from striate.data.cache import Cache, survey_key
from striate.data.dataset import open_dataset
from striate.data.decode import Unified
from striate.data.images import UndecodableError
from striate.data.read import SplitDecoder
from striate.data.shards import parse_size, write_shards
from striate.data.sources import open_source
from striate.data.sources.options import SourceOptions
from striate.data.sources.sharded import ENTRY, ShardImages
from striate.data.splits import Splitting
from striate.data.strings import Strings
from tests.conftest import COLOURS, QUICK, write_tree

HOW = Unified(12, 3, "crop", 100)


def decoder(folder, limit=2**30, **options):
    return SplitDecoder(HOW, Cache(folder, limit), False, **options)


class TestCache:
    def test_the_second_time_nothing_is_decoded(self, tree, tmp_path, monkeypatch):
        images = open_dataset(tree).splits["train"].images
        first, pixels = decoder(tmp_path / "c").read(images)
        monkeypatch.setattr("striate.data.read.survey", None)  # would fail if it were called
        again, mapped = decoder(tmp_path / "c").read(images)
        np.testing.assert_array_equal(pixels, mapped)
        assert isinstance(mapped, np.memmap)
        for name, array in first.arrays().items():
            np.testing.assert_array_equal(array, again.arrays()[name])

    def test_a_changed_file_is_seen_although_its_time_is_restored(self, tree, tmp_path):
        images = open_dataset(tree).splits["train"].images
        before = survey_key(images, HOW, ())
        path = tree / "train" / "red" / "0.png"
        times, data = path.stat(), path.read_bytes()
        time.sleep(0.02)
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert survey_key(images, HOW, ()) != before

    def test_the_oldest_go_first(self, tmp_path):
        cache = Cache(tmp_path, 3000)
        for number in range(4):
            with cache.new_pixels((10, 10, 10, 1)) as filled:
                for i in range(10):
                    filled[i] = np.full((10, 10, 1), number, dtype=np.uint8)
                cache.keep_pixels(f"k{number}", filled)
            os.utime(tmp_path / "pixels" / f"k{number}.npy", (number, number))
        left = sorted(p.stem for p in (tmp_path / "pixels").iterdir())
        assert left == ["k2", "k3"]
        assert cache.pixels("k0") is None
        assert cache.pixels("k3")[0, 0, 0, 0] == 3

    def test_too_small_a_limit_reads_the_files(self, tree, tmp_path):
        _, pixels = decoder(tmp_path / "c", limit=10).read(
            open_dataset(tree).splits["train"].images
        )
        assert pixels is None

    def test_abandoned_left_overs_are_removed(self, tmp_path):
        (tmp_path / "pixels").mkdir()
        old, new = (tmp_path / "pixels" / f"{name}.tmp" for name in ("old", "new"))
        for path in (old, new):
            path.touch()
        os.utime(old, (0, 0))
        Cache(tmp_path, 10).make_room(1)
        assert not old.exists()
        assert new.exists()

    def test_damaged_files_are_not_believed(self, tree, tmp_path):
        images = open_dataset(tree).splits["train"].images
        _, good = decoder(tmp_path / "c").read(images)
        good = np.array(good)
        for path in (tmp_path / "c").glob("*/*.np?"):
            path.write_bytes(path.read_bytes()[:50])
        _, again = decoder(tmp_path / "c").read(images)
        np.testing.assert_array_equal(good, again)

    def test_two_processes(self, tree, tmp_path):
        context = multiprocessing.get_context("spawn")
        jobs = [context.Process(target=_fill, args=(tree, tmp_path / "c")) for _ in range(2)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join(60)
            assert job.exitcode == 0
        assert not list((tmp_path / "c").glob("*/*.tmp"))

    def test_where_it_is(self, monkeypatch, tmp_path):
        monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "here"))
        assert caching.open_cache(5) == Cache(tmp_path / "here", 5 * 2**20)
        assert caching.open_cache().limit > 0

    def test_training_from_memory_cache_and_files_is_the_same(self, tree, tmp_path):
        scores = []
        for name, knobs in (("m", {}), ("c", {"data.memory_mb": 0}),
                            ("f", {"data.memory_mb": 0, "data.cache_mb": 0})):  # fmt: skip
            run = striate.train(tree, run=tmp_path / name, **{**QUICK, **knobs})
            files = run.path.glob("checkpoints/step-*/model.safetensors")
            scores.append(max(files).read_bytes())
        assert scores[0] == scores[1] == scores[2]


def _fill(tree, folder):
    for _ in range(5):
        _, pixels = decoder(folder).read(open_dataset(tree).splits["train"].images)
        assert pixels is not None


class TestStrings:
    def test_like_a_list(self):
        texts = ["a", "", "größe", "x" * 300]
        strings = Strings.of(texts)
        assert list(strings) == texts
        assert strings[-1] == texts[-1]
        assert list(strings.take([3, 0]).take([1])) == ["a"]
        assert strings == texts
        with pytest.raises(IndexError):
            strings[4]

    def test_names_that_are_not_utf8(self):
        assert Strings.of(["a\udcff"])[0] == "a\udcff"


@pytest.fixture
def shards(tree, tmp_path):
    list(write_shards(open_source(tree), tmp_path / "shards", size=8_000))
    return tmp_path / "shards"


def contents(part):
    return {part.images.key(i): (part.images.raw(i), part.names[part.targets.array[i]])
            for i in range(len(part))}  # fmt: skip


class TestShards:
    def test_the_same_bytes_and_labels(self, tree, shards):
        source, found = open_source(tree), open_source(shards)
        assert found.parts.keys() == source.parts.keys()
        for name, part in source.parts.items():
            assert contents(part) == contents(found.parts[name])
        assert len(list(shards.glob("train-*.tar"))) > 1

    def test_any_tar_tool_reads_them(self, shards):
        with tarfile.open(shards / "train-000000.tar") as tar:
            names = tar.getnames()
            label = int(tar.extractfile("000000000.cls").read())
        assert names[:2] == ["000000000.png", "000000000.cls"]
        part = open_source(shards).parts["train"]
        assert part.targets.array[0] == label

    def test_a_changed_shard_is_refused(self, shards):
        path = shards / "train-000000.tar"
        data = bytearray(path.read_bytes())
        data[700] ^= 1
        path.write_bytes(data)
        with pytest.raises(UndecodableError, match="differs from the index"):
            open_source(shards).parts["train"].images.pixels(0, 100)

    def test_training_on_them_is_training_on_the_files(self, tree, shards, tmp_path):
        runs = [
            striate.train(s, run=tmp_path / n, **QUICK) for s, n in ((tree, "a"), (shards, "b"))
        ]
        accuracies = [run.finished.test["accuracy"] for run in runs]
        assert abs(accuracies[0] - accuracies[1]) <= 0.5  # another order, so other steps
        assert runs[1].evaluate()["n"] == 12

    def test_from_memory_and_http(self, shards, served):
        memory = fsspec.filesystem("memory")
        memory.put(str(shards), "/pile", recursive=True)
        expected = contents(open_source(shards).parts["test"])
        assert contents(open_source("memory://pile").parts["test"]) == expected
        pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp (extra: remote)")
        found = open_source(f"{served(shards)}/")
        assert contents(found.parts["test"]) == expected

    @pytest.mark.parametrize(
        ("said", "package"),
        [
            ("Install s3fs to access S3", "s3fs"),
            ("Please install gcsfs to access Google Storage", "gcsfs"),
            ('SFTPFileSystem requires "paramiko" to be installed', "paramiko"),
            ("Install the requests package to use the gist FS", "requests"),
            ('X requires "requests" and "aiohttp" to be installed', "'striate[remote]'"),
        ],
    )
    def test_a_missing_client_names_its_command(self, said, package, monkeypatch):
        def refuses(root):
            raise ImportError(said)

        monkeypatch.setattr(fsspec.core, "url_to_fs", refuses)
        root = "https://host/x/" if "striate" in package else "s3://bucket/x/"
        with pytest.raises(StriateError, match="is not installed") as told:
            open_source(root)
        assert told.value.hint.endswith(f"pip install {package}")

    def test_arrays_become_pngs(self, tmp_path):
        list(write_shards(open_source("digits"), tmp_path / "d", size=10**6))
        part, original = (
            open_source(tmp_path / "d").parts["all"],
            open_source("digits").parts["all"],
        )
        for i in range(5):
            at = int(part.images.key(i))
            np.testing.assert_array_equal(part.images.pixels(i, 1), original.images.pixels(at, 1))
            assert part.names[part.targets.array[i]] == original.names[original.targets.array[at]]

    def test_columns_are_kept(self, tmp_path, striate_cli):
        write_tree(tmp_path, dict.fromkeys(COLOURS, 10))
        rows = [f"{c}/{i}.png,{c},p{i},{i + 1}" for c in COLOURS for i in range(10)]
        table = tmp_path / "t.csv"
        table.write_text("\n".join(["path,label,patient,weight", *rows]))
        code, _, err = striate_cli("data", "shard", table, tmp_path / "no", "--columns", "patents")
        assert code == 2
        assert "no column 'patents'" in err
        wanted = ("--columns", "patient", "weight")
        code, _, _ = striate_cli("data", "shard", table, tmp_path / "out", *wanted)
        assert code == 0
        part = open_source(tmp_path / "out").parts["all"]
        for i in range(len(part)):
            number = part.images.key(i).partition("/")[2].removesuffix(".png")
            found = part.columns["patient"][i], part.columns["weight"][i]
            assert found == (f"p{number}", str(int(number) + 1))
        how = Splitting(0, group_by="patient")
        dataset = open_dataset(tmp_path / "out", how, weight_by="weight")
        groups = [
            {split.images.key(i).partition("/")[2] for i in range(len(split))}
            for split in dataset.splits.values()
        ]
        assert not groups[0] & groups[1]
        assert dataset.splits["train"].weights.max() >= 8
        out = striate_cli("data", "show", tmp_path / "out", "--group-by", "patient")[1]
        assert "grouped by patient" in out

    def test_several_labels(self, tmp_path):
        write_tree(tmp_path, {"red/shirt": 3, "blue/hat": 3})
        found = open_source(tmp_path, SourceOptions(("colour", "garment")))
        list(write_shards(found, tmp_path / "out", size=10**6))
        again = open_source(tmp_path / "out")
        assert again.kind == "label_sets"
        part = again.parts["all"]
        labels = {tuple(n for n, t in zip(part.names, row, strict=True) if t)
                  for row in part.targets.array}  # fmt: skip
        assert labels == {("colour:red", "garment:shirt"), ("colour:blue", "garment:hat")}

    def test_refusals(self, tree, shards, tmp_path):
        with pytest.raises(DataError, match="is not empty"):
            list(write_shards(open_source(tree), shards, size=1))
        (tree / "train" / "red" / "0.png").write_bytes(b"x")
        with pytest.raises(DataError, match=r"1 image cannot be used"):
            list(write_shards(open_source(tree), tmp_path / "o", size=10**6))
        assert not (tmp_path / "o").exists()
        list(write_shards(open_source(tree), tmp_path / "o", size=10**6, skip_bad=True))
        assert len(open_source(tmp_path / "o").parts["train"]) == 35
        with pytest.raises(DataError, match="no shards can be opened"):
            open_source("memory://nowhere")

    @pytest.mark.parametrize(
        ("text", "size"), [("256MB", 256_000_000), ("1.5 KiB", 1536), ("7", 7)]
    )
    def test_sizes(self, text, size):
        assert parse_size(text) == size

    @pytest.mark.parametrize("text", ["", "MB", "5 apples", "0", "-3MB"])
    def test_wrong_sizes(self, text):
        with pytest.raises(DataError, match="size"):
            parse_size(text)

    def test_entries_are_mapped_and_taking_copies_nothing(self, shards):
        images = open_source(shards).parts["train"].images
        assert isinstance(images.entries, np.memmap)
        assert images.take([3, 1]).entries is images.entries
        assert isinstance(images.take([3, 1]), ShardImages)
        assert ENTRY.itemsize == 32


class TestFake:
    def test_it_can_be_learned(self, tmp_path):
        knobs = {**QUICK, "epochs": 6, "batch_size": 16}
        run = striate.train("fake:120x3x16x16x3", run=tmp_path / "run", **knobs)
        assert run.finished.test["accuracy"] > 0.9

    @pytest.mark.parametrize("text", ["fake:", "fake:1x2x3x4x5", "fake:10x3x8x8", "fake:0x3x8x8x2"])
    def test_wrong(self, text):
        with pytest.raises(DataError, match="Expected fake:IMAGES"):
            open_source(text)

    def test_an_image_is_a_function_of_its_number(self):
        images = open_source("fake:50x1x9x7x5").parts["all"].images
        np.testing.assert_array_equal(images.pixels(7, 1), images.take([3, 7]).pixels(1, 1))
        assert images.pixels(0, 1).shape == (9, 7, 1)


@pytest.mark.parametrize("kind", ["balanced", "hard", "selective"])
def test_samplers_train_and_resume(kind, tmp_path):
    from striate.core.records import Step

    root = write_tree(tmp_path / "data", {"red": 30, "blue": 12, "green": 8})
    knobs = {**QUICK, "data.sampler": kind, "epochs": 4}
    whole = striate.train(root, run=tmp_path / "whole", **knobs)
    stream = striate.stream(root, run=tmp_path / "cut", **knobs)
    for record in stream:
        if isinstance(record, Step) and record.step == 16:
            stream.close()
            break
    cut = striate.resume(tmp_path / "cut")
    files = [max(r.path.glob("checkpoints/step-*/model.safetensors")) for r in (whole, cut)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_weighted_sampler_needs_its_column(tmp_path):
    write_tree(tmp_path, dict.fromkeys(COLOURS, 8))
    rows = [f"{c}/{i}.png,{c},{i % 2}" for c in COLOURS for i in range(8)]
    table = tmp_path / "t.csv"
    table.write_text("path,label,weight\n" + "\n".join(rows))
    knobs = {**QUICK, "data.sampler": "weighted"}
    with pytest.raises(striate.StriateError, match="weighted needs data.weight_by"):
        striate.train(table, **knobs)
    striate.train(table, run=tmp_path / "run", **knobs, **{"data.weight_by": "weight"})
    with pytest.raises(DataError, match="weight"):
        striate.train(tmp_path, **knobs, **{"data.weight_by": "weight"})
