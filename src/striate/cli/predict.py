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
    from striate.api.runs import Prediction


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
    several = opened.multi_label
    for note in notes:
        print(note.message, file=sys.stderr)
    if csv:
        _write_csv(csv, found)
        print(f"{len(found):,} rows: {csv}", file=sys.stderr)
    if json:
        rows = [
            {
                "image": p.image,
                "class": p.label,
                "probability": round(p.probability, 6),
                "top": [{"class": c, "probability": round(s, 6)} for c, s in p.top],
                **({"labels": list(p.labels)} if several else {}),
            }
            for p in found
        ]
        print(one_line({"run": str(run), "predictions": rows}))
        return 0
    for p in found:
        shown = p.top
        if several:  # all labels above their threshold; none where none is
            shown = tuple((name, share) for name, share in p.scores if name in p.labels)
        ranked = "  ".join(f"{name} {share:.3f}" for name, share in shown) or "(no label)"
        print(f"{p.image}\t{ranked}")
    return 0


def _write_csv(path: Path, found: Sequence[Prediction]) -> None:
    """A row for each image: its class or labels, the probability, and the best few."""
    text = io.StringIO()
    table = csv_format.writer(text, lineterminator="\n")
    most = max((len(p.top) for p in found), default=0)
    more = [f"{kind}_{i}" for i in range(1, most + 1) for kind in ("class", "probability")]
    table.writerow(["image", "label", "probability", *more])
    for p in found:
        ranked = [cell for name, share in p.top for cell in (name, f"{share:.6f}")]
        table.writerow([p.image, ";".join(p.labels), f"{p.probability:.6f}", *ranked])
    write_atomically(path, text.getvalue())
