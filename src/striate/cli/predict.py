"""`striate predict RUN PATH…`."""

from __future__ import annotations

import csv as csv_format
import io
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from striate.cli.flags import parse
from striate.core.files import write_atomically
from striate.core.strict_json import one_line

if TYPE_CHECKING:
    from striate.api.runs import Run
    from striate.tasks.task import Answer


def predict(argv: Sequence[str]) -> int:
    """What a run's network says of images."""
    return int(parse(_predict, "predict", argv))


def _predict(
    run: Annotated[Path, tyro.conf.Positional],
    paths: Annotated[tuple[str, ...], tyro.conf.Positional],
    top: int = 1,
    skip_bad: bool = False,
    allow: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    csv: Path | None = None,
    json: bool = False,
    least: float | None = None,
    tiles: int | None = None,
    coco: Path | None = None,
    draw: Path | None = None,
) -> int:
    """Classify files, folders and archives (zip#folder for a part), or find objects in them: a row
    for each image.

    Args:
        run: the run directory
        paths: images, folders of images, .zip or .tar
        top: how many classes to name for each image
        skip_bad: leave out and count images that cannot be read
        allow: faults to accept, such as wrong-extension
        csv: also write the rows to this file
        json: print one JSON object instead of rows
        least: objects: the score from which on they are named (0.3)
        tiles: objects: look at large pictures in N × N parts too
        coco: objects: also write them to this file as COCO has annotations
        draw: objects: also draw them, a picture each, into this folder
    """
    from striate.api.runs import Run
    from striate.core.errors import DataError

    if not paths:
        raise DataError("no images given", "striate predict RUN PATH…: files, folders or archives.")
    if top < 1:
        raise DataError(f"--top {top}: expected 1 or more")
    if least is not None and not 0 <= least <= 1:
        raise DataError(f"--least {least:g}: expected a score from 0 to 1")
    if tiles is not None and tiles < 1:
        raise DataError(f"--tiles {tiles}: expected 1 or more")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        opened = Run(run)
        found = opened.predict(
            paths, top=top, skip_bad=skip_bad, allow=allow, least=least, tiles=tiles
        )
    for note in notes:
        print(note.message, file=sys.stderr)
    if csv:
        _write_csv(csv, found)
        print(f"{len(found):,} rows: {csv}", file=sys.stderr)
    if coco or draw:
        _write_objects(opened, found, paths, coco, draw)
    if json:
        rows = [answer.to_json() for answer in found]
        print(one_line({"run": str(run), "predictions": rows}))
        return 0
    for answer in found:
        print(f"{answer.image}\t{answer.line()}")
    return 0


def _write_objects(
    run: Run, found: Sequence[Any], paths: Sequence[str], coco: Path | None, folder: Path | None
) -> None:
    """Objects as COCO's JSON and as drawings. Raises RunError where the run finds no boxes."""
    from striate.core.errors import RunError
    from striate.core.strict_json import page
    from striate.report.drawing import draw_objects
    from striate.tasks.detect.answer import BoxAnswer, in_coco

    if found and not isinstance(found[0], BoxAnswer):
        raise RunError(f"{run.path} was trained to {run.task.name}: there are no boxes to write")
    if coco:
        write_atomically(coco, page(in_coco(found, run.classes)))
        print(f"{len(found):,} images: {coco}", file=sys.stderr)
    if folder:
        draw_objects(paths, found, folder)
        print(f"{len(found):,} drawings: {folder}", file=sys.stderr)


def _write_csv(path: Path, found: Sequence[Answer]) -> None:
    """A row for each image, with the columns that its answer has."""
    text = io.StringIO()
    cells = [{"image": answer.image, **answer.cells()} for answer in found]
    columns = list(dict.fromkeys(column for row in cells for column in row)) or ["image"]
    table = csv_format.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(cells)
    write_atomically(path, text.getvalue())
