"""Tables of `path,label[,split]`, as people and programs write them.

Separated by commas, semicolons, tabs or bars; with one label, several labels, or a 0/1 column for
each class; with paths of this or another system, of this or another folder, with or without their
ending.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from striate.core.errors import DataError, counted, listing, perhaps
from striate.core.findings import Finding
from striate.data.decode import is_image_name
from striate.data.images import ByteSource, EncodedImages, FolderSource
from striate.data.sources.listing import WHOLE, Listing, number_names, part_of, single_if_one_hot
from striate.data.sources.names import SPLIT_NAMES, canonical
from striate.data.sources.options import SourceOptions
from striate.data.sources.scan import scan_folder, visible_pictures
from striate.data.strings import Strings

TABLE_ENDINGS = (".csv", ".tsv", ".txt")
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
_LOOKED = 50
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


def open_table(path: Path, options: SourceOptions) -> Listing:
    """Read a table on disk. Paths are relative to its folder, or anywhere below it by name.

    Raises DataError that names line and reason for a missing file, an empty or out-of-range label.
    """
    folder = path.parent
    finder = Finder(lambda key: (folder / key).is_file(), _Below(folder))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    table = listing_of(content, str(path), finder, options)
    return table.over(FolderSource(folder), f"{folder}/", str(path))


@dataclass(frozen=True)
class _Below:
    """The images below a folder, looked up only if they are asked for."""

    folder: Path

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(visible_pictures(scan_folder(self.folder, skip_bad=True)))


@dataclass(frozen=True)
class _Row:
    line: int
    path: str
    labels: tuple[str, ...]
    split: str
    others: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of a table whose paths were found."""

    where: str
    rows: list[_Row]
    names: list[str]
    several: bool
    remarks: list[Finding] = field(default_factory=list)

    def over(self, reader: ByteSource, shown: str, source: str) -> Listing:
        """The images of the rows behind a reader."""
        parts = {}
        for split in dict.fromkeys(row.split for row in self.rows):
            chosen = [row for row in self.rows if row.split == split]
            images = EncodedImages(reader, Strings.of(row.path for row in chosen), shown)
            labels = [row.labels if self.several else row.labels[0] for row in chosen]
            columns = {
                name: Strings.of(row.others[i] for row in chosen)
                for i, name in enumerate(self.names)
            }
            parts[split] = part_of(images, labels, (), columns)
        return single_if_one_hot(Listing(source, parts, remarks=tuple(self.remarks)))


def listing_of(content: bytes, where: str, finder: Finder, options: SourceOptions) -> Table:
    """The rows of a table. Raises DataError with the lines that cannot be used."""
    text, remarks = _decoded(content, where)
    lines = _lines(text, where)
    if not lines:
        raise DataError(f"{where} is empty", "Expected lines of path,label.")
    header = _header(lines, finder, options)
    columns = _Columns.of(header, [cells for _, cells in lines], where, finder, options)
    rows = [columns.row(line, cells, where) for line, cells in lines]
    if not rows:
        raise DataError(f"{where} has a header and no rows", "Expected lines of path,label.")
    rows = _found(rows, where, finder)
    several = columns.one_hot is not None or any(len(row.labels) > 1 for row in rows)
    if not several:
        blank = next((row.line for row in rows if not row.labels), None)
        if blank is not None:
            raise DataError(
                f"{where}, line {blank}: no label", "Give each image a label or remove the line."
            )
        rows = _numbers(rows)
    _check_integers(rows, where)
    rows, more = _once(rows, where)
    names = [header[i] for i in columns.others]
    return Table(where, rows, names, several, [*remarks, *more])


def looks_like_table(content: bytes, finder: Finder) -> bool:
    """Whether the first lines of a file name images that are there."""
    try:
        text, _ = _decoded(content[:8192], "")
        lines = _lines(text, "")[1:20]
    except DataError:
        return False
    return sum(any(finder(cell) for cell in cells) for _, cells in lines) > 0.5 * len(lines) > 0


def _decoded(content: bytes, where: str) -> tuple[str, list[Finding]]:
    """UTF-8 with or without its mark, UTF-16 with it, else Windows' western letters, said so."""
    for mark, name in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig")):
        if content.startswith(mark):
            try:
                return content.decode(name), []
            except UnicodeDecodeError:
                continue
    if b"\0" in content:
        raise DataError(f"{where} is no text", "Expected a table of path,label, saved as UTF-8.")
    text = content.decode("cp1252", "replace")
    said = f"{where} is not UTF-8: read as Windows-1252"
    return text, [Finding("encoding", "note", said, {}, "Save it as UTF-8 if letters look wrong.")]


def _lines(text: str, where: str) -> list[tuple[int, list[str]]]:
    """(line number, cells) of the lines that have any."""
    separator = separator_of(text)
    try:
        rows = csv.reader(text.splitlines(), delimiter=separator)
        return [(rows.line_num, cells) for cells in rows if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise DataError(f"{where} cannot be read as a table: {error}") from None


def separator_of(text: str) -> str:
    """What separates cells: the mark that cuts the first lines into the same number of two or more.
    A comma where several do, or none does."""
    first = [line for line in text.splitlines()[:_LOOKED] if line.strip()]
    best, most = ",", 0.0
    for mark in (",", "\t", ";", "|"):
        counts = [len(next(csv.reader([line], delimiter=mark))) for line in first]
        if not counts or counts[0] < 2:
            continue
        even = sum(count == counts[0] for count in counts) / len(counts)
        if even > most + 0.1:
            best, most = mark, even
    return best


def _header(
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
class _Columns:
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
    ) -> _Columns:
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
        if not _zero_or_one(rows[:_LOOKED], free, all_of_them=False):
            raise DataError(
                f"{where}: which column names the class? It has: "
                f"{', '.join(header[i] for i in free)}",
                f"Say --data.label-column {header[free[0]]}, or name the column 'label'.",
            )
        one_hot = tuple(header[i] for i in free)
        return cls(len(header), at_path, tuple(free), at_split, one_hot, aside)

    def row(self, line: int, cells: list[str], where: str) -> _Row:
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
        return _Row(line, cells[self.path], self._labels(line, cells, where), split, others)

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
    looked = [cells for cells in rows[:_LOOKED] if len(cells) == len(low)]

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


def _found(rows: list[_Row], where: str, finder: Finder) -> list[_Row]:
    """Rows with the paths that were found. Raises DataError that lists those that were not."""
    found, missing = [], []
    for row in rows:
        path = finder(row.path)
        if path:
            found.append(_Row(row.line, path, row.labels, row.split, row.others))
        else:
            missing.append(f"line {row.line}: {row.path}")
    if missing:
        folder = str(Path(where).parent)
        raise DataError(
            f"{where}: {counted(len(missing), 'image')} missing:\n{listing(missing)}",
            f"Paths in a table are relative to {folder}, or names of images below it.",
        )
    return found


def _numbers(rows: list[_Row]) -> list[_Row]:
    """1.0 is the label 1 where all labels are whole numbers."""
    names = number_names([row.labels[0] for row in rows])
    return [
        _Row(row.line, row.path, (name,), row.split, row.others)
        for row, name in zip(rows, names, strict=True)
    ]


def _once(rows: list[_Row], where: str) -> tuple[list[_Row], list[Finding]]:
    """Rows that say the same twice count once; one image under two labels is remarked."""
    seen: dict[tuple[str, str], _Row] = {}
    kept, repeated, disputed = [], 0, []
    for row in rows:
        before = seen.get((row.path, row.split))
        if before is None:
            seen[row.path, row.split] = row
            kept.append(row)
        elif before.labels == row.labels:
            repeated += 1
        else:
            kept.append(row)
            disputed.append(
                f"{row.path}: {'; '.join(before.labels)} in line {before.line}, "
                f"{'; '.join(row.labels)} in line {row.line}"
            )
    remarks = []
    if repeated:
        text = f"{where}: {counted(repeated, 'row')} that repeat an earlier one: not used"
        remarks.append(Finding("repeated rows", "note", text))
    if disputed:
        text = f"{where}: {counted(len(disputed), 'image')} with two labels:\n{listing(disputed)}"
        remedy = "One of the two is wrong; with several labels write them in one row: a;b"
        remarks.append(Finding("two labels", "warn", text, {"images": disputed}, remedy))
    return kept, remarks


def _check_integers(rows: list[_Row], where: str) -> None:
    """Labels that are all integers number the classes from 0 up: others are out of range."""
    labels = [(label, row.line) for row in rows for label in row.labels]
    if not all(re.fullmatch(r"[+-]?\d+", label) for label, _ in labels):
        return
    count = len({int(label) for label, _ in labels})
    for label, line in labels:
        if not 0 <= int(label) < max(count * 2, 10):
            raise DataError(
                f"{where}, line {line}: label {label} is out of range: {count} different labels "
                f"number classes from 0 to {count - 1}",
                "Correct it, or use names as labels.",
            )
