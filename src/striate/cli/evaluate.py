"""`striate evaluate RUN [DATA]`."""

from __future__ import annotations

import json as json_format
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from striate.cli.flags import parse
from striate.cli.view import class_table, score_table


def evaluate(argv: Sequence[str]) -> int:
    """Score a run."""
    return int(parse(_evaluate, "evaluate", argv))


def _evaluate(
    run: Annotated[Path, tyro.conf.Positional],
    data: Annotated[str | None, tyro.conf.Positional] = None,
    split: str | None = None,
    skip_bad: bool = False,
    allow: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    json: bool = False,
) -> int:
    """Score a run's best network, on its own data or on other data with the same classes.

    Args:
        run: the run directory
        data: other data, opened like the data of `striate train`; nothing is held out
        split: train, val or test (default: test, else all there is)
        skip_bad: leave out and count images that cannot be read
        allow: faults to accept, such as wrong-extension
        json: print one JSON object as the last line
    """
    from striate.api.runs import Run

    opened = Run(run)
    found = opened.evaluate(data, split=split, skip_bad=skip_bad, allow=allow)
    for note in found.notes:
        print(note, file=sys.stderr)
    Console(highlight=False).print(class_table(found.per_class(), found.split))
    if found.targets.ndim == 1:
        for pair in found.worst_confusions()[:3]:
            print(f"{pair['n']} × {pair['true']} taken for {pair['predicted']}")
    Console(highlight=False).print(score_table({found.split: found.scores}))
    if json:
        scores = {k: v if math.isfinite(v) else None for k, v in found.scores.items()}
        print(json_format.dumps({"run": str(run), found.split: scores}))
    return 0
