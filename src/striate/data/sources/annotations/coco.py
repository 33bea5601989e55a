"""COCO: one JSON a split, with images, annotations and categories.

The rule: bbox is (x, y, width, height) in continuous coordinates, so left = x and right = x +
width. Categories are told apart by their id, which may begin anywhere and have gaps; ids are never
used as class numbers. `iscrowd` is a box around many objects.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from striate.core.errors import DataError
from striate.data.boxes import CROWD, DIFFICULT
from striate.data.sources.annotations.common import (
    Annotated,
    Annotations,
    Fault,
    Object,
    number_in,
    split_in,
)
from striate.data.sources.columns import Finder
from striate.data.sources.names import canonical
from striate.data.sources.scan import Tree, hidden

_PARTS = ("images", "annotations", "categories")
_DEEPEST = 4


def read(tree: Tree, pictures: Sequence[str]) -> Annotations | None:
    """The annotations of a tree that has COCO's JSON files; those called instances_… where there
    are others, for captions and key points."""
    files = {path: values for path in _candidates(tree) if (values := _parsed(tree, path))}
    boxed = {path: values for path, values in files.items() if _has_boxes(values)}
    named = {p: v for p, v in boxed.items() if p.rpartition("/")[2].startswith("instances")}
    files = named or boxed
    if not files:
        return None
    found = Annotations("COCO")
    finder = Finder(frozenset(pictures).__contains__, pictures)
    declared: dict[str, None] = {}
    by_image: dict[str, str] = {}
    for path, values in files.items():
        for name in _categories(values).values():
            declared[name] = None
        _read_file(tree, path, values, finder, found, by_image)
    found.classes = tuple(declared)
    found.unused["without an annotation"] = sum(path not in by_image for path in pictures)
    return found


def _candidates(tree: Tree) -> list[str]:
    return [
        path for path in tree.files
        if path.lower().endswith(".json") and path.count("/") <= _DEEPEST and not hidden(path)
    ]  # fmt: skip


def _parsed(tree: Tree, path: str) -> dict[str, Any] | None:
    """The file's values where it has the parts of COCO's form."""
    data = tree.text(path)
    if not all(f'"{part}"'.encode() in data for part in _PARTS[:2]):
        return None
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{tree.shown}{path} is no JSON: {error}", "Is it complete?") from None
    ours = isinstance(values, dict) and all(isinstance(values.get(p), list) for p in _PARTS)
    return values if ours else None


def _has_boxes(values: Mapping[str, Any]) -> bool:
    rows = values["annotations"]
    return not rows or any(isinstance(row, dict) and "bbox" in row for row in rows[:100])


def _categories(values: Mapping[str, Any]) -> dict[Any, str]:
    """id → name."""
    return {
        row["id"]: canonical(str(row.get("name", row["id"])).strip())
        for row in values["categories"]
        if isinstance(row, dict) and isinstance(row.get("id"), int | str)
    }


def _read_file(
    tree: Tree, path: str, values: Mapping[str, Any], finder: Finder, found: Annotations,
    by_image: dict[str, str],
) -> None:  # fmt: skip
    where, names = f"{tree.shown}{path}", _categories(values)
    boxes: dict[Any, list[Object]] = {}
    rows = [row for row in values["images"] if isinstance(row, dict)]
    ids = {row["id"] for row in rows if isinstance(row.get("id"), int | str)}
    for number, row in enumerate(values["annotations"], start=1):
        kind, what, item = _object(row, names, ids)
        if item is None:
            found.faults.append(Fault(kind, where, number, what))
        else:
            boxes.setdefault(row["image_id"], []).append(item)
    for row in rows:
        named = str(row.get("file_name", ""))
        image = finder(f"{path.rpartition('/')[0]}/{named}".lstrip("/")) or finder(named)
        if not image:
            found.faults.append(Fault("no image", where, 0, f"there is no image '{named}'"))
            continue
        if image in by_image:
            found.faults.append(
                Fault("unreadable", where, 0, f"'{named}' is also in {by_image[image]}")
            )
            continue
        by_image[image] = where
        sides = [number_in(row.get(side)) for side in ("width", "height")]
        width, height = (int(s) if math.isfinite(s) and s > 0 else 0 for s in sides)
        objects = tuple(boxes.get(row.get("id"), ()))
        split = split_in(image) or split_in(path)
        found.images.append(Annotated(image, objects, f"{where} ({named})", width, height, split))


def _object(row: Any, names: Mapping[Any, str], images: set[Any]) -> tuple[str, str, Object | None]:
    """(kind of fault, in words, None), or ("", "", the object) of an annotation."""
    if not isinstance(row, dict):
        return "unreadable", "no object", None
    if row.get("image_id") not in images:
        return "no image", f"there is no image with id {row.get('image_id')}", None
    if row.get("category_id") not in names:
        return "unknown class", f"there is no category with id {row.get('category_id')}", None
    box = row.get("bbox")
    if not isinstance(box, list | tuple) or len(box) != 4:
        return "no number", f"bbox is {box!r}", None
    left, top, width, height = map(number_in, box)
    flags = CROWD if row.get("iscrowd") in (1, True) else 0
    flags |= DIFFICULT if row.get("difficult") in (1, True) else 0
    place = (left, top, left + width, top + height)
    return "", "", Object(place, names[row["category_id"]], flags)


def written(
    images: Iterable[tuple[str, int, int, Sequence[Object]]], classes: Sequence[str]
) -> dict[str, Any]:
    """The values of a split's JSON. images: (path, width, height, objects). Ids begin at 1: some
    programs take an annotation with id 0 for none."""
    number = {name: i for i, name in enumerate(classes, start=1)}
    made: dict[str, Any] = {"images": [], "annotations": [], "categories": [
        {"id": i, "name": name, "supercategory": ""} for name, i in number.items()
    ]}  # fmt: skip
    for path, width, height, objects in images:
        image = len(made["images"]) + 1
        made["images"].append({"id": image, "file_name": path, "width": width, "height": height})
        for item in objects:
            left, top, right, bottom = item.place
            row = {
                "id": len(made["annotations"]) + 1, "image_id": image,
                "category_id": number[item.name], "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top), "iscrowd": int(bool(item.flags & CROWD)),
            }  # fmt: skip
            if item.flags & DIFFICULT:
                row["difficult"] = 1
            made["annotations"].append(row)
    return made
