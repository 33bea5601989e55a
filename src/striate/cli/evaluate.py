"""`striate evaluate RUN [DATA]`."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from striate.cli.flags import parse
from striate.cli.view import class_table, figure_table

if TYPE_CHECKING:
    from striate.metrics.slices import Slice

_SHOWN = 12


def evaluate(argv: Sequence[str]) -> int:
    """Score a run."""
    return int(parse(_evaluate, "evaluate", argv))


def _evaluate(
    run: Annotated[Path, tyro.conf.Positional],
    data: Annotated[str | None, tyro.conf.Positional] = None,
    split: str | None = None,
    compare: Path | None = None,
    slices: bool = False,
    slice_by: str | None = None,
    corruptions: bool = False,
    precision: float | None = None,
    recall: float | None = None,
    skip_bad: bool = False,
    allow: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    json: bool = False,
) -> int:
    """Score a run's best network, on its own data or on other data with the same classes.

    Args:
        run: the run directory
        data: other data, opened like the data of `striate train`; nothing is held out
        split: train, val or test (default: test, else all there is)
        compare: another run, scored on the same images: is this one better, and how sure is that?
        slices: also score parts of the images, by size, brightness and contrast
        slice_by: and by a group in their names (a regular expression) or by the columns of a .csv
        corruptions: also score noisy, blurred, shifted … images, at five strengths
        precision: choose each class's threshold on validation so that it is reached
        recall: likewise for recall
        skip_bad: leave out and count images that cannot be read
        allow: faults to accept, such as wrong-extension
        json: print one JSON object as the last line
    """
    from striate.api import evaluating
    from striate.api.runs import Run
    from striate.core.errors import RecipeError

    if precision is not None and recall is not None:
        raise RecipeError("--precision and --recall: give one of them")
    for name, wanted in (("precision", precision), ("recall", recall)):
        if wanted is not None and not 0 < wanted <= 1:
            raise RecipeError(f"--{name} {wanted:g}: expected above 0, at most 1")
    cut = slices or slice_by is not None
    how: dict[str, Any] = {"split": split, "skip_bad": skip_bad, "allow": allow}
    opened, console = Run(run), Console(highlight=False)
    found = opened.evaluate(data, **how, traits=cut)
    for note in found.notes:
        print(note, file=sys.stderr)
    console.print(class_table(found.per_class(), found.split))
    if found.targets.ndim == 1:
        for pair in found.worst_confusions()[:3]:
            print(f"{pair['n']} × {pair['true']} taken for {pair['predicted']}")
    console.print(figure_table(found.figures, found.split))
    said: dict[str, Any] = {"run": str(run), found.split: evaluating.evaluation_json(found)}
    if compare is not None:
        compared = evaluating.compare(found, Run(compare).evaluate(data, **how))
        print(f"\n{run} is {compared}, than {compare}")
        said["comparison"] = {"run": str(compare), **vars(compared)}
    if cut:
        parts = evaluating.slices(found, slice_by)
        console.print(_slice_table(parts))
        said["slices"] = evaluating.slices_json(parts)
    if corruptions:
        robust = opened.robustness(data, **how).to_json()
        console.print(_corruption_table(robust))
        said["corruptions"] = robust
    if precision is not None or recall is not None:
        rows = evaluating.thresholds(
            opened.evaluate(split="val"), found, precision=precision, recall=recall
        )
        console.print(_threshold_table(rows, found.split))
        said["thresholds"] = rows
    if json:
        print(json_format.dumps(said))
    return 0


def _slice_table(found: list[Slice]) -> Table:
    worse = sum(s.worse for s in found)
    table = Table(
        title=f"{len(found)} slices, {worse} significantly worse than the other images",
        title_justify="left", title_style="bold",
    )  # fmt: skip
    table.add_column("slice")
    for title in ("images", "score", "95 % interval", "others", "p"):
        table.add_column(title, justify="right")
    for s in found[:_SHOWN]:
        style = "bold" if s.worse else ""
        table.add_row(
            Text(f"{s.column} {s.value}", style=style), f"{s.n:,}", f"{s.score:.3f}",
            f"{s.low:.3f} to {s.high:.3f}", f"{s.others:.3f}", f"{s.p:.2g}",
        )  # fmt: skip
    return table


def _corruption_table(found: dict[str, Any]) -> Table:
    table = Table(
        title=f"corrupted images: {found['mean']:.3f} in the mean; clean {found['clean']:.3f} "
        f"({found['images']:,} images, single view)",
        title_justify="left", title_style="bold",
    )  # fmt: skip
    table.add_column("strength")
    for strength in range(1, 6):
        table.add_column(str(strength), justify="right")
    table.add_column("lost, 95 % interval", justify="right")
    for row in found["rows"]:
        lost = f"{row['lost']:.3f}, {row['low']:.3f} to {row['high']:.3f}"
        table.add_row(row["corruption"], *(f"{s:.3f}" for s in row["scores"]), lost)
    return table


def _threshold_table(rows: list[dict[str, Any]], split: str) -> Table:
    table = Table(
        title=f"thresholds chosen on val, shown on {split}",
        title_justify="left", title_style="bold",
    )  # fmt: skip
    table.add_column("class")
    for key in ("threshold", "precision", "recall"):
        table.add_column(key, justify="right")
    for row in rows:
        figures = (
            "–" if row[k] is None else f"{row[k]:.3f}" for k in ("threshold", "precision", "recall")
        )
        table.add_row(Text(row["class"]), *figures)
    return table
