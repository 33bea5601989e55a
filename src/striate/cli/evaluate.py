"""`striate evaluate RUN [DATA]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.text import Text

from striate.cli.flags import parse
from striate.cli.view import class_table, figure_table, plain_table
from striate.core.strict_json import one_line

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
    moved: str | None = None,
    compare: Path | None = None,
    slices: bool = False,
    slice_by: str | None = None,
    corruptions: bool = False,
    precision: float | None = None,
    recall: float | None = None,
    views: str = "",
    skip_bad: bool = False,
    allow: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    json: bool = False,
) -> int:
    """Score a run's best network, on its own data or on other data with the same classes.

    Args:
        run: the run directory
        data: other data, opened like the data of `striate train`; nothing is held out
        split: train, val or test (default: test, else all there is)
        moved: where the data of the run are now, if they were moved since it was trained
        compare: another run, scored on the same images: is this one better, and how sure is that?
        slices: also score parts of the images, by size, brightness and contrast
        slice_by: and by a group in their names (a regular expression) or by the columns of a .csv
        corruptions: also score noisy, blurred, shifted … images, at five strengths
        precision: choose each class's threshold on validation so that it is reached
        recall: likewise for recall
        views: average these views of each image: single, flip, shift, flip_shift or ten_crop
            (default: the recipe's)
        skip_bad: leave out and count images that cannot be read
        allow: faults to accept, such as wrong-extension
        json: print one JSON object as the last line
    """
    from striate.api import evaluating
    from striate.api.runs import Run
    from striate.core.errors import RecipeError
    from striate.tasks.plain import evaluation_json

    if precision is not None and recall is not None:
        raise RecipeError("--precision and --recall: give one of them")
    for name, wanted in (("precision", precision), ("recall", recall)):
        if wanted is not None and not 0 < wanted <= 1:
            raise RecipeError(f"--{name} {wanted:g}: expected above 0, at most 1")
    cut = slices or slice_by is not None
    if slice_by is not None:
        evaluating.check_grouping(slice_by)
    how: dict[str, Any] = {"split": split, "skip_bad": skip_bad, "allow": allow}
    opened, other = Run(run, moved), None if compare is None else Run(compare)
    console = Console(highlight=False)
    found = opened.evaluate(data, **how, traits=cut, views=views)
    for note in found.notes:
        print(note, file=sys.stderr)
    if rows := found.per_class():
        console.print(class_table(rows, found.split))
    for pair in found.worst_confusions()[:3]:
        print(f"{pair['n']} × {pair['true']} taken for {pair['predicted']}")
    console.print(figure_table(found.figures, found.split))
    said: dict[str, Any] = {"run": str(run), found.split: evaluation_json(found)}
    if other is not None:
        compared = evaluating.compare(found, other.evaluate(data, **how, views=views))
        print(f"\n{run} is {compared}, than {compare}")
        said["comparison"] = {"run": str(compare), **vars(compared)}
    if cut:
        parts = evaluating.slices(found, slice_by)
        _show_slices(console, parts)
        said["slices"] = evaluating.slices_json(parts)
    if corruptions:
        robust = opened.robustness(data, **how).to_json()
        _show_corruptions(console, robust)
        said["corruptions"] = robust
    if precision is not None or recall is not None:
        own_val = data is None and found.split == "val"
        val = found if own_val else opened.evaluate(split="val")
        rows = evaluating.thresholds(val, found, precision=precision, recall=recall)
        _show_thresholds(console, rows, found.split)
        said["thresholds"] = rows
    if json:
        print(one_line(said))
    return 0


def _show_slices(console: Console, found: list[Slice]) -> None:
    worse = sum(s.worse for s in found)
    print(f"\n{len(found)} slices, {worse} significantly worse than the other images")
    table = plain_table("slice", "images", "score", "95 %", "p")
    for s in found[:_SHOWN]:
        table.add_row(
            Text(f"{s.column} {s.value}", style="bold" if s.worse else ""), f"{s.n:,}",
            f"{s.score:.3f}", f"{s.low:.2f}–{s.high:.2f}", f"{s.p:.2g}",
        )  # fmt: skip
    console.print(table)


def _show_corruptions(console: Console, found: dict[str, Any]) -> None:
    print(
        f"\n{found['images']:,} images in a single view: {found['clean']:.3f} clean, "
        f"{found['mean']:.3f} corrupted; in percent by strength"
    )
    table = plain_table("corruption", *map(str, range(1, 6)), "lost, 95 %")
    for row in found["rows"]:
        scores = (f"{100 * s:.0f}" for s in row["scores"])
        lost = f"{100 * row['lost']:.0f} ({100 * row['low']:.0f}–{100 * row['high']:.0f})"
        table.add_row(row["corruption"], *scores, lost)
    console.print(table)


def _show_thresholds(console: Console, rows: list[dict[str, Any]], split: str) -> None:
    print(f"\nthresholds chosen on val, shown on {split}")
    figures = ("threshold", "precision", "recall")
    table = plain_table("class", *figures)
    for row in rows:
        shown = ("–" if row[k] is None else f"{row[k]:.3f}" for k in figures)
        table.add_row(Text(row["class"]), *shown)
    console.print(table)
