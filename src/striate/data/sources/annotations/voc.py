"""Pascal VOC: an XML file an image, lists of images for each split.

The rule: corners count pixels from 1 and are inside the box, so a box from xmin to xmax is
xmax − xmin + 1 wide: left = xmin − 1, right = xmax. Where a set has a corner at 0, its corners
count from 0 and are the sides themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from xml.etree import ElementTree

from striate.core.findings import Finding
from striate.data.boxes import DIFFICULT
from striate.data.sources.annotations.common import (
    Annotated,
    Annotations,
    Fault,
    Object,
    by_stem,
    lines_of,
    nearest,
    number_in,
    split_in,
    stem_of,
    text_of,
)
from striate.data.sources.names import canonical
from striate.data.sources.scan import Tree, hidden

FOLDERS = {"images": "JPEGImages", "annotations": "Annotations", "sets": "ImageSets/Main"}
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_SETS = {"train": "train", "val": "val", "test": "test"}


def read(tree: Tree, pictures: Sequence[str]) -> Annotations | None:
    """The annotations of a tree that has VOC's XML files."""
    files = [path for path in tree.files if path.lower().endswith(".xml") and not hidden(path)]
    if not any(_root(tree, path) is not None for path in files[:5]):
        return None
    found, stems = Annotations("VOC"), by_stem(pictures)
    for path in files:
        _read_file(tree, path, stems, found)
    _count_from_zero(found)
    splits = _splits(tree)
    annotated = {item.image for item in found.images}
    lost = sum(path not in annotated for path in pictures)
    found.unused["without an annotation"] = lost
    if splits:
        kept = [replace(item, split=splits.get(canonical(stem_of(item.where)), ""))
                for item in found.images]  # fmt: skip
        found.images = [item for item in kept if item.split]
        found.unused["in no list of ImageSets"] = len(kept) - len(found.images)
    return found


def _root(tree: Tree, path: str) -> ElementTree.Element | None:
    """The file's <annotation>; None if it is another kind of XML. Raises ParseError."""
    try:
        data = tree.text(path)
        if b"<!DOCTYPE" in data[:2000] or b"<!ENTITY" in data[:2000]:
            return None
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, OSError, ValueError, LookupError):
        return None
    return root if root.tag == "annotation" else None


def _read_file(tree: Tree, path: str, stems: dict[str, list[str]], found: Annotations) -> None:
    where = f"{tree.shown}{path}"
    root = _root(tree, path)
    if root is None:
        found.faults.append(Fault("unreadable", where, 0, "no XML of VOC's form"))
        return
    named = (root.findtext("filename") or "").strip().replace("\\", "/")
    image = nearest(stems.get(canonical(stem_of(path)), []), path) or nearest(
        stems.get(canonical(stem_of(named)), []), path
    )
    if not image:
        found.faults.append(Fault("no image", where, 0, f"there is no image {named or 'of it'}"))
        return
    width, height = (number_in(root.findtext(f"size/{side}")) for side in ("width", "height"))
    sized = width > 0 and height > 0
    objects = tuple(_object(item) for item in root.findall("object"))
    found.images.append(
        Annotated(image, objects, where, int(width) if sized else 0, int(height) if sized else 0,
                  split_in(image))
    )  # fmt: skip


def _object(item: ElementTree.Element) -> Object:
    left, top, right, bottom = (number_in(item.findtext(f"bndbox/{side}")) for side in _SIDES)
    hard = (item.findtext("difficult") or "0").strip() == "1"
    name = canonical((item.findtext("name") or "").strip())
    return Object((left - 1, top - 1, right, bottom), name, DIFFICULT if hard else 0)


def _count_from_zero(found: Annotations) -> None:
    """Undo the shift of a set whose corners begin at 0."""
    corners = [side for item in found.images for box in item.objects for side in box.place[:2]]
    if not corners or min(corners) != -1:
        return
    found.images = [
        replace(item, objects=tuple(
            box._replace(place=(box.place[0] + 1, box.place[1] + 1, *box.place[2:]))
            for box in item.objects
        ))
        for item in found.images
    ]  # fmt: skip
    text = "VOC counts pixels from 1; this set has corners at 0, so its corners are taken as sides"
    found.remarks.append(Finding("corners from 0", "note", text))


def _splits(tree: Tree) -> dict[str, str]:
    """Name of an image → its split, by the lists in ImageSets; {} without any."""
    lists = {
        stem_of(path): path
        for path in tree.files
        if path.endswith(".txt") and "ImageSets/" in f"/{path}" and not hidden(path)
    }
    if "train" not in lists and "trainval" in lists:
        lists["train"] = lists["trainval"]
    found: dict[str, str] = {}
    for split in ("test", "val", "train"):  # an image in several lists trains
        if split in lists:
            for _, line in lines_of(text_of(tree, lists[split])):
                found[canonical(line.split()[0])] = _SETS[split]
    return found


def written(image: str, width: int, height: int, objects: Iterable[Object]) -> str:
    """The XML of one image."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "folder").text = FOLDERS["images"]
    ElementTree.SubElement(root, "filename").text = image.rpartition("/")[2]
    size = ElementTree.SubElement(root, "size")
    for side, value in (("width", width), ("height", height), ("depth", 3)):
        ElementTree.SubElement(size, side).text = str(value)
    for item in objects:
        node = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(node, "name").text = item.name
        ElementTree.SubElement(node, "difficult").text = str(int(bool(item.flags & DIFFICULT)))
        box = ElementTree.SubElement(node, "bndbox")
        left, top, right, bottom = item.place
        for side, corner in zip(_SIDES, (left + 1, top + 1, right, bottom), strict=True):
            ElementTree.SubElement(box, side).text = repr(float(corner)).removesuffix(".0")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
