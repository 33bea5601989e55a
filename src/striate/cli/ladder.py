"""`striate ladder DATA`: deck E's ladder of detectors, trained and timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.text import Text

from striate.cli.flags import parse_knobs
from striate.cli.view import plain_table
from striate.core.recipe import Recipe
from striate.core.recipe_io import set_knob
from striate.core.strict_json import one_line

if TYPE_CHECKING:
    from striate.ladder.rungs import Rung


@dataclass(frozen=True)
class LadderFlags:
    """Climb from a classifier on every window to one stage, on one backbone: what each rung gains
    and costs; takes the flags of `train`.

    --minutes is the time for the training of each rung (3 where it is not given).
    """

    source: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")] = None
    """images with boxes: Pascal VOC, COCO, YOLO, CSV"""
    recipe: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """YAML recipe; flags override it"""
    preset: str = "quick"
    """named recipe to start from: quick, standard"""
    rungs: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """only these: window, rcnn, fast_rcnn, faster_rcnn, grid, anchors, one_stage; repeat it"""
    out: Path = Path("ladder")
    """the folder for the page and its figures"""
    json: bool = False
    """print one JSON object as the last line"""
    knobs: Annotated[Recipe, tyro.conf.arg(name="")] = Recipe()  # noqa: RUF009 - frozen


def ladder(argv: Sequence[str]) -> int:
    """Train and time each rung; a table at the end."""
    flags: LadderFlags = parse_knobs(LadderFlags, "ladder", argv)
    from striate.api.ladder import MINUTES, stream_ladder
    from striate.core.files import check_folder
    from striate.core.records import Note
    from striate.ladder.rungs import Rung
    from striate.training.log import drained, seen_by

    minutes = flags.knobs.budget.minutes or MINUTES
    wanted = set_knob(flags.knobs, "budget.minutes", None)

    def show(record: object) -> None:
        if isinstance(record, Note) and not flags.json:
            print(record.text, flush=True)
        if isinstance(record, Rung):
            for note in record.notes if not flags.json else ():
                print(f"  {note}", flush=True)

    check_folder(flags.out)
    found = drained(seen_by(show, stream_ladder(recipe=wanted, rungs=flags.rungs, minutes=minutes)))
    page = found.write(flags.out)
    if flags.json:
        print(one_line({**found.to_json(), "page": str(page)}))
    else:
        _table(found.rungs)
        print(f"the page: {page}")
    return 0


def _table(found: Sequence[Rung]) -> None:
    """A row for each rung: AP50 with its interval, AP, seconds an image; then what they are of, and
    what the lecture says."""
    from striate.report.ladder_page import seconds_in_words

    table = plain_table("rung", "AP50", "95 %", "AP", "s an image")
    for rung in found:
        figures = rung.evaluation.figures
        pair = figures.intervals.get("average_precision_50")
        table.add_row(
            Text(rung.name), f"{figures.scores['average_precision_50']:.3f}",
            f"{pair[0]:.2f}–{pair[1]:.2f}" if pair else "–",
            f"{figures.scores['average_precision']:.3f}", f"{rung.total:.3f}",
        )  # fmt: skip
    Console(highlight=False).print(table)
    for rung in found:
        parts = ", ".join(f"{name} {seconds_in_words(took)}" for name, took in rung.stages)
        print(f"{rung.name}: {parts}; in the lecture: {rung.lecture}")
    first, last = found[0], found[-1]
    if len(found) > 1:
        print(f"{last.name} takes {last.total / first.total:.2g} of {first.name}'s time")
