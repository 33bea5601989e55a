"""Wrong input on the command line: the message names the file and what to do, exit code 2, no
traceback, and nothing is left behind."""

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import COLOURS, encoded, picture, write_tree

FLAGS = ("--epochs", 1, "--batch-size", 8, "--augment.flip", "False", "--run", "run")


@pytest.fixture
def refused(striate_cli, tmp_path):
    """Train and expect a refusal that contains all pieces; returns the message."""

    def check(data, *pieces, flags=()):
        code, out, err = striate_cli("train", data, *FLAGS, *flags)
        assert code == 2, (out, err)
        for piece in pieces:
            assert str(piece) in err
        assert "Traceback" not in err
        assert err.startswith("striate: ")
        assert not (tmp_path / "run").exists()
        return err

    return check


@pytest.fixture
def accepted(striate_cli):
    """Train and expect success; returns standard output."""

    def check(data, *pieces, flags=()):
        code, out, err = striate_cli("train", data, *FLAGS, *flags)
        assert code == 0, err
        for piece in pieces:
            assert str(piece) in out
        return out

    return check


def test_missing_path(refused, tree):
    refused(tree.parent / "colors", "no data at", "Perhaps you meant: colours")
    refused("digit", "no data at digit", "digits")


def test_empty_folder(refused, tmp_path):
    (tmp_path / "nothing").mkdir()
    refused(tmp_path / "nothing", "nothing: no images found", "It is empty")


def test_folder_of_other_files(refused, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    refused(tmp_path / "texts", "no images found", "1 × .txt")


def test_one_class(refused, tmp_path):
    refused(
        write_tree(tmp_path / "d", {"red": 6}), "one class only (red, 6 images)", "at least two"
    )
    refused(write_tree(tmp_path / "e", {"train/red": 6, "test/red": 2}), "one class only")


def test_a_class_with_one_image(refused, tmp_path):
    root = write_tree(tmp_path / "d", {"red": 9, "green": 9, "blue": 1})
    refused(root, "blue: 1", "blue/0.png", "add some, or remove it")
    root = write_tree(tmp_path / "e", {"train/red": 9, "train/blue": 1, "test/red": 3})
    refused(root, "fewer than 2 training images", "train/blue/0.png")


def test_an_empty_class_folder(refused, tree):
    (tree / "train" / "grey").mkdir()
    refused(tree, "class folders without images: grey")


@pytest.mark.parametrize("split", ["val", "test"])
def test_unknown_class(split, refused, tree):
    write_tree(tree, {f"{split}/violet": 2})
    refused(tree, f"the {split} split has classes that the training split does not know",
            "violet: 2 images", f"{split}/violet/0.png", "blue, green, red")  # fmt: skip


def test_a_class_missing_in_test_is_a_warning(accepted, tmp_path):
    counts = {f"{s}/{c}": 6 for s in ("train", "val") for c in COLOURS} | {"test/red": 4}
    out = accepted(write_tree(tmp_path / "d", counts))
    assert "warning: the test split has no images of 2 of 3 classes: blue, green" in out


def test_no_training_folder(refused, tmp_path):
    root = write_tree(tmp_path / "d", {"test/red": 3, "val/red": 3})
    refused(root, "has test, val images but none to train on")


def test_two_names_for_one_split(refused, tree):
    write_tree(tree, {"valid/red": 2})
    refused(tree, "val and valid both mean the val split")


def test_hidden_folders_and_other_endings(accepted, tree):
    write_tree(tree / "train" / ".ipynb_checkpoints", {"red": 3})
    write_tree(tree / "train", {".hidden": 3})
    (tree / "train" / "red" / "readme.txt").write_text("x")
    accepted(tree, "36 train", "of 3 classes", "1 file without an image ending ignored")


def spoil(tree):
    """Four kinds of unusable images; returns their paths below `tree`."""
    red = tree / "train" / "red"
    (red / "zero.png").write_bytes(b"")
    whole = encoded(picture((9, 99, 9), (64, 64)), "JPEG")
    (red / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (red / "text.png").write_text("this is no image")
    (tree / "test" / "red" / "lie.jpg").write_bytes(encoded(picture((1, 2, 3))))
    return ["train/red/zero.png", "train/red/cut.jpg", "train/red/text.png", "test/red/lie.jpg"]


def test_unusable_images_are_listed(refused, tree):
    bad = spoil(tree)
    refused(
        tree, "4 images cannot be used", *bad, "zero bytes", "does not decode", "not an image",
        "wrong extension: the content is PNG, the name says .jpg", "--skip-bad",
        "--allow wrong-extension",
    )  # fmt: skip


def test_skip_bad_drops_and_counts(accepted, tree):
    before = {p: p.read_bytes() for p in tree.rglob("*") if p.is_file()}
    bad = spoil(tree)
    accepted(tree, "warning: 4 unusable images left out", flags=["--skip-bad"])
    assert json.loads(Path("run/dataset.json").read_text())["splits"]["train"]["images"] == 36
    assert all(path.read_bytes() == data for path, data in before.items())
    finding = Path("run/dataset.json").read_text()
    assert all(name in finding for name in bad)


def test_allow_wrong_extension(accepted, tree):
    (tree / "train" / "red" / "lie.jpg").write_bytes(encoded(picture((1, 2, 3))))
    accepted(tree, "37 train", flags=["--allow", "wrong-extension"])


def test_an_unknown_opt_out(refused, tree):
    refused(tree, "data.allow: unknown 'wrong-extensions'", "Perhaps you meant: wrong-extension",
            flags=["--allow", "wrong-extensions"])  # fmt: skip


def test_symlink_loop(refused, tree):
    (tree / "train" / "red" / "again").symlink_to(tree, target_is_directory=True)
    refused(tree, "train/red/again", "a loop", "Remove the link")


def test_linked_class_folders_are_fine(accepted, tree, tmp_path):
    (tree / "train" / "red").rename(tmp_path / "elsewhere")
    (tree / "train" / "red").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    accepted(tree, "36 train")


def test_a_broken_link(refused, tree):
    (tree / "train" / "red" / "gone.png").symlink_to("nowhere.png")
    refused(tree, "train/red/gone.png: cannot be read")


def test_names_that_are_not_utf8(refused, tree):
    (Path(os.fsdecode(os.fsencode(tree / "train" / "red") + b"/b\xff.png"))).write_bytes(b"x")
    refused(tree, "not valid UTF-8", "\\udcff.png")


@pytest.mark.parametrize("member", ["../evil.png", "/etc/evil.png", "a/../../evil.png"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_that_point_outside(member, kind, refused, tmp_path):
    path = tmp_path / f"slip.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, encoded(picture((1, 2, 3))))
    else:
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo(member)
            archive.addfile(info, io.BytesIO())
    refused(path, path, member, "point outside the archive")
    assert not list(tmp_path.rglob("evil.png"))


def test_damaged_archives(refused, tmp_path):
    for name in ("a.zip", "a.tar", "a.tar.gz"):
        (tmp_path / name).write_bytes(b"nonsense" * 100)
        refused(tmp_path / name, tmp_path / name, "cannot be opened")


def test_a_kind_of_file_that_is_no_data(refused, tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"x")
    refused(tmp_path / "a.pdf", "not a kind of data that Striate opens")


def test_mixed_modes_train(accepted, tree):
    red = tree / "train" / "red"
    base = Image.fromarray(picture((200, 50, 40)))
    for mode in ("L", "RGBA", "P", "1"):
        base.convert(mode).save(red / f"mode-{mode}.png")
    base.convert("CMYK").save(red / "cmyk.jpg")
    Image.fromarray(np.full((16, 16), 40_000, dtype=np.uint16)).save(red / "deep.png")
    accepted(tree, "42 train")


def test_a_huge_image(refused, tree):
    Image.new("1", (12_000, 12_000)).save(tree / "train" / "red" / "huge.png")
    refused(tree, "train/red/huge.png", "12000×12000 is 144 megapixels", "data.max_megapixels")


def test_images_smaller_than_the_crop(accepted, tmp_path):
    root = write_tree(tmp_path / "d", dict.fromkeys(COLOURS, 9), size=(3, 2))
    accepted(root, "image size 8", flags=["--augment.crop", "pad", "--augment.crop-padding", 9])


def test_csv_faults(refused, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(picture((1, 2, 3))))
    table = tmp_path / "t.csv"
    table.write_text("path,label\na.png,0\na.png,1\na.png,-3\n")
    refused(table, f"{table}, line 4: label -3 is out of range")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (
            "optim:\n  lrr: 0.1\n",
            ["r.yaml", "optim.lrr: no such knob", "Perhaps you meant: optim.lr"],
        ),
        ("optim:\n  lr: fast\n", ["optim.lr", "found 'fast'"]),
        ("optim:\n  lr: -1\n", ["optim.lr", "found -1"]),
    ],
)
def test_bad_recipes(text, pieces, refused, tree, tmp_path):
    (tmp_path / "r.yaml").write_text(text)
    refused(tree, *pieces, flags=["--recipe", "r.yaml"])


def test_bad_flags(striate_cli, refused, tree):
    refused(tree, "optim.lr", "found -0.1", flags=["--lr=-0.1"])
    refused(tree, "unknown preset 'quik'", "quick", flags=["--preset", "quik"])
    code, _, err = striate_cli("train", tree, "--optim.lrr", "0.1")
    assert code == 2
    assert "optim.lr" in err
    code, _, err = striate_cli("trian")
    assert (code, "Perhaps you meant: train" in err) == (2, True)


def test_run_folders(refused, striate_cli, tree, tmp_path, trained):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    refused(tree, "mine is not empty and not a run", flags=["--run", "mine"])
    refused(tree, "has checkpoints", "striate resume", flags=["--run", trained[0]])
    (tmp_path / "file").write_text("x")
    refused(tree, "file is a file", flags=["--run", "file"])
    for verb in ("resume", "evaluate"):
        code, _, err = striate_cli(verb, "nowhere")
        assert (code, "no run directory nowhere" in err) == (2, True)
        code, _, err = striate_cli(verb, "mine")
        assert (code, "mine is not a run" in err) == (2, True)


def test_a_read_only_place(striate_cli, tree, tmp_path, monkeypatch):
    """A disk that refuses the run folder: named, with the free bytes."""
    import errno

    def denied(self, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", denied)
    code, _, err = striate_cli("train", tree, "--run", "there")
    assert code == 2
    assert "cannot write there: Read-only file system" in err
    assert "bytes free" in err


def test_a_full_disk_in_training(striate_cli, tree, tmp_path, monkeypatch):
    """The first checkpoint does not fit: exit 2, path and bytes named, no stray files."""
    import errno

    fsync = os.fsync

    def full(descriptor):
        if "safetensors" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = striate_cli("train", tree, *FLAGS)
    assert code == 2
    assert "No space left on device" in err
    assert "bytes needed" in err
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def damaged_copy(trained, tmp_path):
    import shutil

    return Path(shutil.copytree(trained[0], tmp_path / "copy"))


@pytest.mark.parametrize(
    "name", ["recipe.yaml", "dataset.json", "resolved.json", "environment.json"]
)
@pytest.mark.parametrize("how", ["missing", "garbled"])
def test_a_damaged_run(name, how, striate_cli, trained, tmp_path):
    run = damaged_copy(trained, tmp_path)
    if how == "missing":
        (run / name).unlink()
    else:
        (run / name).write_text("{][")
    code, _, err = striate_cli("evaluate", run)
    assert code == 2
    assert name in err
    assert "Traceback" not in err


def test_damaged_checkpoints(striate_cli, trained, tmp_path):
    run = damaged_copy(trained, tmp_path)
    for path in run.glob("checkpoints/*/model.safetensors"):
        path.write_bytes(b"x")
    code, _, err = striate_cli("predict", run, trained[1] / "test" / "red")
    assert code == 2
    assert "no usable checkpoint" in err
    assert "size of model.safetensors differs" in err


def test_more_classes_than_the_run_knows(striate_cli, trained, tmp_path):
    other = write_tree(tmp_path / "o", {"red": 2, "violet": 2})
    code, _, err = striate_cli("evaluate", trained[0], other)
    assert code == 2
    assert "the run's network does not know" in err
    assert "violet: 2 images" in err


def test_predict_on_nothing_useful(striate_cli, trained, tmp_path):
    run = trained[0]
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.png").write_bytes(b"zzz")
    for arguments, piece in (
        (["nope.png"], "no image at nope.png"),
        (["empty"], "empty: no images found"),
        (["bad.png"], "bad.png: not an image"),
        ([], "no images given"),
    ):
        code, out, err = striate_cli("predict", run, *arguments)
        assert (code, out) == (2, "")
        assert piece in err


def test_flat_folders_have_no_classes(refused, striate_cli, trained, tmp_path):
    root = write_tree(tmp_path / "kaggle", {"train": 5})
    refused(root, "5 images, none in a folder that names its class", "CLASS/image.jpg")
    code, _, err = striate_cli("evaluate", trained[0], root)
    assert (code, "none in a folder" in err) == (2, True)


def test_only_test_images(refused, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(picture((1, 2, 3))))
    (tmp_path / "t.csv").write_text("path,label,split\na.png,x,test\na.png,y,val\n")
    refused(tmp_path / "t.csv", "has test, val images but none to train on")


def test_a_damaged_member(refused, tree, tmp_path):
    """A deflated member whose stream is broken is one more unusable image."""
    path = tmp_path / "d.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(tree.rglob("*.png")):
            archive.write(file, file.relative_to(tree).as_posix())
        place = archive.getinfo("train/red/0.png").header_offset
    data = bytearray(path.read_bytes())
    start = place + 30 + len("train/red/0.png")
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    refused(path, "1 image cannot be used", "train/red/0.png: cannot be read")


def test_levels_without_folders(refused):
    refused("digits", "data.label_levels: digits is no tree", flags=["--data.label-levels", "a"])


def test_knobs_that_a_network_does_not_take(refused, tree):
    refused(tree, "vgg11 does not take small_stem",
            flags=["--model", "vgg11", "--model.small-stem", "True"])  # fmt: skip


def test_a_picture_into_no_folder(striate_cli, tree):
    code, _, err = striate_cli("data", "show", tree, "--png", "nowhere/sheet.png")
    assert code == 2
    assert "cannot write nowhere/sheet.png: No such file or directory" in err


def test_other_data_than_was_trained_on(striate_cli, tmp_path):
    """New images change the split: training images would be scored as test images."""
    root = write_tree(tmp_path / "d", dict.fromkeys(COLOURS, 12))
    assert striate_cli("train", root, *FLAGS)[0] == 0
    assert striate_cli("evaluate", "run")[0] == 0
    write_tree(root, {"red/more": 6})
    code, _, err = striate_cli("evaluate", "run")
    assert code == 2
    assert "the test images of" in err
    assert "changed since run was trained" in err


def test_skip_bad_and_allow_elsewhere(striate_cli, trained, tmp_path):
    other = write_tree(tmp_path / "o", {"red": 3, "green": 2})
    (other / "red" / "bad.png").write_bytes(b"zzz")
    (other / "red" / "lie.jpg").write_bytes(encoded(picture(COLOURS["red"])))
    for verb in ("evaluate", "predict"):
        code, _, err = striate_cli(verb, trained[0], other)
        assert (code, "2 images cannot be used" in err) == (2, True)
        flags = ("--skip-bad", "--allow", "wrong-extension")
        code, _, err = striate_cli(verb, trained[0], other, *flags)
        assert code == 0, err
        assert "1 unusable image left out" in err
    assert (
        "no images of 1 of 3 classes: blue"
        in striate_cli("evaluate", trained[0], other, "--skip-bad")[2]
    )


@pytest.mark.parametrize("command", [("train", "--procs"), ("search", "--jobs")])
def test_no_processes(striate_cli, command):
    verb, flag = command
    code, _, err = striate_cli(verb, "digits", flag, "0")
    assert code == 2
    assert f"{flag} 0" in err


def test_a_misspelt_knob_of_a_branch(striate_cli):
    code, _, err = striate_cli("branch", "somewhere", "--optim.momentm", "0.9")
    assert code == 2
    assert "no knob --optim.momentm" in err
    assert "optim.momentum" in err
