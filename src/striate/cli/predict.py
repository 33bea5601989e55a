"""`striate predict RUN PATH…`."""

from __future__ import annotations

import csv as csv_format
import io
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from striate.cli.flags import parse
from striate.core.files import write_atomically
from striate.core.strict_json import one_line

if TYPE_CHECKING:
    from striate.tasks.task import Answer


def predict(argv: Sequence[str]) -> int:
    """Classify images."""
    return int(parse(_predict, "predict", argv))


def _predict(
    run: Annotated[Path, tyro.conf.Positional],
    paths: Annotated[tuple[str, ...], tyro.conf.Positional],
    top: int = 1,
    skip_bad: bool = False,
    allow: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    csv: Path | None = None,
    json: bool = False,
) -> int:
    """Classify files, folders and archives (zip#folder for a part): a row for each image.

    Args:
        run: the run directory
        paths: images, folders of images, .zip or .tar
        top: how many classes to name for each image
        skip_bad: leave out and count images that cannot be read
        allow: faults to accept, such as wrong-extension
        csv: also write the rows to this file
        json: print one JSON object instead of rows
    """
    from striate.api.runs import Run
    from striate.core.errors import DataError

    if not paths:
        raise DataError("no images given", "striate predict RUN PATH…: files, folders or archives.")
    if top < 1:
        raise DataError(f"--top {top}: expected 1 or more")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        opened = Run(run)
        found = opened.predict(paths, top=top, skip_bad=skip_bad, allow=allow)
    for note in notes:
        print(note.message, file=sys.stderr)
    if csv:
        _write_csv(csv, found)
        print(f"{len(found):,} rows: {csv}", file=sys.stderr)
    if json:
        rows = [answer.to_json() for answer in found]
        print(one_line({"run": str(run), "predictions": rows}))
        return 0
    for answer in found:
        print(f"{answer.image}\t{answer.line()}")
    return 0


def _write_csv(path: Path, found: Sequence[Answer]) -> None:
    """A row for each image, with the columns that its answer has."""
    text = io.StringIO()
    cells = [{"image": answer.image, **answer.cells()} for answer in found]
    columns = list(dict.fromkeys(column for row in cells for column in row)) or ["image"]
    table = csv_format.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(cells)
    write_atomically(path, text.getvalue())
