"""Opening what people have: trees, archives, IDX, CSV, names, Python objects."""

import gzip
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from striate.core.errors import DataError
from striate.data.dataset import open_dataset, open_for_evaluation
from striate.data.sources import open_source
from striate.data.sources.options import SourceOptions
from striate.data.splits import Splitting
from tests.conftest import COLOURS, encoded, picture, write_tree


def zipped(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def tarred(folder, path, mode="w"):
    with tarfile.open(path, mode) as archive:
        archive.add(folder, ".")
    return path


def sizes(dataset):
    return {name: len(split) for name, split in dataset.splits.items()}


def all_pixels(dataset):
    return {
        name: [split.images.pixels(i, 100).tobytes() for i in range(len(split))]
        for name, split in dataset.splits.items()
    }


def test_split_folders(tree):
    dataset = open_dataset(tree)
    assert sizes(dataset) == {"train": 36, "val": 12, "test": 12}
    assert dataset.classes == ("blue", "green", "red")
    assert dataset.counts("train") == [12, 12, 12]
    assert dataset.splits_from == {"train": "given", "val": "given", "test": "given"}


@pytest.mark.parametrize(
    "names", [("train", "valid", "test"), ("Training", "validation", "Testing")]
)
def test_other_split_names(names, tmp_path):
    root = write_tree(tmp_path, {f"{n}/{c}": 4 for n in names for c in COLOURS})
    assert sizes(open_dataset(root)) == {"train": 12, "val": 12, "test": 12}


def test_one_level_is_split_by_us(tmp_path):
    root = write_tree(tmp_path, dict.fromkeys(COLOURS, 20))
    first, again, other = open_dataset(root), open_dataset(root), open_dataset(root, Splitting(1))
    assert sizes(first) == {"train": 43, "val": 5, "test": 12}
    assert first.counts("test") == [4, 4, 4]
    keys = [set(d.splits["test"].images.keys) for d in (first, again, other)]
    assert keys[0] == keys[1] != keys[2]
    everything = [k for s in first.splits.values() for k in s.images.keys]
    assert len(everything) == len(set(everything)) == 60
    assert "stratified" in first.splits_from["test"]


def test_missing_test_is_taken_from_training(tmp_path):
    counts = {f"{s}/{c}": n for s, n in (("train", 20), ("val", 5)) for c in COLOURS}
    dataset = open_dataset(write_tree(tmp_path, counts))
    assert sizes(dataset) == {"train": 48, "val": 15, "test": 12}
    assert any("no test split" in f.text for f in dataset.findings)


@pytest.mark.parametrize("kind", ["zip", "wrapped.zip", "tar", "tar.gz"])
def test_archives_equal_folders(kind, tree, tmp_path):
    path = tmp_path / f"colours.{kind}"
    if "zip" in kind:
        zipped(tree, path, "colours-main/" if "wrapped" in kind else "")
    else:
        tarred(tree, path, "w:gz" if kind.endswith("gz") else "w")
    from_archive, from_folder = open_dataset(path), open_dataset(tree)
    assert from_archive.classes == from_folder.classes
    assert all_pixels(from_archive) == all_pixels(from_folder)


def test_archive_survives_worker_processes(tree, tmp_path):
    """Open zip handles must not be shared: reading after pickling opens its own."""
    from multiprocessing.reduction import ForkingPickler

    dataset = open_dataset(zipped(tree, tmp_path / "c.zip"))
    reader = dataset.splits["train"].images.reader
    key = dataset.splits["train"].images.keys[0]
    expected = reader.read(key)
    copy = ForkingPickler.loads(ForkingPickler.dumps(reader))
    assert copy.read(key) == expected


def test_domains_are_refused_and_one_opens(tmp_path):
    counts = {
        f"{d}/{s}/{c}": 4 for d in ("art", "photo") for s in ("train", "test") for c in COLOURS
    }
    path = zipped(write_tree(tmp_path / "d", counts), tmp_path / "domains.zip")
    with pytest.raises(DataError) as error:
        open_dataset(path)
    assert "art, photo each hold their own train or test folders" in str(error.value)
    assert f"{path}#art" in error.value.hint
    assert sizes(open_dataset(f"{path}#photo"))["test"] == 12
    with pytest.raises(DataError, match="It has: art, photo"):
        open_dataset(f"{path}#video")


def test_classes_in_natural_order(tmp_path):
    root = write_tree(tmp_path, {str(n): 5 for n in (1, 2, 10)})
    assert open_dataset(root).classes == ("1", "2", "10")


def test_what_is_ignored_is_counted(tree):
    (tree / "notes.txt").write_text("x")
    (tree / "train" / "red" / "Thumbs.db").write_text("x")
    write_tree(tree / "train" / ".ipynb_checkpoints", {"red": 1})
    (tree / "train" / "loose.png").write_bytes(encoded(picture((1, 2, 3))))
    dataset = open_dataset(tree)
    assert sizes(dataset)["train"] == 36
    texts = " | ".join(f.text for f in dataset.findings)
    assert "1 file without an image ending ignored" in texts
    assert "1 image outside class folders ignored" in texts
    assert dataset.classes == ("blue", "green", "red")


def test_folder_levels_are_labels(tmp_path):
    counts = {f"{c}/{g}": 8 for c in ("red", "blue") for g in ("shirt", "shoe")}
    dataset = open_dataset(
        write_tree(tmp_path, counts), options=SourceOptions(("colour", "garment"))
    )
    assert dataset.kind == "label_sets"
    assert dataset.classes == ("colour:blue", "colour:red", "garment:shirt", "garment:shoe")
    assert (dataset.splits["train"].targets.array.sum(axis=1) == 2).all()


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return head + array.tobytes()


@pytest.fixture
def mnist_like(tmp_path):
    rng = np.random.default_rng(0)
    for stem, count in (("train", 60), ("t10k", 20)):
        images = rng.integers(0, 255, (count, 9, 7), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 3
        (tmp_path / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def test_idx(mnist_like):
    dataset = open_dataset(mnist_like)
    assert sizes(dataset) == {"train": 54, "val": 6, "test": 20}
    assert dataset.splits["test"].images.pixels(0, 100).shape == (9, 7, 1)
    assert dataset.splits["test"].targets.array.tolist() == [i % 3 for i in range(20)]


def test_idx_damage(mnist_like):
    path = mnist_like / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"promises 20 bytes for shape \(20,\) and has 17"):
        open_dataset(mnist_like)
    path.unlink()
    with pytest.raises(DataError, match="no labels file beside it"):
        open_dataset(mnist_like)


def csv_of(tmp_path, rows, header="path,label"):
    for i in range(12):
        (tmp_path / f"{i}.png").write_bytes(encoded(picture(list(COLOURS.values())[i % 3], seed=i)))
    path = tmp_path / "table.csv"
    path.write_text("\n".join([*([header] if header else []), *rows]) + "\n")
    return path


def test_csv(tmp_path):
    rows = [f"{i}.png,{'abc'[i % 3]}" for i in range(12)]
    for header in ("path,label", "filename,class", None):
        dataset = open_dataset(csv_of(tmp_path, rows, header))
        assert dataset.classes == ("a", "b", "c")
        assert sum(sizes(dataset).values()) == 12


def test_csv_with_splits(tmp_path):
    rows = [
        f"{i}.png,{'ab'[i % 2]},{'train' if i < 6 else 'valid' if i < 9 else 'test'}"
        for i in range(12)
    ]
    assert sizes(open_dataset(csv_of(tmp_path, rows, "path,label,split"))) == {
        "train": 6, "val": 3, "test": 3,
    }  # fmt: skip


@pytest.mark.parametrize("style", ["cell", "columns", "one-hot"])
def test_csv_with_several_labels(style, tmp_path):
    header = {"cell": "path,labels", "columns": "path,label_1,label_2", "one-hot": "path,sun,sea"}[
        style
    ]
    cells = {"cell": ["sun;sea", "sun", "sea"], "columns": ["sun,sea", "sun,", "sea,"],
             "one-hot": ["1,1", "1,0", "0,1"]}[style]  # fmt: skip
    dataset = open_dataset(csv_of(tmp_path, [f"{i}.png,{cells[i % 3]}" for i in range(12)], header))
    assert dataset.kind == "label_sets"
    assert set(dataset.classes) == {"sun", "sea"}
    train = dataset.splits["train"].targets.array
    assert train.shape[1] == 2
    assert 0 < train.mean() < 1


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("0.png,", "line 14: no label"),
        ("0.png", "line 14: 1 columns, expected 2"),
        ("nothing.png,a", "line 14: nothing.png"),
        ("table.csv,a", "line 14: table.csv"),
    ],
)
def test_bad_csv_rows(row, expected, tmp_path):
    path = csv_of(tmp_path, [*(f"{i}.png,{'ab'[i % 2]}" for i in range(12)), row])
    with pytest.raises(DataError) as error:
        open_dataset(path)
    assert expected in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("label", ["-1", "77"])
def test_csv_labels_out_of_range(label, tmp_path):
    rows = [*(f"{i}.png,{i % 2}" for i in range(12)), f"0.png,{label}"]
    with pytest.raises(DataError, match=f"line 14: label {label} is out of range"):
        open_dataset(csv_of(tmp_path, rows))
    with pytest.raises(DataError, match="'2' is out of range: expected 0 or 1"):
        open_dataset(csv_of(tmp_path, ["0.png,1,2", "1.png,0,1"], "path,a,b"))


def test_digits():
    dataset = open_dataset("digits")
    assert sum(sizes(dataset).values()) == 1797
    assert dataset.splits["train"].images.array.max() == 255


def test_torchvision_from_local_files(tmp_path):
    """The real loading code, on a small MNIST that the test makes."""
    from striate.data.sources.builtin import open_torchvision

    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, count in (("train", 30), ("t10k", 9)):
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(idx(np.zeros((count, 28, 28), np.uint8)))
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8) % 3))
    listing = open_torchvision("mnist", tmp_path)
    assert {name: len(part.images) for name, part in listing.parts.items()} == {
        "train": 30,
        "test": 9,
    }
    assert listing.parts["train"].images.pixels(0, 100).shape == (28, 28, 1)


def test_torchvision_unknown_and_offline(tmp_path, monkeypatch):
    from striate.data.sources import builtin

    with pytest.raises(DataError, match="Perhaps you meant: CIFAR100"):
        open_source("torchvision:CIFAR1000")

    def no_network(*_, **__):
        raise OSError("network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(DataError, match="cannot be fetched") as error:
        builtin.open_torchvision("CIFAR10", tmp_path)
    assert str(tmp_path) in str(error.value)


def test_arrays():
    images = np.random.default_rng(0).integers(0, 255, (30, 6, 6), dtype=np.uint8)
    dataset = open_dataset((images, [i % 3 for i in range(30)]))
    assert dataset.classes == ("0", "1", "2")
    assert sum(sizes(dataset).values()) == 30
    floats = open_dataset((images / 255.0, ["ab"[i % 2] for i in range(30)]))
    assert floats.classes == ("a", "b")
    table = np.eye(3)[np.arange(30) % 3]
    table[0] = 1
    assert open_dataset((images, table)).kind == "label_sets"
    given = open_dataset(
        {"train": (images, np.arange(30) % 3), "test": (images, np.arange(30) % 3)}
    )
    assert sizes(given) == {"train": 27, "val": 3, "test": 30}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ((np.zeros((4, 3, 8, 8), np.uint8), [0, 1, 0, 1]), "images of shape (4, 3, 8, 8)"),
        ((np.zeros((4, 8, 8), np.uint8), [0, 1]), "4 images and labels of shape (2,)"),
        ((np.full((4, 8, 8), 3.0), [0, 1, 0, 1]), "values from 3 to 3"),
        ((np.zeros((4, 8, 8), np.int64), [0, 1, 0, 1]), "type int64"),
        ({"tran": 1}, "expected train"),
        (5, "cannot train on a int"),
    ],
)
def test_bad_objects(data, expected):
    with pytest.raises(DataError) as error:
        open_dataset(data)
    assert expected in str(error.value)


def test_torch_dataset():
    labels = torch.arange(30) % 3
    dataset = open_dataset(TensorDataset(torch.rand(30, 3, 5, 5), labels))
    assert dataset.classes == ("0", "1", "2")
    assert dataset.splits["train"].images.pixels(0, 100).shape == (5, 5, 3)


def test_evaluation_keeps_the_class_map(tree, tmp_path):
    """torchvision would number val's {green, red} as 0, 1; the truth is 1, 2 (F11)."""
    other = write_tree(tmp_path / "other", {"green": 3, "red": 3})
    dataset = open_for_evaluation(other, ("blue", "green", "red"), "labels")
    assert dataset.splits["all"].targets.array.tolist() == [1, 1, 1, 2, 2, 2]
    assert any("no images of 1 of 3 classes: blue" in f.text for f in dataset.findings)
    with pytest.raises(DataError, match="does not know"):
        open_for_evaluation(other, ("blue", "red"), "labels")
