"""`striate predict RUN PATH…`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from striate.cli.flags import parse
from striate.core.strict_json import one_line


def predict(argv: Sequence[str]) -> int:
    """Classify images."""
    return int(parse(_predict, "predict", argv))


def _predict(
    run: Annotated[Path, tyro.conf.Positional],
    paths: Annotated[tuple[str, ...], tyro.conf.Positional],
    top: int = 1,
    skip_bad: bool = False,
    allow: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    json: bool = False,
) -> int:
    """Classify files, folders and archives (zip#folder for a part): a row for each image.

    Args:
        run: the run directory
        paths: images, folders of images, .zip or .tar
        top: how many classes to name for each image
        skip_bad: leave out and count images that cannot be read
        allow: faults to accept, such as wrong-extension
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
        found = Run(run).predict(paths, top=top, skip_bad=skip_bad, allow=allow)
    for note in notes:
        print(note.message, file=sys.stderr)
    if json:
        rows = [
            {
                "image": p.image,
                "class": p.label,
                "probability": round(p.probability, 6),
                "top": [{"class": c, "probability": round(s, 6)} for c, s in p.top],
                **({"labels": list(p.labels)} if p.labels != (p.label,) else {}),
            }
            for p in found
        ]
        print(one_line({"run": str(run), "predictions": rows}))
        return 0
    for p in found:
        ranked = "  ".join(f"{name} {share:.3f}" for name, share in p.top)
        print(f"{p.image}\t{ranked}")
    return 0
