"""The report of a run: one page, a model card in Markdown, or plain values. All from `Facts`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from striate.core.records import Epoch
from striate.report.charts import Line, line_chart
from striate.report.page import render
from striate.report.pictures import Figure
from striate.report.run_facts import RunFacts

_MOST_CELLS, _LOUD, _QUIET = 30, 6, 60
_CHARTS = ("loss", "score", "rate", "precision", "roc", "reliability")
SECTIONS = ("samples", "augmented", "confusions", "worst", "best", "inside")
"""Where a report shows pictures."""


@dataclass(frozen=True)
class Facts:
    """`run`: everything that is said; `figures`: pictures by section."""

    run: RunFacts
    figures: dict[str, list[Figure]] = field(default_factory=dict)


def html(facts: Facts) -> str:
    """The page: pictures, styles and script inside."""
    figures = {name: facts.figures.get(name, []) for name in SECTIONS}
    return render(
        "report.html.j2", v=facts.run, figures=figures, charts=_charts(facts.run),
        confusion=_confusion(facts.run.confusion), errors=facts.run.sections.get("errors"),
    )  # fmt: skip


def markdown(facts: Facts) -> str:
    """A model card without pictures."""
    return render("card.md.j2", v=facts.run).strip() + "\n"


def _charts(run: RunFacts) -> dict[str, Markup]:
    made = dict.fromkeys(_CHARTS, Markup(""))
    epochs, score = run.curves, run.score
    if epochs:
        x = [row.epoch for row in epochs]
        made["loss"] = line_chart(
            [_line("training", x, epochs, "train_loss"),
             _line("validation", x, epochs, "val_loss")],
            "Loss by epoch", "epoch", "loss",
        )  # fmt: skip
        made["score"] = line_chart(
            [_line(f"validation {score}".replace("_", " "), x, epochs, "val_score")],
            "Validation score by epoch", "epoch", score.replace("_", " "),
        )  # fmt: skip
    if run.rates:
        steps = [row["step"] for row in run.rates]
        made["rate"] = line_chart(
            [Line("learning rate", steps, [row["lr"] for row in run.rates])],
            "Learning rate by step", "step", "rate",
        )  # fmt: skip
    if curves := run.sections.get("class_curves"):
        made |= _class_curves(curves)
    if reliability := run.sections.get("reliability"):
        bins = [b for b in reliability if b["images"]]
        made["reliability"] = line_chart(
            [
                Line("perfect", [0, 1], [0, 1], quiet=True),
                Line("right", [b["said"] for b in bins], [b["right"] for b in bins], dots=True),
            ],
            "Of images called with this probability, so many are right",
            "probability that was said", "share that is right",
            x_range=(0, 1), y_range=(0, 1),
        )  # fmt: skip
    return made


def _line(label: str, xs: Sequence[float], rows: Sequence[Epoch], name: str) -> Line:
    return Line(label, xs, [getattr(row, name) for row in rows])


def _class_curves(curves: list[dict[str, Any]]) -> dict[str, Markup]:
    """The worst classes in colour, the others in grey."""
    ordered = sorted(curves, key=lambda c: c["average_precision"])
    loud = {c["class"] for c in ordered[:_LOUD]}
    worst = f"the {_LOUD} worst of {len(curves)} classes in colour"
    few = len(curves) <= _LOUD
    step = max(1, -(-len(ordered) // _QUIET))  # of very many classes the page shows some
    shown = ordered[:_LOUD] + ordered[_LOUD::step]
    made = {}
    for name, title, x, y, labels in (
        ("precision", "Precision over recall", "recall", "precision", ("recall", "precision")),
        ("roc", "Hits over false alarms (ROC)", "false_alarms", "hits",
         ("share of false alarms", "share of hits (recall)")),
    ):  # fmt: skip
        if not all(x in c for c in shown):
            continue
        lines = [Line(c["class"], c[x], c[y], quiet=c["class"] not in loud) for c in shown]
        made[name] = line_chart(
            lines, title if few else f"{title}: {worst}", *labels, x_range=(0, 1), y_range=(0, 1)
        )
    return made


def _confusion(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Cells with their share of the row, for the table; None for very many classes."""
    if not found or not found["table"] or len(found["table"]) > _MOST_CELLS:
        return None
    rows = []
    for name, counts in zip(found["classes"], found["table"], strict=True):
        total = sum(counts) or 1
        rows.append((name, [(n, _shade(n / total)) for n in counts]))
    return {"classes": found["classes"], "rows": rows}


def _shade(share: float) -> Markup:
    """White to blue, with ink that can be read on it."""
    part = share**0.5
    red, green, blue = (round(255 + part * (dark - 255)) for dark in (11, 83, 148))
    ink = "#fff" if part > 0.55 else "#1b1b1b"
    return Markup("background:rgb({},{},{});color:{}").format(red, green, blue, Markup(ink))
