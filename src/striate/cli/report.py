"""`striate report RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from striate.cli.flags import parse


def report(argv: Sequence[str]) -> int:
    """Write a run's report."""
    return int(parse(_report, "report", argv))


def _report(
    run: Annotated[Path, tyro.conf.Positional],
    format: Literal["html", "md", "json"] = "html",
    split: str | None = None,
    moved: str | None = None,
    files_only: bool = False,
    out: Path | None = None,
) -> int:
    """Write one page that tells what was trained on what, how well, and where it fails.

    Args:
        run: the run directory
        format: html (one file, pictures inside), md (a model card) or json
        split: which images are shown: train, val or test (default: what the training scored)
        moved: where the data of the run are now, if they were moved since it was trained
        files_only: without images and classes, where the data is not there any more
        out: the file to write, - for the terminal (default: RUN/report.FORMAT)
    """
    from striate.api.runs import Run
    from striate.core.errors import DataError, RunError
    from striate.core.files import write_atomically

    opened, path = Run(run, moved), out or run / f"report.{format}"
    try:
        text = opened.report(format, split=split, files_only=files_only)
    except (DataError, RunError) as error:
        hint = f"striate report {run} --files-only tells what the run's own files know."
        raise type(error)(error.message, " ".join(filter(None, (error.hint, hint)))) from None
    if str(out) == "-":
        print(text, end="")
        return 0
    write_atomically(path, text)
    print(f"{path}: {len(text.encode()) / 1e6:.1f} MB")
    return 0
