"""Tar shards as WebDataset's tools write them: `key.jpg` beside `key.cls` or `key.json`.

The paths of all members are read once; for millions of images `striate data shard` writes shards
with an index, which open at once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from striate.core.errors import DataError, counted, listing
from striate.core.findings import Finding
from striate.data.formats import is_image_name
from striate.data.images import ByteSource
from striate.data.sources.flat import labelled_parts
from striate.data.sources.listing import SPLIT_NAMES, WHOLE, Listing
from striate.data.sources.scan import Tree, scan_archive, visible_pictures

_LABELS = (".cls", ".json", ".txt", ".class", ".label")
_FIELDS = ("label", "class", "cls", "target", "category", "class_name", "label_name")


def is_webdataset(tree: Tree, pictures: list[str]) -> bool:
    """Whether images have label files of the same key beside them."""
    files = frozenset(tree.files)
    few = pictures[:20]
    return bool(few) and all(
        any(_key(path) + ending in files for ending in (".cls", ".json", ".class", ".label"))
        for path in few
    )


def open_webdataset(tree: Tree, source: str) -> Listing:
    """Images with the labels that lie beside them; folders or shards called train, val or test are
    splits. Raises DataError that names images without a label."""
    pictures = visible_pictures(tree)
    files = frozenset(tree.files)
    labels: dict[str, str] = {}
    lost = []
    for path in pictures:
        label = _label(tree, path, files)
        if label:
            labels[path] = label
        else:
            lost.append(path)
    if lost:
        raise DataError(
            f"{source}: {counted(len(lost), 'image')} without a label beside them:\n"
            f"{listing(lost)}",
            "Expected key.cls with a class, or key.json with a field label or class.",
        )
    by_split: dict[str, list[str]] = defaultdict(list)
    for path in pictures:
        by_split[_split(path)].append(path)
    parts = labelled_parts(tree, by_split, labels)
    text = "labels are read from the files beside the images (.cls, .json), as in WebDataset"
    return Listing(source, parts, remarks=(*tree.remarks, Finding("labels", "note", text)))


def tar_shards(folder: Path) -> list[Path]:
    """The tars of a folder (and of train, val and test in it) that has no pictures of its own."""
    places = [folder, *(folder / c.name for c in sorted(folder.iterdir()) if _is_split(c))]
    tars = [path for place in places for path in sorted(place.glob("*.tar"))]
    return tars if tars and not any(is_image_name(c.name) for c in folder.iterdir()) else []


def _is_split(child: Path) -> bool:
    return child.is_dir() and child.name.lower() in SPLIT_NAMES


def scan_shards(folder: Path, tars: list[Path]) -> Tree:
    """The members of all tars, below each one's own path."""
    trees = {tar.relative_to(folder).as_posix(): scan_archive(tar) for tar in tars}
    files = tuple(f"{name}/{file}" for name, tree in trees.items() for file in tree.files)
    readers = {name: tree.reader for name, tree in trees.items()}
    return Tree(tuple(sorted(files)), (), SeveralReaders(readers), f"{folder}/")


@dataclass(frozen=True)
class SeveralReaders:
    """Readers of archives, each below its own path, which ends with .tar."""

    readers: Mapping[str, ByteSource]

    def read(self, key: str) -> bytes:
        archive, _, member = key.partition(".tar/")
        return self.readers[archive + ".tar"].read(member)


def _key(path: str) -> str:
    """The path up to the first dot of the file's name."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}"


def _label(tree: Tree, path: str, files: frozenset[str]) -> str:
    key = _key(path)
    for ending in _LABELS:
        if key + ending not in files:
            continue
        text = tree.text(key + ending).decode("utf-8", "replace").strip()
        if ending != ".json":
            return text
        try:
            value: Any = json.loads(text)
        except ValueError:
            return ""
        if isinstance(value, dict):
            value = next((value[name] for name in _FIELDS if name in value), "")
        return "" if isinstance(value, dict | list) or value is None else str(value)
    return ""


def _split(path: str) -> str:
    """By a folder's or shard's name: `train/…`, `train-000000.tar/…`."""
    for piece in PurePosixPath(path).parts[:-1]:
        word = piece.lower().partition(".")[0].rstrip("0123456789").rstrip("-_")
        if word in SPLIT_NAMES:
            return SPLIT_NAMES[word]
    return WHOLE
