"""A tree of images with annotations of boxes → a listing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from striate.core.errors import DataError, counted
from striate.core.findings import Finding
from striate.core.geometry import hulls
from striate.core.runtime import usable_cores
from striate.data.boxes import Boxes, boxes_of
from striate.data.decode import Header, UndecodableError, upright
from striate.data.images import EncodedImages
from striate.data.sources.annotations import FORMS, rows
from striate.data.sources.annotations.common import (
    Annotated,
    Annotations,
    Fault,
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

_UNKNOWN = 1 << 30


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
    turned = 0
    for written, header in zip(found.images, _headers(images), strict=True):
        item, again = _upright(written, header)
        turned += again
        size = (header.width, header.height) if header else (_UNKNOWN, _UNKNOWN)
        if item.width and header and (item.width, item.height) != size:
            what = f"annotated for {item.width}×{item.height}, the image has {size[0]}×{size[1]}"
            faults.append(Fault("other size", item.where, 0, what))
            continue
        objects, more = checked(item, size, found.classes)
        faults += more
        good.setdefault(item.split or WHOLE, []).append((item, objects))
    if turned:
        text = f"boxes of {counted(turned, 'image')} turned with them, by their EXIF orientation"
        found.remarks.append(Finding("turned boxes", "note", text))
    if not any(objects for some in good.values() for _, objects in some) and not faults:
        raise DataError(f"{source}: {found.form} annotations without a box", "Draw some first.")
    if len(good) > 1 and WHOLE in good:
        count = len(good.pop(WHOLE))
        found.unused["in no split"] = found.unused.get("in no split", 0) + count
    parts = {split: _part(some, tree) for split, some in good.items()}
    empty = sum(not objects for some in good.values() for _, objects in some)
    remarks = [*tree.remarks, *found.remarks, *unused_in_words(found.unused)]
    if empty:
        text = f"{counted(empty, 'image')} without objects; kept"
        remarks.append(Finding("images without objects", "note", text, {"count": empty}))
    remarks += findings_of(faults, skip_bad=options.skip_bad)
    return Listing(source, parts, Counter(), tuple(remarks))


def _headers(images: EncodedImages) -> Iterator[Header | None]:
    """Each image's header; None where it cannot be read, which is said with the other images that
    cannot."""

    def read(index: int) -> Header | None:
        try:
            return images.header(index, math.inf)
        except UndecodableError:
            return None

    with ThreadPoolExecutor(usable_cores()) as pool:
        yield from pool.map(read, range(len(images)))


def _upright(item: Annotated, header: Header | None) -> tuple[Annotated, bool]:
    """The annotation for the upright image, and whether it was turned: it is where its size says
    that it was made for the picture as it is stored, on its side."""
    if item.in_shares:
        return _in_pixels(item, header), False
    size = (item.width, item.height)
    if header is None or header.orientation == 1 or size != header.stored:
        return item, False
    if size == (header.width, header.height):
        return item, False
    matrix = upright(header.orientation, *size)[None]
    objects = tuple(
        one._replace(place=tuple(hulls(np.array([[one.place]]), matrix)[0, 0].tolist()))
        for one in item.objects
    )
    return replace(item, objects=objects, width=header.width, height=header.height), True


def _in_pixels(item: Annotated, header: Header | None) -> Annotated:
    """Shares as pixels; without objects where the image cannot be read."""
    if header is None:
        return replace(item, objects=())
    wide, high = header.width, header.height
    objects = tuple(
        one._replace(place=(left * wide, top * high, right * wide, bottom * high))
        for one in item.objects
        for left, top, right, bottom in (one.place,)
    )
    return replace(item, objects=objects)


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
