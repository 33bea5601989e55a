"""Every rung of deck E's ladder of detectors on one data set and one backbone (E1–E4)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from striate.api.runs import Run
from striate.api.stream import stream
from striate.core import recipe_io
from striate.core.errors import RecipeError, perhaps
from striate.core.files import disk_faults_explained, write_atomically, write_json
from striate.core.recipe import Recipe
from striate.core.records import Note, Record
from striate.core.strict_json import finite
from striate.data.boxes import Boxes
from striate.explain.sample import Sample, sample_of
from striate.ladder.crops import Answered, by_region, by_window
from striate.ladder.rungs import RUNGS, SEARCHED, TIMED, TRAINED, Rung, lost_in_cells, stage_times
from striate.models.detectors.proposals import check_search
from striate.plan.prepare import Prepared, prepare, requested, source_of
from striate.report.ladder_page import ladder_html
from striate.training.log import drained

MINUTES = 3.0
"""For the training of each rung that is a network of its own."""


@dataclass(frozen=True)
class Ladder:
    """The rungs that were climbed, the slowest first, and the test images that they were scored
    on."""

    rungs: tuple[Rung, ...]
    sample: Sample
    source: str

    def write(self, folder: Path) -> Path:
        """Write the page `ladder.html` and the figures `ladder.json`; returns the page's path."""
        with disk_faults_explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "ladder.json", finite(self.to_json()))
        page = ladder_html(self.rungs, self.sample, self.source)
        write_atomically(folder / "ladder.html", page)
        return folder / "ladder.html"

    def to_json(self) -> dict[str, Any]:
        return {"source": self.source, "rungs": [rung.to_json() for rung in self.rungs]}


def climb_ladder(
    data: Any = None,
    *,
    recipe: Recipe | str | Path | None = None,
    rungs: tuple[str, ...] = (),
    minutes: float = MINUTES,
    **knobs: Any,
) -> Ladder:
    """Train and time the rungs, the slowest first; all where none is named. Takes what `train`
    takes. minutes: for the training of each. Raises RecipeError for an unknown rung and DataError
    for data without boxes."""
    return drained(stream_ladder(data, recipe=recipe, rungs=rungs, minutes=minutes, **knobs))


def stream_ladder(
    data: Any = None,
    *,
    recipe: Recipe | str | Path | None = None,
    rungs: tuple[str, ...] = (),
    minutes: float = MINUTES,
    **knobs: Any,
) -> Generator[Record | Rung, None, Ladder]:
    """`climb_ladder` as it goes: notes, then each rung; returns the ladder."""
    for name in rungs:
        if name not in RUNGS:
            raise RecipeError(f"no rung '{name}'", perhaps(name, RUNGS))
    climbed = [name for name in RUNGS if not rungs or name in rungs]
    if set(climbed) & set(SEARCHED):
        check_search()  # before the minutes of other rungs
    wanted = requested(data, recipe, knobs)
    source, found = source_of(data, wanted), list[Rung]()
    prepared = yield from _prepared(wanted, source)
    for name in climbed:
        yield Note("info", f"{name.replace('_', ' ')}: {RUNGS[name]}")
        if name in TRAINED:
            rung = _trained(name, source, wanted, minutes)
        else:
            rung = _of_crops(name, by_window(prepared) if name == "window" else by_region(prepared))
        found.append(rung)
        yield rung
    test, size = prepared.data.dataset.splits["test"], prepared.settled.image_size
    sample = sample_of("test", test, prepared.data.stores["test"], size, None)
    return Ladder(tuple(found), sample, prepared.data.dataset.source)


def _prepared(wanted: Recipe, source: Any) -> Generator[Record, None, Prepared]:
    plain = {
        "budget.epochs": 1, "budget.minutes": None, "data.workers": 1, "model.kept_views": 0,
        "model.detector": "auto", "device.precision": "float32",
    }  # fmt: skip
    prepared, _ = yield from prepare(
        recipe_io.with_overrides(wanted, plain), source, time.perf_counter()
    )
    if not isinstance(prepared.data.dataset.splits["train"].targets, Boxes):
        raise RecipeError("the ladder needs boxes around objects", "`striate train` takes labels.")
    return prepared


def _of_crops(name: str, answered: Answered) -> Rung:
    return Rung(
        name, RUNGS[name], answered.evaluation, answered.seconds, answered.training, answered.notes
    )


def _trained(name: str, source: Any, wanted: Recipe, minutes: float) -> Rung:
    knobs: dict[str, Any] = {
        "model.detector": name, "report.write": False, "data.score_test": False,
    }  # fmt: skip
    if wanted.budget.epochs == "auto":
        knobs["budget.minutes"] = minutes
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        recipe, path = recipe_io.with_overrides(wanted, knobs), Path(folder) / "run"
        for _ in stream(source, recipe=recipe, run=path):
            pass
        took = time.perf_counter() - began
        run = Run(path, None if isinstance(source, str) else source)
        evaluation = run.evaluate(split="test")
        sample = run.sample(split="test", images=TIMED)
        seconds = stage_times(run.predictor, sample.images(range(len(sample))))
        notes = (_lost(run.sample(split="test")),) if name == "grid" else ()
    return Rung(name, RUNGS[name], evaluation, seconds, took, notes)


def _lost(sample: Sample) -> str:
    boxes = sample.placed(range(len(sample)))
    assert isinstance(boxes, Boxes)
    return lost_in_cells(boxes, sample.size)
