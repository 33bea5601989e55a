"""Anybody's curves: a CSV or JSON of epoch, train_loss, val_loss, train_acc, val_acc, lr."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from striate.core.errors import DataError, perhaps
from striate.doctor.history import Epochs, History, Steps

NAMES = {
    "epoch": ("epoch", "epochs", "ep"),
    "train_loss": (
        "train_loss",
        "loss",
        "training_loss",
        "train/loss",
        "trn_loss",
        "train_loss_epoch",
    ),
    "val_loss": ("val_loss", "valid_loss", "validation_loss", "eval_loss", "val/loss", "test_loss"),
    "train_score": (
        "train_acc",
        "train_accuracy",
        "acc",
        "accuracy",
        "training_accuracy",
        "train/acc",
        "train/accuracy",
        "train_score",
        "train_acc_epoch",
    ),
    "val_score": (
        "val_acc",
        "val_accuracy",
        "valid_acc",
        "validation_accuracy",
        "eval_accuracy",
        "val/acc",
        "val/accuracy",
        "val_score",
        "test_acc",
        "test_accuracy",
        "eval_top1",
    ),
    "lr": ("lr", "learning_rate", "rate", "train/lr"),
}
"""Our column → the names that it has elsewhere, in any case, with blanks or dashes for _."""


def read_table(path: Path) -> History:
    """Curves from a .csv, .tsv, .json or .jsonl. Raises DataError that names what is wrong."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    rows = _rows(text, path) if path.suffix.lower() in (".json", ".jsonl") else _lines(text, path)
    return of_rows(rows, str(path))


def of_rows(rows: Any, where: str = "the table") -> History:
    """Curves from rows (mappings) or from columns by name. Raises DataError.

    A column with accuracies up to 100 is read as percent. Rows of one epoch, as some loggers write
    them, are put together.
    """
    table = _as_rows(rows, where)
    names = _columns(table, where)
    merged: dict[float, dict[str, float]] = {}
    for number, row in enumerate(table):
        values = {
            ours: _number(row.get(theirs), theirs, number, where) for ours, theirs in names.items()
        }
        key = values.get("epoch", float(number))
        if math.isnan(key):
            raise DataError(f"{where}, row {number + 1}: no epoch", "Give every row its number.")
        known = {k: v for k, v in values.items() if not _empty(row.get(names[k]))}
        merged.setdefault(key, {}).update(known)
    ordered = [merged[key] for key in sorted(merged)]
    columns = {
        name: np.array([row.get(name, math.nan) for row in ordered], dtype=np.float64)
        for name in ("train_loss", "val_loss", "train_score", "val_score", "lr")
    }
    columns = {name: _sparse(values) for name, values in columns.items()}
    for name in ("train_score", "val_score"):
        columns[name] = _shares(columns[name], names.get(name, name), where)
    if (columns["lr"] < 0).any():
        raise DataError(f"{where}: {names['lr']} is negative")
    faults = [f"no column for {n}" for n in NAMES if n not in names and n != "epoch"]
    if not {"train_loss", "val_loss"} & names.keys():
        faults.append("without losses, shares of wrong answers are read instead")
        columns |= {f"{part}_loss": 1 - columns[f"{part}_score"] for part in ("train", "val")}
    epoch = np.array(sorted(merged), dtype=np.float64)
    none = np.zeros(0)
    gaps = np.diff(epoch)
    if len(gaps) and gaps.max() > 1.5 * gaps.min():
        faults.append("epochs are missing")
    faults.append("taken as a complete training")
    steps = Steps(none, none, none, none)
    return History(Epochs(epoch, **columns), steps, finished=True, faults=tuple(faults))


def _as_rows(rows: Any, where: str) -> list[Mapping[str, Any]]:
    if hasattr(rows, "to_dict"):  # a pandas data frame
        rows = rows.to_dict("list")
    if isinstance(rows, Mapping):
        lengths = {len(v) for v in rows.values() if isinstance(v, Sequence | np.ndarray)}
        if len(lengths) != 1 or not all(
            isinstance(v, Sequence | np.ndarray) for v in rows.values()
        ):
            raise DataError(
                f"{where}: expected columns of one length",
                'Such as {"train_loss": [2.3, 1.9], "val_loss": [2.2, 1.8]}, or a list of rows.',
            )
        rows = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
    found = list(rows)
    if not found:
        raise DataError(f"{where} has no rows")
    wrong = next((i for i, row in enumerate(found) if not isinstance(row, Mapping)), None)
    if wrong is not None:
        raise DataError(f"{where}, row {wrong + 1}: expected names with values", _EXPECTED)
    return found


_EXPECTED = (
    "Expected columns: epoch, train_loss, val_loss, train_acc, val_acc, lr, or some of them."
)


def _columns(table: Iterable[Mapping[str, Any]], where: str) -> dict[str, str]:
    """Our column → theirs, for those that there are."""
    theirs = {_plain(str(k)): k for row in table for k in row if k is not None}
    found = {
        ours: next(theirs[n] for n in names if n in theirs)
        for ours, names in NAMES.items()
        if any(n in theirs for n in names)
    }
    if not {"train_loss", "val_loss", "train_score", "val_score"} & found.keys():
        seen = ", ".join(map(str, theirs.values())) or "nothing"
        known = [n for names in NAMES.values() for n in names]
        hints = [perhaps(n, known) for n in theirs][:1]
        raise DataError(
            f"{where} has no losses or accuracies: {seen}",
            "\n".join([_EXPECTED, *hints]),
        )
    return found


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _number(value: Any, column: str, row: int, where: str) -> float:
    """NaN for what is empty, infinite for what is not finite. Raises DataError for text."""
    if _empty(value):
        return math.nan
    try:
        return float(value) if math.isfinite(float(value)) else math.inf
    except (TypeError, ValueError):
        raise DataError(f"{where}, row {row + 1}: {column} is {value!r}, not a number") from None


def _sparse(values: Any) -> Any:
    """What is not finite and followed by numbers was only not logged (data frames hold NaN)."""
    finite = np.flatnonzero(np.isfinite(values))
    last = finite[-1] if len(finite) else -1
    before = np.arange(len(values)) < last
    return np.where(before & ~np.isfinite(values), math.nan, values)


def _shares(values: Any, column: str, where: str) -> Any:
    known = values[np.isfinite(values)]
    if not len(known):
        return values
    if known.min() < 0 or known.max() > 100:
        raise DataError(
            f"{where}: {column} runs from {known.min():g} to {known.max():g}",
            "Accuracies are shares from 0 to 1, or percent.",
        )
    return values / 100 if known.max() > 1 else values


def _lines(text: str, path: Path) -> list[dict[str, Any]]:
    try:
        dialect = csv.Sniffer().sniff(text[:4096], delimiters=",;\t")
    except csv.Error:
        dialect = csv.excel  # one column
    try:
        rows = list(csv.DictReader(io.StringIO(text), dialect=dialect, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{path} is no table: {error}") from None
    if rows and any(None in row for row in rows):
        line = next(i for i, row in enumerate(rows) if None in row) + 2
        raise DataError(f"{path}, line {line}, has more cells than the first line has names")
    return rows


def _rows(text: str, path: Path) -> Any:
    try:
        if path.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from None
