"""Checks before hours are spent: every finding as it is made (T1, T3)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from striate.core.errors import RecipeError
from striate.core.files import write_json
from striate.core.findings import Finding
from striate.core.recipe import Recipe
from striate.core.records import Record
from striate.core.run import PREFLIGHT
from striate.core.strict_json import finite
from striate.plan.prepare import prepare, requested, source_of
from striate.plan.refuse import check_used
from striate.preflight.bench import Bench
from striate.preflight.checks import CHECKS


def run_preflight(
    data: Any = None, *, recipe: Recipe | str | Path | None = None, **knobs: Any
) -> list[Finding]:
    """Try a training before it costs hours; takes what `train` takes.

    The findings' verdicts: "fail" (do not train so), "warn", "undetermined", "note", "pass".
    Nothing is written. Raises DataError, RecipeError or ModelError where there is nothing to try.
    """
    stream = stream_preflight(data, recipe=recipe, **knobs)
    return [record for record in stream if isinstance(record, Finding)]


def stream_preflight(
    data: Any = None, *, recipe: Recipe | str | Path | None = None, **knobs: Any
) -> Iterator[Record]:
    """`run_preflight` as records: what preparing says, then each finding as it is made."""
    wanted = requested(data, recipe, knobs)
    check_used(wanted)
    if wanted.data.folds and not wanted.data.fold:
        raise RecipeError("data.folds: several trainings", "Name one fold: --data.fold 1.")
    source = source_of(data, wanted)
    began = time.perf_counter()
    prepared, decisions = yield from prepare(wanted, source, began)
    bench = Bench(prepared, decisions.made, time.perf_counter() - began)
    for check in CHECKS.values():
        found = check(bench)
        yield from found if isinstance(found, list) else [found]


def keep_preflight(folder: Path, found: list[Finding]) -> None:
    """Write preflight.json into a run directory, for its report."""
    values = {"findings": [asdict(finding) for finding in found]}
    write_json(folder / PREFLIGHT, finite(values))
