"""Files as other people, programs and systems lay them out: read, or refused with the remedy."""

import io
import os
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.core.errors import DataError
from striate.data.dataset import open_dataset
from striate.data.decode import examine
from striate.data.sources import open_source
from striate.data.sources.names import alike, natural_order
from striate.data.sources.options import SourceOptions
from tests.conftest import encoded, picture
from tests.data.test_sources import idx


def put(root, *paths, each=1):
    """Small different images at these paths, or `each` of them in a folder (`a/`)."""
    for path in paths:
        names = [f"{path}{i}.png" for i in range(each)] if path.endswith("/") else [path]
        for name in names:
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded(picture((90, 90, 90), seed=len(list(root.rglob("*"))))))
    return root


def counts(source, **options):
    found = open_source(source, SourceOptions(**options))
    return {name: part.counts() for name, part in found.parts.items()}


def remarks(source, **options):
    found = open_source(source, SourceOptions(**options))
    return " | ".join(
        [*(f.text for f in found.remarks), *(k for k, v in found.ignored.items() if v)]
    )


def refusal(source, **options):
    with pytest.raises(DataError) as error:
        open_source(source, SourceOptions(**options))
    return str(error.value)


# names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [("1", "01"), ("a1", "a01", "a001"), ("1", "01", "001"), ("٣", "3"), ("", "a")]
)
def test_no_two_names_have_one_place(names):
    keys = {natural_order(name) for name in names}
    assert len(keys) == len(names)
    backwards = list(names)[::-1]
    assert sorted(names, key=natural_order) == sorted(backwards, key=natural_order)


def test_classes_equal_as_numbers_have_one_order_in_every_process(tmp_path):
    import subprocess
    import sys

    put(tmp_path / "d", "1/", "01/", "001/", "2/", "02/", each=3)
    code = (
        f"from striate.data.sources import open_source; print(open_source({str(tmp_path / 'd')!r})"
    )
    code += ".parts['all'].names)"
    said = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in range(1, 5)
    }  # fmt: skip
    assert said == {"('001', '01', '1', '02', '2')\n"}


def test_names_that_are_one_class_perhaps(tmp_path):
    assert alike(["Cat", "cat", "dog", "hot dog", "hot_dog", "7", "07", "8"]) == [
        ["07", "7"], ["Cat", "cat"], ["hot dog", "hot_dog"],
    ]  # fmt: skip
    put(tmp_path, "Cat/", "cat/", "dog/", each=5)
    found = [f for f in open_dataset(tmp_path).findings if f.rule == "similar class names"]
    assert "'Cat' and 'cat'" in found[0].text


@pytest.mark.parametrize("places", [("train", "test"), ("train", "train")])
def test_one_name_in_two_forms_of_unicode(places, tmp_path):
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    for place, name in zip(places, forms, strict=True):
        put(tmp_path, f"{place}/{name}/", f"{place}/tea/", each=6)
    dataset = open_dataset(tmp_path)
    assert dataset.classes == (forms[0], "tea")


def test_a_class_in_another_case_in_another_split_is_named(tmp_path):
    put(tmp_path, "train/Cat/", "train/dog/", "test/cat/", "test/dog/", each=5)
    with pytest.raises(DataError, match="Perhaps these are one class each: 'Cat' and 'cat'"):
        open_dataset(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_no_text_obey_skip_bad(tmp_path):
    put(tmp_path, "a/", "b/", each=3)
    broken = os.fsencode(tmp_path) + b"/a/caf\xe9.png"
    with Path(os.fsdecode(broken)).open("wb") as file:
        file.write(encoded(picture((1, 2, 3))))
    assert "--skip-bad" in refusal(tmp_path)
    assert counts(tmp_path, skip_bad=True) == {"all": {"a": 3, "b": 3}}
    assert "caf" in remarks(tmp_path, skip_bad=True)


# folders -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes", [("bus", "car", "train"), ("valid", "invalid"), ("test", "control"), ("dev", "ops")]
)
def test_a_class_may_have_a_splits_name(classes, tmp_path):
    put(tmp_path, *(f"{c}/" for c in classes), each=6)
    assert counts(tmp_path) == {"all": dict.fromkeys(sorted(classes), 6)}


def test_a_split_or_a_class_is_asked(tmp_path):
    put(tmp_path, "bus/city/", "bus/coach/", "train/diesel/", "train/steam/", each=2)
    said = refusal(tmp_path)
    assert "'train' is the name of a split, and bus beside it has folders" in said
    assert counts(f"{tmp_path}#train") == {"all": {"diesel": 2, "steam": 2}}
    assert counts(tmp_path, class_level=1) == {"all": {"bus": 4, "train": 4}}
    assert set(counts(tmp_path, class_level=2)["all"]) == {"city", "coach", "diesel", "steam"}


def test_folders_of_folders_are_asked(tmp_path):
    put(tmp_path, "anna/mon/", "anna/tue/", "bert/mon/", "bert/wed/", each=2)
    said = refusal(tmp_path)
    assert "anna holds no images, only 2 folders of them: mon, tue" in said
    assert counts(tmp_path, class_level=1) == {"all": {"anna": 4, "bert": 4}}
    assert counts(tmp_path, class_level=0) == {"all": {"mon": 4, "tue": 2, "wed": 2}}


def test_one_folder_in_each_class_is_no_question(tmp_path):
    put(tmp_path, "a/images/", "b/images/", each=3)
    assert counts(tmp_path) == {"all": {"a": 3, "b": 3}}


def test_images_and_folders_in_a_class(tmp_path):
    put(tmp_path, "a/", "a/more/", "a/old/", "b/", each=3)
    assert counts(tmp_path) == {"all": {"a": 9, "b": 3}}


def test_wrapped_twice_as_kaggle_does(tmp_path):
    put(tmp_path, "train/train/a/", "train/train/b/", "test/test/", each=4)
    assert counts(tmp_path) == {"train": {"a": 4, "b": 4}}
    assert "4 images in test/ without a class: not used" in remarks(tmp_path)


def test_splits_in_a_folder_with_a_splits_name(tmp_path):
    put(tmp_path, "train/train/a/", "train/train/b/", "train/val/a/", "train/val/b/", each=4)
    assert set(counts(tmp_path)) == {"train", "val"}


def test_images_folder_within_a_split(tmp_path):
    put(tmp_path, "train/images/a/", "train/images/b/", "val/images/a/", "val/images/b/", each=3)
    assert counts(tmp_path)["val"] == {"a": 3, "b": 3}


def test_a_split_of_one_class_keeps_it(tmp_path):
    put(tmp_path, "train/a/", "train/b/", "val/a/", each=3)
    assert counts(tmp_path)["val"] == {"a": 3}


def test_deep_classes_beside_a_helper_folder_are_asked(tmp_path):
    put(
        tmp_path, "GTSRB/Final_Training/Images/00000/", "GTSRB/Final_Training/Images/00001/", each=3
    )
    put(tmp_path, "tools/", each=2)
    said = refusal(tmp_path)
    assert "GTSRB" in said
    place = f"{tmp_path}#GTSRB"
    assert counts(place) == {"all": {"00000": 3, "00001": 3}}


def test_loose_images_and_read_mes_do_not_hide_classes(tmp_path):
    put(tmp_path, "set/a/", "set/b/", each=3)
    put(tmp_path, "cover.png", "set/sample.png")
    (tmp_path / "set" / "README.md").write_text("x")
    (tmp_path / "set" / "docs").mkdir()
    (tmp_path / "set" / "docs" / "licence.txt").write_text("x")
    assert counts(tmp_path) == {"all": {"a": 3, "b": 3}}
    assert open_dataset(tmp_path).classes == ("a", "b")
    assert "images outside class folders" in remarks(tmp_path)


def test_tiny_imagenet(tmp_path):
    for wnid in ("n01", "n02"):
        put(tmp_path, f"train/{wnid}/images/", each=3)
        (tmp_path / "train" / wnid / f"{wnid}_boxes.txt").write_text("0.png\t0\t0\t9\t9\n")
    put(tmp_path, "val/images/val_", each=1)
    put(tmp_path, *(f"val/images/val_{i}.png" for i in range(4)))
    lines = [f"val_{i}.png\tn0{1 + i % 2}\t0\t0\t9\t9" for i in range(4)]
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "words.txt").write_text("n01\tfish\nn02\tbird\n")
    put(tmp_path, "test/images/", each=2)
    assert counts(tmp_path) == {"train": {"n01": 3, "n02": 3}, "val": {"n01": 2, "n02": 2}}
    assert "2 images in test/ without a class" in remarks(tmp_path)


def test_pictures_that_are_not_read_are_counted(tmp_path):
    put(tmp_path, "a/", "b/", each=3)
    for name in ("a/x.heic", "b/y.HEIC", "b/z.svg"):
        (tmp_path / name).write_bytes(b"x")
    said = remarks(tmp_path)
    assert "2 .heic files not read (HEIC, as phones write it), in a, b" in said
    assert "1 .svg file not read" in said
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "1.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"magick mogrify -format jpg '\*\.heic'"):
        open_dataset(tmp_path)
    alone = tmp_path / "only"
    alone.mkdir()
    (alone / "1.heic").write_bytes(b"x")
    assert "magick" in refusal(alone)
    assert "is one picture, not a data set" in refusal(alone / "1.heic")


def test_avif_where_pillow_reads_it(tmp_path):
    from PIL import features

    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    put(tmp_path, "a/", "b/", each=2)
    (tmp_path / "a" / "x.avif").write_bytes(encoded(picture((200, 30, 30)), "AVIF"))
    assert counts(tmp_path)["all"]["a"] == 3
    header, pixels = examine((tmp_path / "a" / "x.avif").read_bytes(), 1.0)
    assert (header.width, header.format) == (16, "AVIF")
    assert abs(int(pixels[..., 0].mean()) - 200) < 20


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_orientation_is_applied_once(form, orientation):
    image, buffer = Image.fromarray(np.zeros((10, 20, 3), np.uint8)), io.BytesIO()
    if form == "TIFF":
        image.save(buffer, form, tiffinfo={274: orientation})
    else:
        exif = Image.Exif()
        exif[274] = orientation
        image.save(buffer, form, exif=exif)
    header, pixels = examine(buffer.getvalue(), 100)
    assert (header.width, header.height) == (pixels.shape[1], pixels.shape[0]) == (10, 20)


# names of files as labels ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("cat.{}.jpg", "dog.{}.jpg"), {"cat", "dog"}),
        (("great_dane_{}.png", "pug_{}.png"), {"great_dane", "pug"}),
        (("{}_cat.png", "{}_dog.png"), {"cat", "dog"}),
    ],
)
def test_labels_in_names_are_proposed_and_confirmed(names, classes, tmp_path):
    for name in names:
        for i in range(4):
            put(tmp_path, name.format(i).replace(".jpg", ".png"))
    said = refusal(tmp_path)
    assert "--data.label-pattern" in said
    pattern = said.split("--data.label-pattern '")[1].split("'\n")[0]
    assert counts(tmp_path, label_pattern=pattern) == {"all": dict.fromkeys(sorted(classes), 4)}
    assert "finds no class in 8 of 8 names" in refusal(tmp_path, label_pattern="^(zebra)")
    assert "no regular expression" in refusal(tmp_path, label_pattern="(")


def test_no_pattern_is_proposed_where_names_say_nothing(tmp_path):
    put(tmp_path, *(f"IMG_{i}.png" for i in range(6)))
    assert "--data.label-pattern" not in refusal(tmp_path)


# tables ------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    return put(tmp_path, *(f"im/{c}/{c}{i}.png" for c in "ab" for i in range(4)))


def rows(form="im/{c}/{c}{i}.png", between=","):
    return [f"{form.format(c=c, i=i)}{between}{c}" for c in "ab" for i in range(4)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("semi.csv", "path;label\n" + "\n".join(rows(between=";"))),
        ("tab.csv", "path\tlabel\n" + "\n".join(rows(between="\t"))),
        ("tab.tsv", "path\tlabel\n" + "\n".join(rows(between="\t"))),
        ("kaggle.csv", "image_id,label\n" + "\n".join(rows())),
        ("stems.csv", "image_id,label\n" + "\n".join(rows("{c}{i}"))),
        ("windows.csv", "path,label\n" + "\n".join(rows("im\\{c}\\{c}{i}.png"))),
        ("elsewhere.csv", "path,label\n" + "\n".join(rows("C:\\data\\im\\{c}\\{c}{i}.png"))),
        ("home.csv", "path,label\n" + "\n".join(rows("/home/x/im/{c}/{c}{i}.png"))),
        ("species.csv", "picture,species\n" + "\n".join(rows())),
        ("odd.csv", "Bild,Art\n" + "\n".join(rows())),
        ("none.csv", "\n".join(rows())),
        ("bom.csv", "\ufeffpath,label\n" + "\n".join(rows())),
        ("quoted.csv", 'path,label\n"' + '"\n"'.join(r.replace(",", '","') for r in rows()) + '"'),
        ("crlf.csv", "path,label\r\n" + "\r\n".join(rows())),
    ],
)
def test_tables_of_others(name, text, pictures):
    (pictures / name).write_text(text, encoding="utf-8", newline="")
    assert counts(pictures / name) == {"all": {"a": 4, "b": 4}}


def test_tables_in_other_encodings(pictures):
    text = "path,label\n" + "\n".join(rows()).replace(",a", ",café")
    for name, encoding in (("16.csv", "utf-16"), ("1252.csv", "cp1252"), ("8.csv", "utf-8")):
        (pictures / name).write_bytes(text.encode(encoding))
        assert counts(pictures / name) == {"all": {"b": 4, "café": 4}}
    assert "read as Windows-1252" in remarks(pictures / "1252.csv")


def test_any_name_of_the_label_column(pictures):
    lines = ["file,width,kind,who"] + [
        f"{r.split(',')[0]},{i},{r[-1]},x" for i, r in enumerate(rows())
    ]
    (pictures / "t.csv").write_text("\n".join(lines))
    said = refusal(pictures / "t.csv")
    assert "which column names the class? It has: width, kind, who" in said
    assert "--data.label-column" in said
    assert counts(pictures / "t.csv", label_column="kind") == {"all": {"a": 4, "b": 4}}
    assert "no column 'knd'" in refusal(pictures / "t.csv", label_column="knd")


def test_two_columns_that_could_be_the_label(pictures):
    lines = ["file,label,class"] + [f"{r},{r[-1]}{i % 2}" for i, r in enumerate(rows())]
    (pictures / "t.csv").write_text("\n".join(lines))
    assert "label, class could all be the label" in refusal(pictures / "t.csv")


def test_a_table_in_the_opened_folder(tmp_path):
    put(tmp_path, *(f"train_images/{i}.png" for i in range(8)))
    put(tmp_path, *(f"test_images/t{i}.png" for i in range(3)))
    lines = [f"{i},{'ab'[i % 2]}" for i in range(8)]
    (tmp_path / "train.csv").write_text("image_id,label\n" + "\n".join(lines) + "\n")
    (tmp_path / "notes.txt").write_text("nothing, of use\n")
    assert counts(tmp_path) == {"all": {"a": 4, "b": 4}} or counts(tmp_path) == {
        "train": {"a": 4, "b": 4}
    }
    assert "labels are read from train.csv" in remarks(tmp_path)
    val = [f"t{i},{'ab'[i % 2]}" for i in range(3)]
    (tmp_path / "val.csv").write_text("image_id,label\n" + "\n".join(val) + "\n")
    assert counts(tmp_path) == {"train": {"a": 4, "b": 4}, "val": {"a": 2, "b": 1}}


def test_a_table_in_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for i in range(6):
            archive.writestr(f"set/images/{i}.png", encoded(picture((9, 9, 9), seed=i)))
        text = "image,label\n" + "\n".join(f"{i}.png,{'ab'[i % 2]}" for i in range(6))
        archive.writestr("set/labels.csv", text)
    assert counts(tmp_path / "z.zip") == {"all": {"a": 3, "b": 3}}


def test_one_image_under_two_labels_is_remarked(pictures):
    (pictures / "t.csv").write_text(
        "path,label\n" + "\n".join([*rows(), rows()[0], "im/a/a1.png,b"])
    )
    said = remarks(pictures / "t.csv")
    assert "1 row that repeat" in said
    assert "1 image with two labels" in said
    assert "im/a/a1.png: a in line 3, b in line 11" in said


@pytest.mark.parametrize("words", [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("yes", "no")])
def test_one_hot_rows_are_one_label(words, pictures):
    yes, no = words
    lines = [f"{r.split(',')[0]},{yes if r[-1] == 'a' else no},{yes if r[-1] == 'b' else no}"
             for r in rows()]  # fmt: skip
    (pictures / "t.csv").write_text("image,MEL,NV\n" + "\n".join(lines))
    found = open_source(pictures / "t.csv")
    assert found.kind == "labels"
    assert found.parts["all"].counts() == {"MEL": 4, "NV": 4}
    assert "exactly one 1" in found.remarks[-1].text
    lines[0] = lines[0].replace(yes, no)  # an image with no label: then there are several
    (pictures / "t.csv").write_text("image,MEL,NV\n" + "\n".join(lines))
    found = open_source(pictures / "t.csv")
    assert found.kind == "label_sets"
    assert found.parts["all"].targets.array.sum(axis=1).tolist() == [0, 1, 1, 1, 1, 1, 1, 1]


def test_an_image_without_labels_among_several(pictures):
    lines = rows()
    lines[0] = "im/a/a0.png,"
    lines[1] = "im/a/a1.png,a;b"
    (pictures / "t.csv").write_text("path,labels\n" + "\n".join(lines))
    found = open_source(pictures / "t.csv")
    assert found.kind == "label_sets"
    assert found.parts["all"].targets.array[0].sum() == 0


def test_numbers_in_other_forms_are_one_label(pictures):
    lines = [f"{r.split(',')[0]},{['0', '0.0', '1', '1.0'][i // 2]}" for i, r in enumerate(rows())]
    (pictures / "t.csv").write_text("path,label\n" + "\n".join(lines))
    assert counts(pictures / "t.csv") == {"all": {"0": 4, "1": 4}}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array([[0], [1]] * 10), ("0", "1")),
        (np.array([0.0, 1.0] * 10), ("0", "1")),
        (np.array([True, False] * 10), ("False", "True")),
        (np.eye(2)[[0, 1] * 10], ("0", "1")),
        (np.eye(2, dtype=bool)[[0, 1] * 10], ("0", "1")),
        (np.array(["01", "1"] * 10), ("01", "1")),
    ],
)
def test_labels_of_arrays(labels, classes):
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8), dtype=np.uint8)
    dataset = open_dataset((images, labels))
    assert dataset.classes == classes
    assert dataset.kind == "labels"


def test_several_labels_stay_several_if_one_split_says_so():
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8), dtype=np.uint8)
    one = np.eye(2)[[0, 1] * 10]
    two = one.copy()
    two[0] = 1
    found = open_source({"train": (images, two), "test": (images, one)})
    assert found.kind == "label_sets"
    assert found.parts["test"].targets.array.ndim == 2


# archives, IDX, shards ---------------------------------------------------------------------------


def zip_of(path, names, flag=None):
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(names):
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, encoded(picture((50, 50, 50), seed=i)))
    return path


def test_backslashes_in_archives(tmp_path):
    names = [f"set\\{c}\\{i}.png" for c in "ab" for i in range(3)]
    assert counts(zip_of(tmp_path / "w.zip", names)) == {"all": {"a": 3, "b": 3}}
    found = open_source(tmp_path / "w.zip").parts["all"].images
    assert found.pixels(5, 1.0).shape == (16, 16, 3)
    with tarfile.open(tmp_path / "w.tar", "w") as archive:
        for i, name in enumerate(names):
            data = encoded(picture((50, 50, 50), seed=i))
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert counts(tmp_path / "w.tar") == {"all": {"a": 3, "b": 3}}


def test_names_of_archives_that_hide_their_encoding(tmp_path):
    """UTF-8 without its flag is common; what is really an old code page is said."""
    path = zip_of(tmp_path / "u.zip", [f"caf\u00e9/{i}.png" for i in range(3)] + ["tea/1.png"])
    raw = path.read_bytes()
    flagged = (0x800).to_bytes(2, "little")
    assert flagged in raw
    path.write_bytes(raw.replace(flagged, b"\0\0"))
    assert counts(path) == {"all": {"caf\u00e9": 3, "tea": 1}}
    assert open_source(path).parts["all"].images.pixels(0, 1.0).shape == (16, 16, 3)
    old = tmp_path / "old.zip"
    text = "caf\u00e9/1.png".encode("cp437").decode("latin-1")
    raw = zip_of(old, ["cafX/1.png", "tea/1.png"]).read_bytes()
    old.write_bytes(raw.replace(b"cafX", text.encode("latin-1")[:4]))
    assert counts(old) == {"all": {"caf\u00e9": 1, "tea": 1}}
    assert "encoding that the archive does not state" in remarks(old)


@pytest.mark.parametrize("layout", ["MNIST/raw/{}", "{}/{}", "sub/{}", "{}"])
@pytest.mark.parametrize("packed", ["folder", "zip"])
def test_idx_as_others_lay_it_out(layout, packed, tmp_path):
    rng = np.random.default_rng(0)
    files = {
        "train-images-idx3-ubyte": idx(rng.integers(0, 255, (20, 9, 7), dtype=np.uint8)),
        "train-labels-idx1-ubyte": idx((np.arange(20) % 2).astype(np.uint8)),
        "t10k-images.idx3-ubyte": idx(rng.integers(0, 255, (6, 9, 7), dtype=np.uint8)),
        "t10k-labels.idx1-ubyte": idx((np.arange(6) % 2).astype(np.uint8)),
    }
    root = tmp_path / "d"
    for name, data in files.items():
        place = root / layout.format(name, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    source = root
    if packed == "zip":
        source = tmp_path / "d.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for file in sorted(root.rglob("*")):
                archive.write(file, file.relative_to(root).as_posix())
    assert counts(source) == {"train": {"0": 10, "1": 10}, "test": {"0": 3, "1": 3}}


def test_shards_of_webdataset(tmp_path):
    for shard in ("train-000000.tar", "train-000001.tar", "val-000000.tar"):
        with tarfile.open(tmp_path / shard, "w") as archive:
            for i in range(4):
                data = {"jpg": encoded(picture((9, 9, 9), seed=i), "JPEG")}
                data["json" if i % 2 else "cls"] = (
                    b'{"label": 1, "caption": "x"}' if i % 2 else b"0\n"
                )
                for ending, content in data.items():
                    info = tarfile.TarInfo(f"{shard[:5]}/{i:06d}.{ending}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    assert counts(tmp_path) == {"train": {"0": 4, "1": 4}, "val": {"0": 2, "1": 2}}
    found = open_source(tmp_path).parts["train"].images
    assert found.pixels(7, 1.0).shape == (16, 16, 3)
    assert counts(tmp_path / "val-000000.tar") == {"val": {"0": 2, "1": 2}}


def test_webdataset_without_a_label_is_named(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, content in (("1.jpg", encoded(picture((9, 9, 9)), "JPEG")), ("1.cls", b"")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert "1 image without a label beside them" in refusal(tmp_path / "x.tar")
