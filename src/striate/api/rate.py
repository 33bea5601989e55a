"""`striate lr`: which learning rate, with evidence (O6)."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from striate.core.recipe import Recipe
from striate.core.records import Note, Record
from striate.plan.prepare import prepare, rate_for, requested, source_of
from striate.plan.rate_test import RateTest
from striate.plan.refuse import check_used
from striate.training.log import drained


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
    wanted = requested(data, recipe, {**knobs, "optim.lr": "auto"})
    check_used(wanted)
    source = source_of(data, wanted)
    prepared, _ = yield from prepare(wanted, source, time.perf_counter())
    yield Note("info", f"usual for {prepared.settled.rule}: {prepared.settled.lr:g}")
    return (yield from rate_for(prepared))
