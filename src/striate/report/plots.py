"""Pictures of findings, by matplotlib, without a display."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from striate.core.errors import RecipeError
from striate.core.files import disk_faults_explained
from striate.plan.rate_test import RateTest, smoothed
from striate.report.charts import COLOURS, Line, counted

_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#777777"
"""Colours that the colour-blind tell apart (Okabe and Ito 2008)."""
KINDS = (".png", ".svg")


def save_rate_test(found: RateTest, path: Path) -> None:
    """The range tests above, the short trainings below; .png or .svg."""
    figure, (above, below) = _figure(path, 2)
    for sweep in found.sweeps:
        above.plot(sweep.rates, sweep.losses, color=_BLUE, alpha=0.25, linewidth=0.8)
        width = max(1.5, len(sweep.losses) / 25)
        above.plot(sweep.rates, smoothed(sweep.losses, width), color=_BLUE, linewidth=1.6)
    top = max(float(np.nanmax(s.losses[: max(2, len(s.losses) // 4)])) for s in found.sweeps)
    least = min(float(np.nanmin(s.losses)) for s in found.sweeps)
    above.set_ylim(least - 0.1 * (top - least), top + 0.6 * (top - least))
    above.set_ylabel("training loss")
    above.set_title("range tests: the rate rises from step to step", loc="left", fontsize=10)
    alive = [t for t in found.tried if np.isfinite(t.loss)]
    below.errorbar(
        [t.lr for t in alive], [t.score for t in alive], yerr=[t.error for t in alive],
        fmt="o-", color=_ORANGE, capsize=3, linewidth=1.4,
    )  # fmt: skip
    for t in found.tried:
        if not np.isfinite(t.loss):
            below.axvline(t.lr, color=_GREY, linestyle=":", linewidth=1)
    below.set_ylabel("validation score")
    below.set_title("short trainings with the recipe's schedule (± standard error)", loc="left",
                    fontsize=10)  # fmt: skip
    below.set_xlabel("learning rate")
    for axis in (above, below):
        axis.axvspan(found.low, found.high, color=_GREEN, alpha=0.12, linewidth=0)
        axis.axvline(found.lr, color=_GREEN, linewidth=1.6)
        axis.set_xscale("log")
        axis.grid(alpha=0.25)
    below.annotate(
        f" {found.lr:.2g}", (found.lr, 0.03), xycoords=("data", "axes fraction"), color=_GREEN
    )
    _save(figure, path)


def save_curves(
    lines: Sequence[Line], path: Path, *, title: str, labels: tuple[str, str], logarithmic: bool
) -> None:
    """Curves with a legend; .png or .svg. labels: of the axes."""
    figure, axis = _figure(path, 1)
    for line, colour in zip(lines, cycle(COLOURS)):
        values = [np.nan if y is None else y for y in line.ys]
        style = "o-" if line.dots else "-"
        axis.plot(line.xs, values, style, color=colour, label=line.label, linewidth=1.4)
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_xlabel(labels[0])
    axis.set_ylabel(labels[1])
    if logarithmic:
        axis.set_yscale("log")
    if counted(lines):
        axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8)
    _save(figure, path)


def check_kind(path: Path) -> None:
    """Raise RecipeError for a name that is no kind of picture."""
    if path.suffix.lower() not in KINDS:
        raise RecipeError(f"{path}: not a kind of picture", f"Use a name in {' or '.join(KINDS)}.")


def _figure(path: Path, rows: int) -> Any:
    check_kind(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6 * rows), layout="constrained")
    return figure, figure.subplots(rows, 1, sharex=True)


def _save(figure: Any, path: Path) -> None:
    """Without a date, so that equal pictures are equal files."""
    date = {"Date": None} if path.suffix.lower() == ".svg" else {}
    with disk_faults_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata=date)
