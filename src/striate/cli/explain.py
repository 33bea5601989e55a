"""`striate explain RUN [DATA|IMAGE…]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console

from striate.cli.flags import parse
from striate.cli.view import plain_table
from striate.core.strict_json import one_line

if TYPE_CHECKING:
    from striate.explain.explanation import Explanation


def explain(argv: Sequence[str]) -> int:
    """Look inside a run's network."""
    return int(parse(_explain, "explain", argv))


def _explain(
    run: Annotated[Path, tyro.conf.Positional],
    data: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    layer: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    only: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    units: int = 16,
    images: int = 10_000,
    split: str | None = None,
    moved: str | None = None,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """What a network has learnt: a page and pictures of filters, maps, the patches that excite
    units, images that it likes best, what speaks for an answer, errors beside the training images
    that are like them, and what each layer knows.

    Args:
        run: the run directory
        data: other data with the same classes, or images (files), of which maps and attributions
            are shown; default: the run's own test images
        layer: a layer as `striate layers` names it, once or several times (default: the last of
            each resolution)
        only: filters, maps, patches, maximised, attributions, trust, errors, probes or
            equivariance; of a detector filters, maps, boxes or answering; once or several times
            (default: all)
        units: how many units of a layer are shown
        images: how many images are looked at, at most
        split: train, val or test
        moved: where the data of the run are now, if they were moved since it was trained
        out: the folder to write (default: RUN/explain)
        json: print one JSON object as the last line
    """
    from striate.api.explaining import explain_run, given, write_explanation
    from striate.api.runs import Run
    from striate.core.errors import RecipeError
    from striate.core.files import check_folder

    for name, value in (("units", units), ("images", images)):
        if value < 1:
            raise RecipeError(f"--{name} {value}: expected 1 or more")
    opened = Run(run, moved)
    check_folder(out or run)
    found = explain_run(
        opened, given(data), split=split, layers=layer, units=units, images=images, topics=only,
        say=_say,
    )  # fmt: skip
    console = Console(highlight=False)
    _show(console, found)
    page = write_explanation(opened, found, out)
    print(f"\nthe page: {page}, its pictures beside it")
    if json:
        said = {"run": str(run), "page": str(page), "split": found.split, "images": found.images,
                "layers": found.rows, "trust": found.trust, "notes": found.notes}  # fmt: skip
        print(one_line(said))
    return 130 if found.stopped else 0


def _say(topic: str) -> None:
    print(f"looking: {topic}", file=sys.stderr)


def _show(console: Console, found: Explanation) -> None:
    for note in found.notes:
        print(note)
    if found.rows:
        shown = [k for k, (key, _) in _COLUMNS.items() if key in found.rows[0]]
        table = plain_table("layer", *shown)
        for row in found.rows:
            values = (_COLUMNS[k][1](row) for k in shown)
            table.add_row(row["layer"].removeprefix("backbone."), *values)
        console.print(table)
    if found.trust:
        print()
        table = plain_table("attribution", "deletion", "insertion", "like random")
        for row in found.trust:
            figures = (_figure(row[k]) for k in ("deletion", "insertion", "likeness"))
            table.add_row(row["method"].replace("_", " ").replace("grad cam", "Grad-CAM"), *figures)
        console.print(table)


def _figure(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}"


_COLUMNS: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "maps": ("maps", lambda row: "×".join(map(str, row["maps"]))),
    "sees": ("field", lambda row: "×".join(map(str, row["field"] or ["all"]))),
    "probe": ("probe", lambda row: _figure(row["probe"])),
    "95 %": ("probe", lambda row: f"{row['low']:.2f}–{row['high']:.2f}"),
    "shift error": ("moves", lambda row: _figure(row["moves"])),
}
"""Of each layer: the heading, what must be known for it, and what it says."""
