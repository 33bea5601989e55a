"""Tables of boxes: `path,left,top,right,bottom,class[,split]`, a row an object.

The rule: the four are the sides themselves, in continuous pixels. A row with a path and nothing
else is an image without objects. The columns may be called as programs call them (xmin, x1, …); a
table without a header has them in this order.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence

from striate.core.errors import DataError
from striate.data.sources.annotations.common import (
    Annotated,
    Annotations,
    Fault,
    Object,
    number_in,
    split_in,
)
from striate.data.sources.columns import Finder
from striate.data.sources.names import SPLIT_NAMES, canonical
from striate.data.sources.scan import Tree, hidden
from striate.data.sources.table import TABLE_ENDINGS, decoded, lines_of_cells

HEADER = ("path", "left", "top", "right", "bottom", "class", "split")
_WORDS = {
    "path": {"path", "file", "filename", "file_name", "image", "image_path", "image_id", "img",
             "image_name", "filepath"},
    "left": {"left", "xmin", "x_min", "x1", "bbox_xmin", "box_left"},
    "top": {"top", "ymin", "y_min", "y1", "bbox_ymin", "box_top"},
    "right": {"right", "xmax", "x_max", "x2", "bbox_xmax", "box_right"},
    "bottom": {"bottom", "ymax", "y_max", "y2", "bbox_ymax", "box_bottom"},
    "class": {"class", "label", "name", "category", "class_name", "labels", "classes"},
    "split": {"split", "set", "subset", "partition"},
    "width": {"width", "image_width"}, "height": {"height", "image_height"},
}  # fmt: skip
_NEEDED = ("path", "left", "top", "right", "bottom")


def read(tree: Tree, pictures: Sequence[str]) -> Annotations | None:
    """The annotations of a tree that has tables of boxes."""
    finder = Finder(frozenset(pictures).__contains__, pictures)
    found = Annotations("a table")
    for path in tree.files:
        if path.lower().endswith(TABLE_ENDINGS) and path.count("/") <= 2 and not hidden(path):
            where = f"{tree.shown}{path}"
            add_rows(tree.text(path), where, finder, split_in(path), found)
    if not found.images and not found.faults:
        return None
    annotated = {item.image for item in found.images}
    found.unused["without an annotation"] = sum(path not in annotated for path in pictures)
    return found


def add_rows(content: bytes, where: str, finder: Finder, split: str, found: Annotations) -> bool:
    """Add the images of a table; False if it is no table of boxes."""
    try:
        lines = lines_of_cells(decoded(content, where)[0], where)
    except DataError:
        return False
    columns = _columns(lines, finder)
    if columns is None:
        return False
    images: dict[str, list[Object]] = {}
    first: dict[str, list[str]] = {}
    for line, raw in lines:
        cells = [cell.strip() for cell in raw]
        if len(cells) <= max(columns[name] for name in _NEEDED):
            found.faults.append(Fault("unreadable", f"{where}, line {line}", 0, "too few columns"))
            continue
        named = cells[columns["path"]]
        image = finder(named)
        if not image:
            found.faults.append(
                Fault("no image", f"{where}, line {line}", 0, f"there is no image '{named}'")
            )
            continue
        first.setdefault(image, cells)
        objects = images.setdefault(image, [])
        sides = [cells[columns[side]] for side in HEADER[1:5]]
        if any(sides):
            name = _cell(cells, columns, "class")
            place = tuple(number_in(side) for side in sides)
            objects.append(Object(place, canonical(name)))  # type: ignore[arg-type]
    for image, objects in images.items():
        cells = first[image]
        own = SPLIT_NAMES.get(_cell(cells, columns, "split").lower(), "")
        size = [number_in(_cell(cells, columns, side)) for side in ("width", "height")]
        width, height = (int(side) if side > 0 else 0 for side in size)
        found.images.append(Annotated(
            image, tuple(objects), f"{where} ({image})", width, height,
            own or split or split_in(image),
        ))  # fmt: skip
    return True


def _cell(cells: Sequence[str], columns: dict[str, int], name: str) -> str:
    at = columns.get(name, -1)
    return cells[at] if 0 <= at < len(cells) else ""


def may_be(content: bytes, where: str) -> bool:
    """Whether a table's first lines are those of boxes, before its images are looked for."""
    try:
        lines = lines_of_cells(decoded(content[:8192], where)[0], where)
    except DataError:
        return False
    return _columns(lines, lambda _: "there") is not None


def _columns(
    lines: list[tuple[int, list[str]]], finder: Callable[[str], str]
) -> dict[str, int] | None:
    """Name → position, the header taken from the lines; None where these are no boxes."""
    if not lines:
        return None
    first = [cell.strip().lower() for cell in lines[0][1]]
    found = {name: i for name, words in reversed(_WORDS.items())
             for i, cell in reversed([*enumerate(first)]) if cell in words}  # fmt: skip
    if all(name in found for name in _NEEDED):
        lines.pop(0)
        if "class" not in found:
            free = [i for i in range(len(first)) if i not in found.values()]
            if len(free) == 1:
                found["class"] = free[0]
        return found
    rows = [[cell.strip() for cell in cells] for _, cells in lines[:20]]
    boxed = [row for row in rows if any(row[1:5])]
    plain = all(len(row) in (6, 7) for row in rows) and not any(
        math.isnan(number_in(cell)) for row in boxed for cell in row[1:5]
    )
    if boxed and plain and all(finder(row[0]) for row in rows[:5]):
        return {name: i for i, name in enumerate(HEADER)}
    return None


def written(images: Iterable[tuple[str, Sequence[Object], str]]) -> str:
    """The table of (path, objects, split)."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HEADER)
    for path, objects, split in images:
        for item in objects:
            sides = [repr(float(side)).removesuffix(".0") for side in item.place]
            table.writerow([path, *sides, item.name, split])
        if not objects:
            table.writerow([path, "", "", "", "", "", split])
    return text.getvalue()
