"""CSV of `path,label[,split]`, with one label, several labels, or a 0/1 column for each class."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from striate.core.errors import DataError, listing
from striate.data.decode import is_image_name
from striate.data.images import EncodedImages, FolderReader
from striate.data.sources.listing import SPLIT_NAMES, WHOLE, Listing, part_of
from striate.data.strings import Strings

_PATH_WORDS = {"path", "file", "filename", "file_name", "image", "image_path"}
_LABEL_WORDS = {"label", "labels", "class", "classes", "target", "category", "tags"}
_SPLIT_WORDS = {"split", "set", "subset"}
_SEVERAL = re.compile(r"[;|]")


@dataclass(frozen=True)
class _Row:
    line: int
    path: str
    labels: tuple[str, ...]
    split: str
    others: tuple[str, ...]


def open_csv(path: Path, others: Sequence[str] = ()) -> Listing:
    """Read the table. Paths are relative to its folder; labels are split at `;` or `|`.

    `others` names columns that, if they are there, are kept beside the labels and are none.

    Raises DataError that names line and reason for a missing file, an empty or out-of-range label.
    """
    rows, names, multi_label = _rows(path, others)
    _check_integers(rows, path)
    missing = [f"line {r.line}: {r.path}" for r in rows if not (path.parent / r.path).is_file()]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} images are missing:\n{listing(missing)}",
            f"Paths in the table are relative to {path.parent}.",
        )
    odd = [f"line {r.line}: {r.path}" for r in rows if not is_image_name(r.path)]
    if odd:
        raise DataError(f"{path}: {len(odd)} files have no image ending:\n{listing(odd)}")
    reader, parts = FolderReader(path.parent), {}
    for split in dict.fromkeys(row.split for row in rows):
        chosen = [row for row in rows if row.split == split]
        images = EncodedImages(reader, Strings.of(row.path for row in chosen), f"{path.parent}/")
        labels = [row.labels if multi_label else row.labels[0] for row in chosen]
        columns = {n: Strings.of(row.others[i] for row in chosen) for i, n in enumerate(names)}
        parts[split] = part_of(images, labels, (), columns)
    return Listing(str(path), parts, multi_label)


def _rows(path: Path, others: Sequence[str]) -> tuple[list[_Row], list[str], bool]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [(i, cells) for i, cells in enumerate(csv.reader(file), start=1) if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from None
    if not lines:
        raise DataError(f"{path} is empty", "Expected lines of path,label.")
    header = [cell.strip().lower() for cell in lines[0][1]]
    if not _PATH_WORDS & set(header):
        header = ["path", "label", "split"][: max(2, len(header))]
    else:
        header = [cell.strip() for cell in lines.pop(0)[1]]
    columns = _Columns.of(header, path, others)
    rows = [columns.row(line, cells, path) for line, cells in lines]
    if not rows:
        raise DataError(f"{path} has a header and no rows", "Expected lines of path,label.")
    several = columns.one_hot is not None or any(len(row.labels) != 1 for row in rows)
    return rows, [header[i] for i in columns.others], several


@dataclass(frozen=True)
class _Columns:
    """Where the path, the label(s) and the split stand in a row."""

    width: int
    path: int
    labels: tuple[int, ...]
    split: int | None
    one_hot: tuple[str, ...] | None
    others: tuple[int, ...]

    @classmethod
    def of(cls, header: list[str], path: Path, wanted: Sequence[str]) -> _Columns:
        aside = tuple(header.index(name) for name in wanted if name in header)
        low = [name.lower() for name in header]
        at_path = next(i for i, name in enumerate(low) if name in _PATH_WORDS)
        at_split = next((i for i, name in enumerate(low) if name in _SPLIT_WORDS), None)
        named = tuple(i for i, n in enumerate(low) if re.sub(r"_?\d+$", "", n) in _LABEL_WORDS)
        others = tuple(i for i in range(len(header)) if i not in (at_path, at_split, *aside))
        if not others:
            raise DataError(f"{path} has no label column", "Expected a header path,label.")
        one_hot = None if named else tuple(header[i] for i in others)
        return cls(len(header), at_path, named or others, at_split, one_hot, aside)

    def row(self, line: int, cells: list[str], path: Path) -> _Row:
        if len(cells) != self.width:
            raise DataError(
                f"{path}, line {line}: {len(cells)} columns, expected {self.width}",
                "Put a path or label that holds a comma in quotes.",
            )
        cells = [cell.strip() for cell in cells]
        split = WHOLE
        if self.split is not None:
            split = SPLIT_NAMES.get(cells[self.split].lower(), "")
            if not split:
                raise DataError(
                    f"{path}, line {line}: split '{cells[self.split]}'",
                    "Expected train, val or test.",
                )
        others = tuple(cells[i] for i in self.others)
        return _Row(line, cells[self.path], self._labels(line, cells, path), split, others)

    def _labels(self, line: int, cells: list[str], path: Path) -> tuple[str, ...]:
        where = f"{path}, line {line}"
        if self.one_hot is not None:
            values = [cells[i] for i in self.labels]
            if bad := [value for value in values if value not in ("0", "1")]:
                raise DataError(
                    f"{where}: '{bad[0]}' is out of range: expected 0 or 1 in class columns",
                    "For one label an image name the column 'label'.",
                )
            return tuple(n for n, v in zip(self.one_hot, values, strict=True) if v == "1")
        pieces = [p.strip() for i in self.labels for p in _SEVERAL.split(cells[i])]
        labels = tuple(dict.fromkeys(piece for piece in pieces if piece))
        if not labels:
            raise DataError(f"{where}: no label", "Give each image a label or remove the line.")
        return labels


def _check_integers(rows: list[_Row], path: Path) -> None:
    """Labels that are all integers number the classes from 0 up: others are out of range."""
    labels = [(label, row.line) for row in rows for label in row.labels]
    if not all(re.fullmatch(r"[+-]?\d+", label) for label, _ in labels):
        return
    count = len({int(label) for label, _ in labels})
    for label, line in labels:
        if not 0 <= int(label) < max(count * 2, 10):
            raise DataError(
                f"{path}, line {line}: label {label} is out of range: {count} different labels "
                f"number classes from 0 to {count - 1}",
                "Correct it, or use names as labels.",
            )
