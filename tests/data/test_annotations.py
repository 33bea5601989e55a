"""Annotations of boxes: each form's rule, every form into every other, and what can be wrong."""

import contextlib
import io
import json
import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.core.errors import DataError, StriateError
from striate.data.boxes import CROWD, DIFFICULT
from striate.data.dataset import open_dataset
from striate.data.decode import read_header
from striate.data.sources import open_source
from striate.data.sources.annotations import FORMS
from striate.data.sources.annotations.write import KEEPS, convert
from striate.data.sources.options import SourceOptions

VOC = """<annotation><filename>{name}</filename>
<size><width>{width}</width><height>{height}</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin>
<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""


def picture(path, width=60, height=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (len(path.name) * 7 % 255, 80, 90)).save(path)


def voc(root, images, *, size=(60, 40), splits=None):
    """images: name → objects (class, difficult, xmin, ymin, xmax, ymax)."""
    for name, objects in images.items():
        picture(root / "JPEGImages" / f"{name}.png", *size)
        text = VOC.format(name=f"{name}.png", width=size[0], height=size[1],
                          objects="".join(OBJECT.format(*o) for o in objects))  # fmt: skip
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(text)
    for split, names in (splits or {}).items():
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{n}\n" for n in names))
    return root


def noisy(root):
    """Other pixels in each picture, so that none is another's copy."""
    rng = np.random.default_rng(0)
    for path in sorted((root / "JPEGImages").iterdir()):
        with Image.open(path) as image:
            width, height = image.size
        Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(path)


def said(found, split="all"):
    """Image name → its objects (left, top, right, bottom, class, flags), sorted."""
    part = found.parts[split]
    result = {}
    for i in range(len(part)):
        own = part.targets.only(i)
        rows = zip(own.places, own.numbers, own.flags, strict=True)
        result[part.images.key(i).rpartition("/")[2]] = sorted(
            (*map(float, place), part.names[number], int(flags)) for place, number, flags in rows
        )
    return result


def remarks(found):
    return {finding.rule: finding for finding in found.remarks}


# ---- the rule of each form ---------------------------------------------------------------------


def test_voc_counts_pixels_from_one(tmp_path):
    voc(tmp_path, {"a": [("cat", 0, 1, 1, 60, 40), ("dog", 1, 11, 6, 20, 15)], "b": []})
    found = open_source(tmp_path)
    assert said(found)["a.png"] == [(0, 0, 60, 40, "cat", 0), (10, 5, 20, 15, "dog", DIFFICULT)]
    assert said(found)["b.png"] == []
    assert remarks(found)["images without objects"].evidence == {"count": 1}


def test_a_voc_set_with_a_corner_at_zero_counts_from_zero(tmp_path):
    voc(tmp_path, {"a": [("cat", 0, 0, 3, 10, 12)], "b": [("cat", 0, 5, 6, 20, 30)]})
    found = open_source(tmp_path)
    assert said(found) == {"a.png": [(0, 3, 10, 12, "cat", 0)], "b.png": [(5, 6, 20, 30, "cat", 0)]}
    assert "corners from 0" in remarks(found)


def test_voc_splits_are_its_lists(tmp_path):
    names = {n: [("cat", 0, 2, 2, 20, 20)] for n in "abcde"}
    voc(tmp_path, names, splits={"train": "ab", "val": "c", "trainval": "abc", "test": "d"})
    found = open_source(tmp_path)
    assert {split: sorted(said(found, split)) for split in found.parts} == {
        "train": ["a.png", "b.png"], "val": ["c.png"], "test": ["d.png"],
    }  # fmt: skip
    assert any("in no list of ImageSets" in f.text for f in found.remarks)


def coco(root, images, annotations, categories, name="annotations/instances_train.json"):
    for row in images:
        picture(root / "images" / row["file_name"], row["width"], row["height"])
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    values = {"images": images, "annotations": annotations, "categories": categories}
    (root / name).write_text(json.dumps(values))
    return root


def test_coco_counts_continuously_and_numbers_have_gaps(tmp_path):
    coco(tmp_path, [{"id": 7, "file_name": "a.png", "width": 60, "height": 40},
                    {"id": 9, "file_name": "b.png", "width": 60, "height": 40}],
         [{"id": 1, "image_id": 7, "category_id": 90, "bbox": [1.5, 2, 10, 20.25]},
          {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 30, 30], "iscrowd": 1}],
         [{"id": 0, "name": "background"}, {"id": 3, "name": "dog"},
          {"id": 90, "name": "cat"}])  # fmt: skip
    found = open_source(tmp_path)
    assert found.parts["train"].names == ("cat", "dog")
    assert said(found, "train")["a.png"] == [
        (0, 0, 30, 30, "dog", CROWD), (1.5, 2, 11.5, 22.25, "cat", 0),
    ]  # fmt: skip


def test_coco_of_several_splits_beside_captions(tmp_path):
    row = {"id": 1, "file_name": "a.png", "width": 60, "height": 40}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 20]}
    names = [{"id": 1, "name": "cat"}]
    for split in ("train2017", "val2017"):
        coco(tmp_path, [{**row, "file_name": f"{split}/a.png"}], [box], names,
             f"annotations/instances_{split}.json")  # fmt: skip
        (tmp_path / "annotations" / f"captions_{split}.json").write_text(json.dumps(
            {"images": [row], "annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}],
             "categories": []}))  # fmt: skip
    assert sorted(open_source(tmp_path).parts) == ["train", "val"]


@pytest.mark.parametrize("layout", ["ultralytics", "roboflow", "beside"])
def test_yolo_counts_in_shares(layout, tmp_path):
    image, label, sheet = {
        "ultralytics": ("images/train/a.png", "labels/train/a.txt", "train: images/train"),
        "roboflow": ("train/images/a.png", "train/labels/a.txt", "train: ../train/images"),
        "beside": ("a.png", "a.txt", ""),
    }[layout]
    picture(tmp_path / image, 60, 40)
    picture(tmp_path / image.replace("a.png", "b.png"), 60, 40)
    (tmp_path / label).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / label).write_text("1 0.5 0.5 0.5 0.25\n0 0 0 0.5 0 0.5 0.5 0.25 0.75\n")
    (tmp_path / "data.yaml").write_text(f"{sheet}\nnc: 2\nnames: {{0: cat, 1: dog}}\n")
    found = open_source(tmp_path)
    split = "all" if layout == "beside" else "train"
    assert said(found, split) == {
        "a.png": [(0, 0, 30, 30, "cat", 0), (15, 15, 45, 25, "dog", 0)], "b.png": [],
    }  # fmt: skip
    assert remarks(found)["polygons"].text.endswith(": 1")


def test_yolo_lists_of_images_and_names_in_a_file(tmp_path):
    for name in "abc":
        picture(tmp_path / "data" / f"{name}.png")
        (tmp_path / "data" / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "train.txt").write_text("/home/me/data/a.png\n/home/me/data/b.png\n")
    (tmp_path / "val.txt").write_text("data/c.png\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [cat]\n")
    found = open_source(tmp_path)
    assert {split: len(part) for split, part in found.parts.items()} == {"train": 2, "val": 1}


@pytest.mark.parametrize("header", [
    "path,left,top,right,bottom,class", "filename,width,height,class,xmin,ymin,xmax,ymax", "",
])  # fmt: skip
def test_tables_of_boxes(header, tmp_path):
    picture(tmp_path / "img" / "a.png")
    picture(tmp_path / "img" / "b.png")
    if header.startswith("filename"):
        lines = ["a.png,60,40,cat,1,2,30,20", "a.png,60,40,dog,5,5,50,40", "b.png,60,40,,,,,"]
    else:
        lines = ["img/a.png,1,2,30,20,cat", "img/a.png,5,5,50,40,dog", "img/b.png,,,,,"]
    (tmp_path / "boxes.csv").write_text("\n".join([*([header] if header else []), *lines]) + "\n")
    wanted = {"a.png": [(1, 2, 30, 20, "cat", 0), (5, 5, 50, 40, "dog", 0)], "b.png": []}
    assert said(open_source(tmp_path / "boxes.csv")) == wanted
    assert said(open_source(tmp_path)) == wanted


def test_class_folders_with_other_files_are_no_boxes(tmp_path):
    for label in ("cat", "dog"):
        for i in range(3):
            picture(tmp_path / label / f"{i}.png")
            (tmp_path / label / f"{i}.txt").write_text("a caption of the picture\n")
    (tmp_path / "info.json").write_text('{"images": 6}')
    (tmp_path / "notes.xml").write_text("<notes/>")
    assert open_source(tmp_path).kind == "labels"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_pictures_that_were_annotated_on_their_side(orientation, tmp_path):
    """A white rectangle is found where the box says, in the picture as it is shown."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[4:12, 10:30] = 255
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations").mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "JPEGImages" / "a.jpg", quality=98, exif=exif)
    sides = (11, 5, 30, 12)
    text = VOC.format(name="a.jpg", width=60, height=40, objects=OBJECT.format("cat", 0, *sides))
    (tmp_path / "Annotations" / "a.xml").write_text(text)
    part = open_source(tmp_path).parts["all"]
    lit = np.argwhere(part.images.pixels(0, 100)[..., 0] > 127)
    top, left = lit.min(axis=0)
    bottom, right = lit.max(axis=0) + 1
    if orientation in (1, 5, 6, 7, 8):  # of the others the size does not tell
        np.testing.assert_array_equal(part.targets.places[0], [left, top, right, bottom])


def test_an_orientation_that_does_not_exist_is_none(tmp_path):
    for number in (0, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = number
        data = io.BytesIO()
        Image.new("RGB", (30, 20)).save(data, "JPEG", exif=exif)
        header = read_header(data.getvalue(), 1)
        assert (header.width, header.height, header.flags, header.orientation) == (30, 20, 0, 1)


def test_an_image_of_another_size_than_annotated_is_named(tmp_path):
    voc(tmp_path, {"a": [("cat", 0, 2, 2, 20, 20)], "b": [("cat", 0, 2, 2, 20, 20)]})
    picture(tmp_path / "JPEGImages" / "b.png", 120, 80)
    finding = remarks(open_source(tmp_path))["box: other size"]
    assert "b.xml: annotated for 60×40, the image has 120×80" in finding.text
    assert finding.verdict == "fail"


# ---- every form into every other ---------------------------------------------------------------

SIDE = st.floats(0, 200, allow_nan=False).map(lambda v: round(v, 3))


@st.composite
def objects(draw):
    left, top = draw(SIDE), draw(SIDE)
    place = (left, top, left + draw(st.floats(1.5, 90)), top + draw(st.floats(1.5, 90)))
    flags = draw(st.sampled_from([0, 0, DIFFICULT, CROWD]))
    return place, draw(st.sampled_from(["cat", "dog 2", "Ärmel", "a,b"])), flags


@given(st.lists(st.lists(objects(), max_size=4), min_size=1, max_size=4), st.randoms())
@settings(max_examples=25, deadline=None)
def test_round_trips(tmp_path_factory, images, rng):
    """Through two other forms and back: the same boxes, but for flags that a form has no place
    for."""
    root = tmp_path_factory.mktemp("round")
    rows = [{"id": i + 1, "file_name": f"{i}.png", "width": 320, "height": 320}
            for i in range(len(images))]  # fmt: skip
    names = sorted({name for some in images for _, name, _ in some})
    if not names:
        return
    annotations = [
        {"id": 1, "image_id": i + 1, "category_id": names.index(name) + 5, "bbox":
         [p[0], p[1], p[2] - p[0], p[3] - p[1]], "iscrowd": int(flags == CROWD),
         "difficult": int(flags == DIFFICULT)}
        for i, some in enumerate(images) for p, name, flags in some
    ]  # fmt: skip
    coco(root / "in", rows, annotations, [{"id": names.index(n) + 5, "name": n} for n in names])
    before = open_source(root / "in")
    forms = [rng.choice(sorted(FORMS)) for _ in range(2)]
    keeps, now = DIFFICULT | CROWD, before
    for step, form in enumerate([*forms, "coco"]):
        convert(now, root / f"{step}", form)
        keeps &= KEEPS[form]
        now = open_source(root / f"{step}")
    one, other = said(before, "train"), said(now, "train")
    assert one.keys() == other.keys()
    for name, boxes in one.items():
        assert len(boxes) == len(other[name])
        masked = sorted((*box[:5], box[5] & keeps) for box in boxes)
        for a, b in zip(masked, other[name], strict=True):
            assert a[4:] == b[4:]
            np.testing.assert_allclose(a[:4], b[:4], atol=1e-9)


def test_what_is_written_as_coco_is_read_by_pycocotools(tmp_path):
    from pycocotools.coco import COCO

    voc(tmp_path / "in", {"a": [("cat", 0, 1, 1, 60, 40), ("dog", 0, 11, 6, 20, 15)]})
    convert(open_source(tmp_path / "in"), tmp_path / "out", "coco")
    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(str(tmp_path / "out" / "annotations" / "instances_all.json"))
    assert [a["bbox"] for a in read.loadAnns(read.getAnnIds())] == [[0, 0, 60, 40], [10, 5, 10, 10]]
    assert min(read.anns) == 1
    assert {c["name"] for c in read.loadCats(read.getCatIds())} == {"cat", "dog"}


def test_names_that_two_folders_share_stay_apart(tmp_path):
    for folder in ("one", "two"):
        picture(tmp_path / "images" / folder / "a.png")
        (tmp_path / "labels" / folder).mkdir(parents=True)
        (tmp_path / "labels" / folder / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("names: [cat]\n")
    convert(open_source(tmp_path), tmp_path / "out", "voc")
    assert len(said(open_source(tmp_path / "out"))) == 2


def test_convert_refuses(tmp_path):
    picture(tmp_path / "in" / "cat" / "a.png")
    picture(tmp_path / "in" / "dog" / "a.png")
    with pytest.raises(DataError, match="no boxes"):
        convert(open_source(tmp_path / "in"), tmp_path / "out", "coco")
    voc(tmp_path / "boxed", {"a": [("cat", 0, 1, 1, 60, 40)]})
    with pytest.raises(DataError, match="not empty"):
        convert(open_source(tmp_path / "boxed"), tmp_path / "in", "coco")


# ---- what is wrong (F12) -----------------------------------------------------------------------

BAD = {
    "no number": ("x1", "box: no number"), "nan": ("nan", "box: no number"),
    "inf": ("inf", "box: no number"),
}  # fmt: skip


@pytest.mark.parametrize("kind", [
    "no number", "nan", "inf", "swapped", "flat", "outside", "over", "twice", "nameless",
])  # fmt: skip
def test_each_fault_is_named_with_file_and_object(kind, tmp_path):
    good, bad = ("cat", 0, 2, 2, 20, 20), ["cat", 0, 5, 5, 30, 30]
    rule = {"swapped": "box: swapped corners", "flat": "box: no area", "outside": "box: outside",
            "over": "box: partly outside", "twice": "box: duplicate box",
            "nameless": "box: unknown class"}.get(kind, "box: no number")  # fmt: skip
    match kind:
        case "no number" | "nan" | "inf":
            bad[2] = BAD[kind][0]
        case "swapped":
            bad[2], bad[4] = 30, 5
        case "flat":
            bad[4] = 5
        case "outside":
            bad[2:] = [70, 5, 90, 30]
        case "over":
            bad[4] = 66
        case "twice":
            bad = list(good)
        case "nameless":
            bad[0] = ""
    voc(tmp_path, {"a": [good, bad], **{name: [good] for name in "bcdef"}})
    found = open_source(tmp_path)
    finding = remarks(found)[rule]
    assert "Annotations/a.xml, object 2" in finding.text
    mended = kind in ("flat", "over", "twice")
    assert finding.verdict == ("warn" if mended else "fail")
    kept = said(open_source(tmp_path, SourceOptions(skip_bad=True)))
    assert len(kept["a.png"]) == (2 if kind == "over" else 1)
    if kind == "over":
        assert kept["a.png"][1][2] == 60
    if not mended:
        with pytest.raises(DataError, match="object 2"):
            open_dataset(tmp_path)


def test_annotations_without_images_and_images_without_annotations(tmp_path):
    voc(tmp_path, {"a": [("cat", 0, 2, 2, 20, 20)], "b": [("cat", 0, 2, 2, 20, 20)]})
    (tmp_path / "JPEGImages" / "b.png").unlink()
    picture(tmp_path / "JPEGImages" / "c.png")
    found = open_source(tmp_path)
    assert "Annotations/b.xml" in remarks(found)["box: no image"].text
    assert any(f.text == "1 image without an annotation" for f in found.remarks)


def sources(root):
    """One set in every form, and the files that can be damaged."""
    images = {
        f"i{n}": [("cat", 0, 3 + n, 4, 30, 30), ("dog", 0, 10, 10, 50 - n, 35)] for n in range(4)
    }
    voc(root / "voc", images)
    found = open_source(root / "voc")
    for form in ("coco", "yolo", "csv"):
        convert(found, root / form, form)
    texts = (".xml", ".json", ".txt", ".yaml", ".csv")
    return {
        form: sorted(p for p in (root / form).rglob("*") if p.suffix in texts) for form in FORMS
    }


@pytest.mark.slow
def test_of_three_thousand_mutated_annotations_none_crashes_or_is_swallowed(tmp_path):
    """A damaged file gives the boxes that it gave before, fewer or others that its text says, with
    what was wrong said, or an error that names it; never another exception."""
    rng = random.Random(0)
    files = sources(tmp_path)
    calm = {form: said(open_source(tmp_path / form)) for form in files}
    named = quiet = 0
    for turn in range(3000):
        form = ("voc", "coco", "yolo", "csv")[turn % 4]
        path = rng.choice(files[form])
        content = path.read_bytes()
        path.write_bytes(mutated(content, rng))
        try:
            found = open_source(tmp_path / form)
            wrong = [f for f in found.remarks if f.rule.startswith("box:")]
            same = found.kind == "boxes" and "all" in found.parts and said(found) == calm[form]
            named += bool(wrong)
            quiet += same and not wrong
            for part in found.parts.values():
                if found.kind == "boxes":
                    assert np.isfinite(part.targets.places).all()
                    assert (part.targets.places[:, 2:] > part.targets.places[:, :2]).all()
        except StriateError as error:
            assert str(error)
            named += 1
        finally:
            path.write_bytes(content)
    assert named > 800
    assert quiet < 2000


def mutated(content, rng):
    """A number made NaN, negative, huge, empty or text; bytes flipped, cut, or doubled."""
    text = content.decode()
    numbers = [m.span() for m in re.finditer(r"-?\d+(\.\d+)?", text)]
    way = rng.randrange(8)
    if way < 5 and numbers:
        start, end = rng.choice(numbers)
        value = ("nan", str(-rng.random() * 1e4), "1e9", "", "none")[way]
        return (text[:start] + value + text[end:]).encode()
    place = rng.randrange(len(content))
    if way == 5:
        return content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :]
    if way == 6:
        return content[:place]
    return content[:place] + content[: rng.randrange(len(content))] + content[place:]


# ---- what the check says -----------------------------------------------------------------------


def test_the_check_names_doubled_and_tiny_boxes(tmp_path, striate_cli):
    usual = [("cat", 0, 5, 5, 30, 30)]
    images = {f"i{n}": usual for n in range(12)}
    images["twice"] = [*usual, ("cat", 0, 6, 5, 31, 30), ("dog", 0, 5, 5, 30, 30)]
    images["near"] = [*usual, ("cat", 0, 10, 5, 35, 30)]
    images["small"] = [*usual, ("dog", 0, 40, 30, 41, 31)]
    images["dogs"] = [("dog", 0, 5, 5, 30, 30)]
    images["more"] = [("dog", 0, 5, 5, 30, 30)]
    root = voc(tmp_path / "set", images, size=(400, 200))
    noisy(root)
    code, out, err = striate_cli("data", "check", root, "--quick", "--json")
    assert code == 0, err
    found = {f["rule"]: f for f in json.loads(out.splitlines()[-1])["findings"]}
    (pair,) = found["doubled boxes"]["evidence"]["pairs"]
    assert "twice.png: cat at (4, 4, 30, 30) and (5, 4, 31, 30)" in pair
    assert found["overlapping boxes"]["evidence"] == {"pairs": 1}
    assert found["tiny objects"]["evidence"]["objects"] == 1
    assert "small.png: dog, 1.6 pixels" in found["tiny objects"]["text"]
    assert found["objects by class"]["evidence"]["dog"]["shape"] == 1.0


def test_the_sheet_draws_boxes(tmp_path, striate_cli):
    root = voc(tmp_path / "set", {f"i{n}": [("cat", 0, 5, 5, 30, 30)] for n in range(12)})
    code, out, err = striate_cli("data", "show", root, "--png", tmp_path / "sheet.png")
    assert code == 0, err
    assert re.search(r"objects +│ +9 │", out)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    assert (np.abs(sheet - [255, 190, 0]).sum(axis=2) < 10).sum() > 500


def test_convert_on_the_command_line(tmp_path, striate_cli):
    root = voc(tmp_path / "set", {"a": [("cat", 0, 5, 5, 30, 30), ("cat", 1, 1, 1, 9, 9)]})
    code, out, err = striate_cli("data", "convert", root, tmp_path / "out", "--to", "yolo")
    assert code == 0, err
    assert "yolo has no place for it: 1 object marked as difficult" in out
    assert "all: 1 image, 2 objects" in out
    assert (tmp_path / "out" / "labels" / "a.txt").read_text().count("\n") == 2
    code, _, err = striate_cli("data", "convert", root, tmp_path / "out", "--to", "voc")
    assert code == 2
    assert "not empty" in err


def test_shards_of_boxes_are_refused_in_words(tmp_path, striate_cli):
    root = voc(tmp_path / "set", {f"i{n}": [("cat", 0, 5, 5, 30, 30)] for n in range(12)})
    noisy(root)
    code, _, err = striate_cli("data", "shard", root, tmp_path / "shards")
    assert code == 2
    assert "shards keep labels, not boxes" in err
    assert not (tmp_path / "shards").exists()
