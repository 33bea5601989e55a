"""The page of the ladder: what each rung finds, and where its time goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import striate
from striate.data.loader import spread
from striate.explain.sample import Sample
from striate.ladder.rungs import STAGES, Rung
from striate.report.charts import COLOURS
from striate.report.galleries import drawn
from striate.report.page import render
from striate.report.pictures import Figure
from striate.tasks.detect.evaluation import BoxEvaluation
from striate.tasks.evaluation import Gallery, Shown

_SHOWN, _SIDE = 4, 190
_DECADES = 5
"""The bars of seconds span so many powers of ten, up to the slowest rung."""


def ladder_html(rungs: Sequence[Rung], sample: Sample, title: str) -> str:
    """The whole page. sample: the test images that the rungs were scored on, in their order."""
    stages = [name for name in STAGES if any(name in rung.seconds for rung in rungs)]
    slowest = max(rung.total for rung in rungs)
    return render(
        "ladder.html.j2", title=title, images=len(sample), version=striate.__version__,
        stages=dict(zip(stages, COLOURS, strict=False)),
        rungs=[_row(rung, slowest) for rung in rungs], seen=_seen(rungs, sample),
        faster=rungs[0].total / rungs[-1].total if len(rungs) > 1 else None,
    )  # fmt: skip


def seconds_in_words(value: float) -> str:
    """Two figures or more, with a unit: `140 s`, `2.2 s`, `470 ms`."""
    number, unit = (value, "s") if value >= 1 else (1000 * value, "ms")
    return f"{number:,.0f} {unit}" if number >= 10 else f"{number:.2g} {unit}"


def _row(rung: Rung, slowest: float) -> dict[str, Any]:
    figures = rung.evaluation.figures
    return {
        "name": rung.name, "lecture": rung.lecture, "notes": rung.notes,
        "half": figures.scores["average_precision_50"],
        "pair": figures.intervals.get("average_precision_50"),
        "average": figures.scores["average_precision"],
        "total": seconds_in_words(rung.total), "training": seconds_in_words(rung.training),
        "bar": 100 * max(0.02, 1 + math.log10(rung.total / slowest) / _DECADES),
        "stages": [
            (name, seconds_in_words(took), 100 * took / rung.total) for name, took in rung.stages
        ],
    }  # fmt: skip


def _seen(rungs: Sequence[Rung], sample: Sample) -> Figure:
    """What each rung names in some images; each rung from the score of its best agreement on."""
    rows = []
    for i in spread(len(sample), min(_SHOWN, len(sample))).tolist():
        shown = []
        for rung in rungs:
            found = rung.evaluation
            assert isinstance(found, BoxEvaluation)
            marks = found.marked(i, found.threshold())
            shown.append(Shown(i, (rung.name,), "", marks))
        rows.append((sample.names[i], shown))
    said = (
        "Objects in green, right boxes in blue, wrong ones in red. Each rung names what is above "
        "the score at which its precision and recall agree best."
    )
    alt = f"what {len(rungs)} rungs find in {len(rows)} images"
    return drawn(Gallery("rungs", alt, said, rows, _SIDE), sample)
