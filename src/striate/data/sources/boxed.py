"""A tree of images with annotations of boxes → a listing."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np

from striate.core.errors import DataError
from striate.core.findings import Finding
from striate.data.boxes import Boxes, boxes_of
from striate.data.decode import UndecodableError
from striate.data.images import EncodedImages
from striate.data.sources.annotations import FORMS, rows
from striate.data.sources.annotations.common import (
    Annotated,
    Annotations,
    Object,
    checked,
    findings_of,
    places_of,
    unused_in_words,
)
from striate.data.sources.columns import Finder
from striate.data.sources.listing import WHOLE, Listing, Part, natural_order
from striate.data.sources.options import SourceOptions
from striate.data.sources.scan import Tree, scan_folder, visible_pictures
from striate.data.strings import Strings


def annotations_in(tree: Tree) -> Annotations | None:
    """What the first form says that the tree has; None where it has none."""
    pictures = visible_pictures(tree)
    if not pictures:
        return None
    for read in FORMS.values():
        found = read(tree, pictures)
        if found is not None and found.images:
            return found
    return None


def annotations_of_table(path: Path) -> tuple[Annotations, Tree] | None:
    """Those of a table on disk and the tree below its folder; None if it is no table of boxes."""
    content = path.read_bytes()
    found, folder = Annotations("a table"), path.parent
    if not rows.may_be(content, str(path)):
        return None
    tree = scan_folder(folder, skip_bad=True)
    pictures = visible_pictures(tree)
    finder = Finder(frozenset(pictures).__contains__, pictures)
    if not rows.add_rows(content, str(path), finder, "", found):
        return None
    return found, tree


def listing_of(found: Annotations, tree: Tree, source: str, options: SourceOptions) -> Listing:
    """The images of each split with their boxes, under the classes that are there."""
    faults = list(found.faults)
    good: dict[str, list[tuple[Annotated, list[Object]]]] = {}
    images = EncodedImages(tree.reader, Strings.of(item.image for item in found.images), tree.shown)
    for index, item in enumerate(found.images):
        size = _size_of(images, index, item)
        objects, more = checked(item, size, found.classes)
        faults += more
        good.setdefault(item.split or WHOLE, []).append((item, objects))
    if not any(objects for some in good.values() for _, objects in some) and not faults:
        raise DataError(f"{source}: {found.form} annotations without a box", "Draw some first.")
    if len(good) > 1 and WHOLE in good:
        count = len(good.pop(WHOLE))
        found.unused["in no split"] = found.unused.get("in no split", 0) + count
    parts = {split: _part(some, tree) for split, some in good.items()}
    empty = sum(not objects for some in good.values() for _, objects in some)
    remarks = [*tree.remarks, *found.remarks, *unused_in_words(found.unused)]
    if empty:
        text = f"{empty:,} images have no objects; they are kept"
        remarks.append(Finding("images without objects", "note", text, {"count": empty}))
    remarks += findings_of(faults, skip_bad=options.skip_bad)
    return Listing(source, parts, Counter(), tuple(remarks))


def _size_of(images: EncodedImages, index: int, item: Annotated) -> tuple[int, int]:
    """(width, height) as the annotation says, else as the image's header; infinite where it cannot
    be read, which is said with the other images that cannot."""
    if item.width and item.height:
        return item.width, item.height
    try:
        header = images.header(index, math.inf)
    except UndecodableError:
        return 1 << 30, 1 << 30
    return header.width, header.height


def _part(some: list[tuple[Annotated, list[Object]]], tree: Tree) -> Part:
    names = sorted({item.name for _, objects in some for item in objects}, key=natural_order)
    number = {name: i for i, name in enumerate(names)}
    targets: Boxes = boxes_of([
        (
            places_of(objects),
            np.array([number[item.name] for item in objects], dtype=np.int64),
            np.array([item.flags for item in objects], dtype=np.uint8),
        )
        for _, objects in some
    ])  # fmt: skip
    keys = Strings.of(item.image for item, _ in some)
    return Part(EncodedImages(tree.reader, keys, tree.shown), tuple(names), targets)
