"""k-fold cross-validation: a run for each fold, the mean and its interval over all (D3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from striate.api.runs import Run
from striate.api.stopping import graceful_stop
from striate.api.stream import MEASURED, continued, stream
from striate.core.errors import RecipeError, RunError
from striate.core.files import write_json
from striate.core.recipe import Recipe
from striate.core.recipe_io import load_recipe, set_knob
from striate.core.records import Finished, Note, Record, Started
from striate.core.run import has_checkpoint, reserve_folder
from striate.data.sources import lasting
from striate.metrics.intervals import mean_interval, wilson
from striate.plan.keep import images_fingerprint, refuse_other_images
from striate.plan.prepare import requested, short_name


@dataclass(frozen=True)
class Folds:
    """The test scores of all folds: mean, deviation, and a 95 % interval of the mean.

    The interval is the wider of Student's over the folds and, where `images` says how many images
    each fold tested, Wilson's of all images together; it stays within 0 and 1, and is NaN where so
    few folds say nothing. The folds share most of their training images, so it is somewhat too
    narrow (Bengio and Grandvalet 2004); the deviation over folds is exact.
    """

    path: Path
    score: str
    values: tuple[float, ...]
    images: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        return float(np.std(self.values, ddof=1))

    @property
    def interval(self) -> tuple[float, float]:
        low, high = mean_interval(self.values)
        low, high = max(0.0, low), min(1.0, high)
        if self.images:
            total = sum(self.images)
            least, most = wilson(self.mean * total, total)
            low, high = min(low, least), max(high, most)
        nothing = low == high or (low <= 0 and high >= 1)
        return (math.nan, math.nan) if nothing else (low, high)


def stream_folds(
    data: Any = None,
    *,
    recipe: Recipe | str | Path | None = None,
    run: str | Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    **knobs: Any,
) -> Iterator[Record]:
    """Train once for each of `data.folds` folds, as one stream of records.

    `run` is a folder of runs, fold-1 to fold-k; given again, finished folds are kept and a broken
    one is continued. A test split that the data brings stays unread. Ends with folds.json.
    """
    wanted = requested(data, recipe, knobs)
    count = wanted.data.folds
    if count < 2 or wanted.data.fold:
        raise RecipeError(f"data.folds: {count} folds", "Two or more are needed (--folds 5).")
    folder = reserve_folder(run, f"{short_name(wanted.data.source)}-{count}-folds")
    like: Path | None = None
    for fold in range(1, count + 1):
        place = folder / f"fold-{fold}"
        one = set_knob(wanted, "data.fold", fold)
        yield Note("info", f"fold {fold} of {count}: {place}")
        if has_checkpoint(place):
            _refuse_other(place, one)
            if like:
                refuse_other_images(images_fingerprint(place), like, str(place))
            records = continued(place, data, stop)
        else:
            records = stream(data, recipe=one, run=place, stop=stop, like=like)
        last: Record | None = None
        for record in records:
            last = record
            yield record
        if not isinstance(last, Finished):
            return
        like = like or place
    found = folds_in(folder, count)
    write_json(
        folder / "folds.json",
        {
            "score": found.score, "folds": list(found.values), "mean": found.mean,
            "deviation": found.deviation, "interval": list(found.interval),
        },
    )  # fmt: skip


def _refuse_other(place: Path, wanted: Recipe) -> None:
    """A fold that is there must be what is asked for now, knob by knob."""
    there = flat(load_recipe(place / "recipe.yaml"))
    knobs = flat(wanted) | {"data.source": lasting(wanted.data.source)}
    measured = (*MEASURED, "budget.epochs", "budget.minutes", "data.exclude")
    other = [k for k, v in knobs.items() if there.get(k) != v and k not in measured]
    if knobs["budget.epochs"] not in ("auto", there["budget.epochs"]):
        other.append("budget.epochs")
    if other:
        raise RunError(
            f"{place} was trained with another {', '.join(other)}",
            "Give --run another folder, or the same knobs again.",
        )


def flat(recipe: Recipe) -> dict[str, Any]:
    """Every knob by its dotted name."""
    groups = asdict(recipe)
    return {
        f"{group}.{name}" if isinstance(knobs, dict) else group: value
        for group, knobs in groups.items()
        for name, value in (knobs.items() if isinstance(knobs, dict) else ((group, knobs),))
    }


def folds_in(folder: str | Path, count: int) -> Folds:
    """The test scores of the finished folds in a folder."""
    root = Path(folder)
    runs = [Run(root / f"fold-{fold}") for fold in range(1, count + 1)]
    finished = [run.finished for run in runs]
    scores = [done.test for done in finished if done]
    name = next(iter(scores[0]))
    images = tuple(int(score["n"]) for score in scores)
    return Folds(root, name, tuple(score[name] for score in scores), images)


def cross_validate(data: Any = None, **given: Any) -> Folds:
    """Train `folds=k` times and return the folds' scores; takes what `stream_folds` takes.

    Ctrl-C finishes the step, saves, and raises KeyboardInterrupt; the same call continues where
    `run` is given.
    """
    path, count = "", 0
    with graceful_stop() as stop:
        for record in stream_folds(data, stop=stop, **given):
            if isinstance(record, Started):
                path = record.run
            count += isinstance(record, Finished)
            last = record
    if not isinstance(last, Finished):
        raise KeyboardInterrupt(f"stopped; continue with run={str(Path(path).parent)!r}")
    return folds_in(Path(path).parent, count)
