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
    out: Path | None = None,
) -> int:
    """Write one page that tells what was trained on what, how well, and where it fails.

    Args:
        run: the run directory
        format: html (one file, pictures inside), md (a model card) or json
        split: which images are scored: train, val or test
        out: the file to write, - for the terminal (default: RUN/report.FORMAT)
    """
    from striate.api.runs import Run
    from striate.core.files import write_atomically

    opened = Run(run)
    text = opened.report(format, split=split)
    if str(out) == "-":
        print(text, end="")
        return 0
    path = out or run / f"report.{format}"
    write_atomically(path, text)
    print(f"{path}: {len(text.encode()) / 1e6:.1f} MB")
    return 0
