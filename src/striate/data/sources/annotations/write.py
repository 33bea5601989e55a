"""Images with boxes written in another form, their bytes unchanged."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from striate.core.errors import DataError, counted
from striate.data.boxes import CROWD, DIFFICULT, Boxes
from striate.data.decode import UndecodableError
from striate.data.images import EncodedImages
from striate.data.sources.annotations import coco, rows, voc, yolo
from striate.data.sources.annotations.common import Object
from striate.data.sources.listing import WHOLE, Listing, natural_order

KEEPS = {"voc": DIFFICULT, "coco": DIFFICULT | CROWD, "yolo": 0, "csv": 0}
"""Flags that each form has a place for."""
_FLAGS = {DIFFICULT: "difficult", CROWD: "a crowd"}


@dataclass(frozen=True)
class Picture:
    """An image to write: its new name, its split, its bytes, its size and its objects."""

    name: str
    split: str
    content: bytes
    width: int
    height: int
    objects: tuple[Object, ...]

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0] or self.name


def convert(found: Listing, folder: Path, form: str) -> list[str]:
    """Write all images and boxes of a listing into an empty folder; returns notes on what the form
    has no place for. Raises DataError where there are no boxes, or an image cannot be read."""
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty", "Name a new folder.")
    others = [part.targets.described for part in found.parts.values()
              if not isinstance(part.targets, Boxes)]  # fmt: skip
    if others:
        raise DataError(f"{found.source} has {others[0]}, no boxes", "Give images with boxes.")
    failed = [finding for finding in found.remarks if finding.verdict == "fail"]
    if failed:
        raise DataError(failed[0].text, failed[0].remedy)
    classes = sorted({n for part in found.parts.values() for n in part.names}, key=natural_order)
    lost: Counter[int] = Counter()
    _WRITERS[form](_pictures(found, lost, KEEPS[form]), folder, classes)
    return [f"{form} has no place for it: {counted(count, 'object')} marked as {_FLAGS[flag]}"
            for flag, count in sorted(lost.items())]  # fmt: skip


def _pictures(found: Listing, lost: Counter[int], keeps: int) -> Iterator[Picture]:
    """The images of all splits under names that are unique, in order."""
    taken: set[str] = set()
    for split, part in found.parts.items():
        assert isinstance(part.images, EncodedImages)
        assert isinstance(part.targets, Boxes)
        for i in range(len(part)):
            name = _free_name(part.images.key(i), taken)
            own = part.targets.only(i)
            for flag in _FLAGS:
                if not keeps & flag and (count := int((own.flags & flag > 0).sum())):
                    lost[flag] += count
            objects = tuple(
                Object(tuple(map(float, place)), part.names[number], int(flags))  # type: ignore[arg-type]
                for place, number, flags in zip(own.places, own.numbers, own.flags, strict=True)
            )
            try:
                header = part.images.header(i, math.inf)
                content = part.images.raw(i)
            except UndecodableError as error:
                raise DataError(f"{part.images.name(i)}: {error}", "Repair or remove it.") from None
            yield Picture(name, split, content, header.width, header.height, objects)


def _free_name(key: str, taken: set[str]) -> str:
    """The file's own name; with its folders where another image has that name, as annotations are
    found by it."""
    pieces = key.split("/")
    for count in range(1, len(pieces) + 1):
        name = "_".join(pieces[-count:])
        stem = (name.rpartition(".")[0] or name).lower()
        if stem not in taken:
            break
    else:
        stem = f"{stem}_{len(taken)}"
        name = f"{stem}.{name.rpartition('.')[2]}"
    taken.add(stem)
    return name


def _write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _as_voc(pictures: Iterator[Picture], folder: Path, _: Sequence[str]) -> None:
    lists: dict[str, list[str]] = {}
    for p in pictures:
        _write(folder / voc.FOLDERS["images"] / p.name, p.content)
        text = voc.written(p.name, p.width, p.height, p.objects)
        _write(folder / voc.FOLDERS["annotations"] / f"{p.stem}.xml", text)
        lists.setdefault(p.split, []).append(p.stem)
    for split, stems in lists.items():
        if split != WHOLE:
            _write(folder / voc.FOLDERS["sets"] / f"{split}.txt", "".join(f"{s}\n" for s in stems))


def _as_coco(pictures: Iterator[Picture], folder: Path, classes: Sequence[str]) -> None:
    by_split: dict[str, list[tuple[str, int, int, Sequence[Object]]]] = {}
    for p in pictures:
        _write(folder / "images" / p.split / p.name, p.content)
        by_split.setdefault(p.split, []).append((p.name, p.width, p.height, p.objects))
    for split, images in by_split.items():
        text = json.dumps(coco.written(images, classes), ensure_ascii=False)
        _write(folder / "annotations" / f"instances_{split}.json", text)


def _as_yolo(pictures: Iterator[Picture], folder: Path, classes: Sequence[str]) -> None:
    splits: dict[str, None] = {}
    for p in pictures:
        within = "" if p.split == WHOLE else p.split
        _write(folder / "images" / within / p.name, p.content)
        text = yolo.written(p.width, p.height, p.objects, classes)
        _write(folder / "labels" / within / f"{p.stem}.txt", text)
        splits[p.split] = None
    splits.pop(WHOLE, None)
    _write(folder / "data.yaml", yolo.sheet(classes, splits))


def _as_csv(pictures: Iterator[Picture], folder: Path, _: Sequence[str]) -> None:
    table = []
    for p in pictures:
        _write(folder / "images" / p.name, p.content)
        table.append((f"images/{p.name}", p.objects, "" if p.split == WHOLE else p.split))
    _write(folder / "boxes.csv", rows.written(table))


_WRITERS: dict[str, Callable[[Iterator[Picture], Path, Sequence[str]], None]] = {
    "voc": _as_voc, "coco": _as_coco, "yolo": _as_yolo, "csv": _as_csv,
}  # fmt: skip
