"""Tables of `path,label[,split]`, as people and programs write them.

Separated by commas, semicolons, tabs or bars; with one label, several labels, or a 0/1 column for
each class; with paths of this or another system, of this or another folder, with or without their
ending.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

from striate.core.errors import DataError, counted, listing
from striate.core.findings import Finding
from striate.data.images import ByteSource, EncodedImages, FolderSource
from striate.data.sources.columns import LOOKED, Columns, Finder, Row, header_of
from striate.data.sources.listing import Listing, number_names, part_of, single_if_one_hot
from striate.data.sources.options import SourceOptions
from striate.data.sources.scan import scan_folder, visible_pictures
from striate.data.strings import Strings

TABLE_ENDINGS = (".csv", ".tsv", ".txt")


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
class Table:
    """Rows of a table whose paths were found."""

    where: str
    rows: list[Row]
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
    text, remarks = decoded(content, where)
    lines = lines_of_cells(text, where)
    if not lines:
        raise DataError(f"{where} is empty", "Expected lines of path,label.")
    header = header_of(lines, finder, options)
    columns = Columns.of(header, [cells for _, cells in lines], where, finder, options)
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
        text, _ = decoded(content[:8192], "")
        lines = lines_of_cells(text, "")[1:20]
    except DataError:
        return False
    return sum(any(finder(cell) for cell in cells) for _, cells in lines) > 0.5 * len(lines) > 0


def decoded(content: bytes, where: str) -> tuple[str, list[Finding]]:
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


def lines_of_cells(text: str, where: str) -> list[tuple[int, list[str]]]:
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
    first = [line for line in text.splitlines()[:LOOKED] if line.strip()]
    best, most = ",", 0.0
    for mark in (",", "\t", ";", "|"):
        counts = [len(next(csv.reader([line], delimiter=mark))) for line in first]
        if not counts or counts[0] < 2:
            continue
        even = sum(count == counts[0] for count in counts) / len(counts)
        if even > most + 0.1:
            best, most = mark, even
    return best


def _found(rows: list[Row], where: str, finder: Finder) -> list[Row]:
    """Rows with the paths that were found. Raises DataError that lists those that were not."""
    found, missing = [], []
    for row in rows:
        path = finder(row.path)
        if path:
            found.append(Row(row.line, path, row.labels, row.split, row.others))
        else:
            missing.append(f"line {row.line}: {row.path}")
    if missing:
        folder = str(Path(where).parent)
        raise DataError(
            f"{where}: {counted(len(missing), 'image')} missing:\n{listing(missing)}",
            f"Paths in a table are relative to {folder}, or names of images below it.",
        )
    return found


def _numbers(rows: list[Row]) -> list[Row]:
    """1.0 is the label 1 where all labels are whole numbers."""
    names = number_names([row.labels[0] for row in rows])
    return [
        Row(row.line, row.path, (name,), row.split, row.others)
        for row, name in zip(rows, names, strict=True)
    ]


def _once(rows: list[Row], where: str) -> tuple[list[Row], list[Finding]]:
    """Rows that say the same twice count once; one image under two labels is remarked."""
    seen: dict[tuple[str, str], Row] = {}
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


def _check_integers(rows: list[Row], where: str) -> None:
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
