"""The list of questionable images that a person edits and gives back (`--exclude FILE`)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from striate.core.errors import DataError
from striate.core.files import write_atomically

COLUMNS = ("exclude", "split", "image", "class", "finding", "detail")
_YES, _NO = {"yes", "y", "x", "1", "true"}, {"", "no", "n", "0", "false"}


@dataclass(frozen=True)
class Row:
    """One questionable image; `exclude` is what we propose."""

    exclude: bool
    split: str
    image: str
    label: str
    finding: str
    detail: str


def write_questionable(path: Path, rows: Iterable[Row]) -> None:
    """A CSV with a line for each image and finding; the first column is for the reader to edit."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        mark = "yes" if row.exclude else ""
        table.writerow([mark, row.split, row.image, row.label, row.finding, row.detail])
    write_atomically(path, buffer.getvalue())


def read_excluded(path: str) -> list[tuple[str, str]]:
    """(split, key) of every line that says yes. An empty path names no images.

    Raises DataError with the line for what is neither yes nor no, and for other files.
    """
    if not path:
        return []
    try:
        with Path(path).expanduser().open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.exclude: {path} cannot be read: {error}") from None
    needed = {"exclude", "image"}
    if lines and not needed <= lines[0].keys():
        raise DataError(
            f"data.exclude: {path} has the columns {', '.join(map(str, lines[0]))}",
            "Expected exclude and image (and split), as `striate data check --csv` writes them.",
        )
    found = []
    for number, line in enumerate(lines, start=2):
        answer = (line["exclude"] or "").strip().lower()
        if answer not in _YES | _NO:
            raise DataError(
                f"data.exclude: {path}, line {number}: exclude is '{answer}'",
                "Expected yes, or nothing.",
            )
        if answer in _YES:
            found.append(((line.get("split") or "").strip(), line["image"] or ""))
    return found
