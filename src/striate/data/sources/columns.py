"""The columns of a table: which one names the image, which the label, which the split."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from striate.core.errors import DataError, perhaps
from striate.data.formats import is_image_name
from striate.data.sources.listing import WHOLE
from striate.data.sources.names import SPLIT_NAMES, canonical
from striate.data.sources.options import SourceOptions

_PATH_WORDS = {
    "path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path",
    "image_id", "imageid", "image_name", "imagename", "img", "img_id", "img_name", "img_path",
    "id", "fname", "name", "photo", "picture",
}  # fmt: skip
_LABEL_WORDS = {
    "label", "labels", "class", "classes", "target", "targets", "category", "tags", "class_name",
    "label_name", "classname",
}  # fmt: skip
_SPLIT_WORDS = {"split", "set", "subset", "fold_name", "partition"}
_SEVERAL = re.compile(r"[;|]")
_YES, _NO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}
LOOKED = 50
"""Rows by which columns are recognised."""


class Finder:
    """From what a table says of a file to its path: as written, with other separators, from another
    folder, or by its name without an ending."""

    def __init__(self, exists: Callable[[str], bool], paths: Iterable[str]) -> None:
        self.exists, self._paths = exists, paths

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for path in self._paths:
            name = canonical(PurePosixPath(path).name)
            found[name].append(path)
            stem = PurePosixPath(name).stem
            if stem != name:
                found[stem].append(path)
        return found

    def __call__(self, cell: str) -> str:
        """The path, or "" if there is none, or several."""
        written = cell.replace("\\", "/").removeprefix("./").strip()
        if not written:
            return ""
        if is_image_name(written) and self.exists(written):
            return written
        pieces = canonical(written).split("/")
        candidates = self._by_name.get(pieces[-1], [])
        if len(candidates) == 1:
            return candidates[0]
        best, depth = "", 0
        for path in candidates:
            shared = _shared_end(pieces, canonical(path).split("/"))
            if shared >= depth:
                best, depth = ("" if shared == depth else path), shared
        return best


def _shared_end(one: list[str], other: list[str]) -> int:
    """Folders that both have in common, from the file upwards."""
    count = 0
    for a, b in zip(reversed(one[:-1]), reversed(other[:-1]), strict=False):
        if a != b:
            break
        count += 1
    return count


@dataclass(frozen=True)
class Row:
    line: int
    path: str
    labels: tuple[str, ...]
    split: str
    others: tuple[str, ...]


def header_of(
    lines: list[tuple[int, list[str]]], finder: Finder, options: SourceOptions
) -> list[str]:
    """The names of the columns, taken from the lines where the first has them."""
    first = [cell.strip() for cell in lines[0][1]]
    low = {cell.lower() for cell in first}
    known = bool(low & _PATH_WORDS) or options.label_column in first
    later = [cells for _, cells in lines[1:20]]
    named = bool(later) and not any(map(finder, first)) and any(
        finder(cell) for cells in later for cell in cells
    )  # fmt: skip
    if (known or named) and not any(is_image_name(cell) for cell in first):
        lines.pop(0)
        return first
    third = {cells[2].strip().lower() for _, cells in lines if len(cells) > 2}
    names = ["path", "label", "split" if third and third <= SPLIT_NAMES.keys() else "column 3"]
    return names[: max(2, len(first))] + [f"column {i + 1}" for i in range(3, len(first))]


@dataclass(frozen=True)
class Columns:
    """Where the path, the label(s) and the split stand in a row."""

    width: int
    path: int
    labels: tuple[int, ...]
    split: int | None
    one_hot: tuple[str, ...] | None
    others: tuple[int, ...]

    @classmethod
    def of(
        cls,
        header: list[str],
        rows: list[list[str]],
        where: str,
        finder: Finder,
        options: SourceOptions,
    ) -> Columns:
        aside = tuple(header.index(name) for name in options.columns if name in header)
        low = [name.lower() for name in header]
        at_path = _path_column(low, rows, finder)
        at_split = _split_column(low, {at_path, *aside})
        free = [i for i in range(len(header)) if i not in (at_path, at_split, *aside)]
        if not free and aside:  # the only other column is also to be kept
            free = [i for i in aside if i not in (at_path, at_split)]
        if options.label_column:
            if options.label_column not in header:
                raise DataError(
                    f"{where} has no column '{options.label_column}' (data.label_column)",
                    perhaps(options.label_column, header),
                )
            return cls(len(header), at_path, (header.index(options.label_column),), at_split, None,
                       aside)  # fmt: skip
        if not free:
            raise DataError(f"{where} has no label column", "Expected a header path,label.")
        named = tuple(i for i in free if re.sub(r"_?\d+$", "", low[i]) in _LABEL_WORDS)
        if len({re.sub(r"_?\d+$", "", low[i]) for i in named}) > 1:
            raise DataError(
                f"{where}: the columns {', '.join(header[i] for i in named)} could all be the "
                "label",
                f"Say which: --data.label-column {header[named[0]]}",
            )
        if named:
            return cls(len(header), at_path, named, at_split, None, aside)
        if len(free) == 1 and not _zero_or_one(rows, free):
            return cls(len(header), at_path, tuple(free), at_split, None, aside)
        if not _zero_or_one(rows[:LOOKED], free, all_of_them=False):
            raise DataError(
                f"{where}: which column names the class? It has: "
                f"{', '.join(header[i] for i in free)}",
                f"Say --data.label-column {header[free[0]]}, or name the column 'label'.",
            )
        one_hot = tuple(header[i] for i in free)
        return cls(len(header), at_path, tuple(free), at_split, one_hot, aside)

    def row(self, line: int, cells: list[str], where: str) -> Row:
        if len(cells) != self.width:
            raise DataError(
                f"{where}, line {line}: {len(cells)} columns, expected {self.width}",
                "Put a path or label that holds the separator in quotes.",
            )
        cells = [cell.strip() for cell in cells]
        split = WHOLE
        if self.split is not None:
            split = SPLIT_NAMES.get(cells[self.split].lower(), "")
            if not split:
                raise DataError(
                    f"{where}, line {line}: split '{cells[self.split]}'",
                    "Expected train, val or test.",
                )
        others = tuple(cells[i] for i in self.others)
        return Row(line, cells[self.path], self._labels(line, cells, where), split, others)

    def _labels(self, line: int, cells: list[str], where: str) -> tuple[str, ...]:
        if self.one_hot is not None:
            values = [cells[i].lower() for i in self.labels]
            if bad := [value for value in values if value not in _YES | _NO]:
                raise DataError(
                    f"{where}, line {line}: '{bad[0]}' is out of range: expected 0 or 1 in class "
                    "columns",
                    "For one label an image name its column: --data.label-column NAME.",
                )
            return tuple(n for n, v in zip(self.one_hot, values, strict=True) if v in _YES)
        pieces = [p.strip() for i in self.labels for p in _SEVERAL.split(cells[i])]
        return tuple(dict.fromkeys(piece for piece in pieces if piece))


def _path_column(low: list[str], rows: list[list[str]], finder: Finder) -> int:
    """The column with a path's name whose cells are images, else the one with most of them."""
    looked = [cells for cells in rows[:LOOKED] if len(cells) == len(low)]

    def hits(column: int) -> int:
        return sum(bool(finder(cells[column])) for cells in looked)

    named = [i for i, name in enumerate(low) if name in _PATH_WORDS]
    counts = {i: hits(i) for i in (named if len(named) == 1 else range(len(low)))}
    if len(named) == 1 and (counts[named[0]] or len(low) == 1):
        return named[0]
    if len(named) == 1:
        counts = {i: hits(i) for i in range(len(low))}
    best = max(counts, key=lambda i: (counts[i], i in named, -i))
    return best if counts[best] else (named[0] if named else 0)


def _split_column(low: list[str], taken: set[int]) -> int | None:
    """The column that is called split or the like."""
    for i, name in enumerate(low):
        if name in _SPLIT_WORDS and i not in taken:
            return i
    return None


def _zero_or_one(
    rows: list[list[str]], columns: Sequence[int], *, all_of_them: bool = True
) -> bool:
    """Whether all (or most) cells of these columns are yes or no."""
    cells = [row[i].strip().lower() for row in rows for i in columns if i < len(row)]
    fits = sum(cell in _YES | _NO for cell in cells)
    return bool(cells) and (fits == len(cells) if all_of_them else fits > 0.5 * len(cells))
