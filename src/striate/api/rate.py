"""`striate lr`: which learning rate, with evidence (O6)."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from striate.api.preparing import prepare, rate_for, settings, source_of
from striate.core.recipe import Recipe
from striate.core.records import Note, Record
from striate.training.log import drained
from striate.training.rate_test import RateTest
from striate.training.resolve import check_used


def find_rate(
    data: Any = None, *, recipe: Recipe | str | Path | None = None, **knobs: Any
) -> RateTest:
    """The learning rate for this data, network and recipe: range tests bound the search, short
    trainings decide. Takes what `train` takes; writes nothing."""
    return drained(stream_rate(data, recipe=recipe, **knobs))


def stream_rate(
    data: Any = None, *, recipe: Recipe | str | Path | None = None, **knobs: Any
) -> Generator[Record, None, RateTest]:
    """`find_rate` as records; returns what it found."""
    wanted = settings(data, recipe, {**knobs, "optim.lr": "auto"})
    check_used(wanted)
    source = source_of(data, wanted)
    ready, _ = yield from prepare(wanted, source, time.perf_counter())
    yield Note("info", f"usual for {ready.recipe.optim.rule}: {ready.recipe.optim.lr:g}")
    return (yield from rate_for(ready))
