"""The doctor's rules over a run, a table of curves, or records: afterwards, and live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from striate.core.errors import DataError
from striate.core.recipe_io import flat
from striate.core.run import RunDirectory
from striate.doctor.diagnosis import Diagnosis
from striate.doctor.diagnosis import diagnose as judge
from striate.doctor.history import History, of_records
from striate.doctor.table import of_rows, read_table
from striate.plan.recall import settled_recipe

TABLES = (".csv", ".tsv", ".json", ".jsonl")


def diagnose(source: Any) -> Diagnosis:
    """What is wrong with a training, how sure that is, why, and what to do (T5).

    source: a run (its folder or a `Run`), records as `stream` yields them, or anybody's curves – a
    CSV or JSON file, rows, columns or a data frame of epoch, train_loss, val_loss, train_acc,
    val_acc, lr, or some of them. Raises RunError or DataError for what is damaged.
    """
    return judge(history_of(source))


def history_of(source: Any) -> History:
    """What `diagnose` judges."""
    if isinstance(source, RunDirectory):
        return of_run(source)
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_file() and path.suffix.lower() in TABLES:
            return read_table(path)
        if path.is_file():
            raise DataError(
                f"{path} is neither a run nor a table of curves",
                "Give a folder made by `striate train`, or a .csv or .json with losses by epoch.",
            )
        return of_run(RunDirectory(path))
    if isinstance(source, Mapping) or hasattr(source, "to_dict"):
        return of_rows(source)
    if not isinstance(source, Iterable):
        raise DataError(
            f"cannot diagnose a {type(source).__name__}",
            "Expected a run, records, a CSV or JSON file, rows or columns.",
        )
    items = iter(source)
    first = next(items, None)
    if first is None:
        raise DataError("nothing to diagnose: it has no rows and no records")
    whole = chain([first], items)
    return of_records(whole) if is_dataclass(first) else of_rows(list(whole))


def of_run(run: RunDirectory) -> History:
    """The history of a run, with its recipe. Raises RunError for a damaged log."""
    return of_records(run.records(), flat(settled_recipe(run)))
