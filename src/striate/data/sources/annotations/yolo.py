"""YOLO: a text file an image, a line an object: class number, then the box relative to the image.

The rule: (x, y) is the box's centre and (width, height) its sides, all as shares of the image's
width and height. Polygons (class, x1, y1, x2, y2, …) become the box around them. Names of the
classes are in data.yaml, classes.txt or obj.names. Images without a file have no objects.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from striate.core.errors import DataError
from striate.core.findings import Finding
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
from striate.data.sources.names import SPLIT_NAMES, canonical
from striate.data.sources.scan import Tree, hidden

_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "names.txt")
_OTHER_TEXTS = {
    *_LISTS, "train.txt", "val.txt", "valid.txt", "test.txt", "readme.txt", "source.txt",
    "license.txt", "requirements.txt",
}  # fmt: skip
_NEAR = 1e-3
"""Shares may pass 0 and 1 by this much, as programs round."""


def read(tree: Tree, pictures: Sequence[str]) -> Annotations | None:
    """The annotations of a tree that has YOLO's text files."""
    sheet, where = _sheet(tree)
    texts = {
        path for path in tree.files
        if path.endswith(".txt") and not hidden(path)
        and path.rpartition("/")[2].lower() not in _OTHER_TEXTS
    }  # fmt: skip
    files = {image: text for image in pictures if (text := _file_of(image, texts))}
    if not files or not (sheet or _looks_so(tree, sorted(files.values())[:5])):
        return None
    names = _names(tree, sheet, where)
    found = Annotations("YOLO", classes=tuple(names.values()))
    splits = _splits(tree, sheet, where, pictures)
    polygons = 0
    for image in pictures:
        split = splits.get(image, "") if splits else split_in(image)
        if splits and not split:
            found.unused["in no list of data.yaml"] = found.unused.get(
                "in no list of data.yaml", 0) + 1  # fmt: skip
            continue
        polygons += _read_file(tree, image, files.get(image, ""), names, split, found)
    if polygons:
        text = f"polygons taken as the boxes around them: {polygons:,}"
        found.remarks.append(Finding("polygons", "note", text))
    _lost_texts(tree, texts, files, found)
    return found


def _file_of(image: str, texts: set[str]) -> str:
    """The text file of an image: in labels/ where it is in images/, else beside it; "" if none."""
    path = f"{image.rpartition('.')[0]}.txt"
    pieces = path.split("/")
    if "images" in pieces:
        last = len(pieces) - 1 - pieces[::-1].index("images")
        there = "/".join([*pieces[:last], "labels", *pieces[last + 1 :]])
        if there in texts:
            return there
    return path if path in texts else ""


def _looks_so(tree: Tree, paths: Iterable[str]) -> bool:
    """Whether the first lines of some files are numbers as YOLO writes them."""
    lines = [line for path in paths for _, line in [*lines_of(text_of(tree, path))][:3]]
    rows = [[number_in(piece) for piece in line.split()] for line in lines]
    return bool(rows) and all(
        len(row) >= 5 and row[0] == int(row[0] if math.isfinite(row[0]) else -1)
        and all(math.isfinite(v) for v in row)
        for row in rows
    )  # fmt: skip


def _sheet(tree: Tree) -> tuple[dict[str, Any], str]:
    """data.yaml's values and its path; the first YAML with names."""
    for path in tree.files:
        if path.lower().endswith((".yaml", ".yml")) and path.count("/") <= 2 and not hidden(path):
            try:
                values = yaml.safe_load(text_of(tree, path))
            except yaml.YAMLError as error:
                reason = str(error).splitlines()[0]
                raise DataError(f"{tree.shown}{path} is no YAML: {reason}") from None
            if isinstance(values, dict) and isinstance(values.get("names"), list | dict):
                return values, path
    return {}, ""


def _names(tree: Tree, sheet: Mapping[str, Any], where: str) -> dict[int, str]:
    """Class number → name; {} where nothing names them."""
    given = sheet.get("names")
    if isinstance(given, list):
        return {i: canonical(str(name).strip()) for i, name in enumerate(given)}
    if isinstance(given, dict):
        try:
            return {int(i): canonical(str(name).strip()) for i, name in given.items()}
        except ValueError:
            raise DataError(f"{tree.shown}{where}: names has keys that are no numbers") from None
    for path in sorted(tree.files, key=lambda path: path.count("/")):
        if path.rpartition("/")[2].lower() in _LISTS and not hidden(path):
            lines = [line.strip() for line in text_of(tree, path).splitlines()]
            return {i: canonical(name) for i, name in enumerate(lines) if name}
    return {}


def _splits(
    tree: Tree, sheet: Mapping[str, Any], where: str, pictures: Sequence[str]
) -> dict[str, str]:
    """Image → split, as data.yaml says with folders or lists of images; {} if it says nothing that
    is there."""
    base, found = where.rpartition("/")[0], {}
    stems = by_stem(pictures)
    files = set(tree.files)
    for key in ("test", "val", "valid", "train"):
        given = sheet.get(key)
        entries = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        for entry in entries:
            place = _place(str(entry), base, str(sheet.get("path") or ""), pictures, files)
            if place.endswith(".txt"):
                for _, line in lines_of(text_of(tree, place)):
                    image = nearest(stems.get(canonical(stem_of(line)), []), line)
                    if image:
                        found[image] = SPLIT_NAMES[key]
            elif place:
                found |= {p: SPLIT_NAMES[key] for p in pictures if p.startswith(place + "/")}
    return found


def _place(entry: str, base: str, root: str, pictures: Sequence[str], files: set[str]) -> str:
    """Where an entry of data.yaml leads within the tree: its own machine's folders may be in front
    of it. A folder of images, a text file, or ""."""
    written = entry.replace("\\", "/").strip("/")
    tries = [posixpath.join(base, written), posixpath.join(base, root.strip("/"), written), written]
    pieces = [p for p in written.split("/") if p not in (".", "..")]
    tries += ["/".join(pieces[i:]) for i in range(len(pieces))]
    tries += [posixpath.join(base, "/".join(pieces[i:])) for i in range(len(pieces))]
    for path in (posixpath.normpath(p) for p in tries):
        if path in files and path.endswith(".txt"):
            return path
        if any(p.startswith(path + "/") for p in pictures):
            return path
    return ""


def _read_file(
    tree: Tree, image: str, path: str, names: Mapping[int, str], split: str, found: Annotations
) -> int:
    """Add an image's objects; returns how many were polygons."""
    where = f"{tree.shown}{path or image}"
    objects, polygons = [], 0
    for number, (_, line) in enumerate(lines_of(text_of(tree, path)) if path else (), start=1):
        pieces = line.split()
        polygons += len(pieces) > 6
        kind, what, item = _object(pieces, names)
        if item is None:
            found.faults.append(Fault(kind, where, number, what))
        else:
            objects.append(item)
    found.images.append(Annotated(image, tuple(objects), where, split=split, in_shares=True))
    return polygons


def _object(pieces: Sequence[str], names: Mapping[int, str]) -> tuple[str, str, Object | None]:
    """(kind of fault, in words, None), or ("", "", the object) of a line."""
    values = [number_in(piece) for piece in pieces]
    if len(values) < 5 or not all(map(math.isfinite, values)):
        return "no number", f"'{' '.join(pieces)[:60]}'; expected a class and four numbers", None
    number, shares = values[0], values[1:]
    if number != int(number) or (names and int(number) not in names) or number < 0:
        known = f"{min(names)} to {max(names)}" if names else "0 or more"
        return "unknown class", f"class number {pieces[0]}; expected {known}", None
    if len(values) in (5, 6):  # a sixth is a detector's confidence
        x, y, wide, high = shares[:4]
        box = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
    elif len(shares) % 2 == 0 and len(shares) >= 6:
        box = (min(shares[::2]), min(shares[1::2]), max(shares[::2]), max(shares[1::2]))
    else:
        return "no number", f"{len(pieces)} numbers are neither a box nor a polygon", None
    if max(map(abs, shares)) > 1 + _NEAR and max(map(abs, shares)) > 2:
        return "outside", f"'{' '.join(pieces[:5])}'; expected shares of the image, 0 to 1", None
    return "", "", Object(box, names.get(int(number), str(int(number))))


def _lost_texts(tree: Tree, texts: set[str], files: Mapping[str, str], found: Annotations) -> None:
    """Text files in the folders of labels that belong to no image."""
    used = set(files.values())
    folders = {path.rpartition("/")[0] for path in used}
    for path in sorted(texts - used):
        if path.rpartition("/")[0] in folders:
            found.faults.append(
                Fault("no image", f"{tree.shown}{path}", 0, "there is no image of it")
            )


def written(width: int, height: int, objects: Iterable[Object], classes: Sequence[str]) -> str:
    """The lines of one image."""
    number = {name: i for i, name in enumerate(classes)}
    lines = []
    for item in objects:
        left, top, right, bottom = item.place
        shares = ((left + right) / 2 / width, (top + bottom) / 2 / height,
                  (right - left) / width, (bottom - top) / height)  # fmt: skip
        lines.append(" ".join([str(number[item.name]), *(repr(float(s)) for s in shares)]))
    return "".join(f"{line}\n" for line in lines)


def sheet(classes: Sequence[str], splits: Iterable[str]) -> str:
    """data.yaml of a tree with images/SPLIT and labels/SPLIT."""
    values = {"path": ".", **{split: f"images/{split}" for split in splits},
              "names": dict(enumerate(classes))}  # fmt: skip
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
