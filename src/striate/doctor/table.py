"""Anybody's curves: a CSV or JSON of epoch, train_loss, val_loss, train_acc, val_acc, lr."""

from __future__ import annotations

import csv
import io
import json
import math
import re
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
    them, are put together; rows without an epoch belong to the next one that has it. Of several
    trainings in one table the last is read, which is said.
    """
    table = _as_rows(rows, where)
    names = _columns(table, where)
    values = [
        {ours: _number(row.get(theirs), theirs, i, where) for ours, theirs in names.items()}
        for i, row in enumerate(table)
    ]
    parts = _trainings(_numbered(values, where, dated="epoch" in names))
    merged = parts[-1]
    epoch = np.array(sorted(merged), dtype=np.float64)
    columns = {
        name: np.array([merged[e].get(name, math.nan) for e in epoch.tolist()], dtype=np.float64)
        for name in ("train_loss", "val_loss", "train_score", "val_score", "lr")
    }
    columns = {name: _sparse(values) for name, values in columns.items()}
    absent = [n for n, v in columns.items() if n in names and not np.isfinite(v).any()
              and not _broke(n, columns)]  # fmt: skip
    columns |= {name: np.full(len(epoch), math.nan) for name in absent}
    for name in ("train_score", "val_score"):
        columns[name] = _shares(columns[name], names.get(name, name), where)
    if (columns["lr"] < 0).any():
        raise DataError(f"{where}: {names['lr']} is negative")
    there = names.keys() - set(absent)
    faults = [f"no column for {n}" for n in NAMES if n not in names and n != "epoch"]
    faults += [f"{names[n]} has no number in any row: read as absent" for n in absent]
    if len(parts) > 1:
        faults.append(f"{len(parts)} trainings in one table: the last one is judged")
    if not {"train_loss", "val_loss"} & there:
        if not {"train_score", "val_score"} & there:
            raise DataError(f"{where} has no number in its losses and accuracies", _EXPECTED)
        faults.append("without losses, shares of wrong answers are read instead")
        columns |= {f"{part}_loss": 1 - columns[f"{part}_score"] for part in ("train", "val")}
    none = np.zeros(0)
    gaps = np.diff(epoch)
    if len(gaps) and gaps.max() > 1.5 * gaps.min():
        faults.append("epochs are missing")
    faults.append("taken as a complete training")
    steps = Steps(none, none, none, none)
    return History(Epochs(epoch, **columns), steps, finished=True, faults=tuple(faults))


Values = dict[str, float]


def _numbered(values: list[Values], where: str, *, dated: bool) -> list[tuple[float, Values]]:
    """(epoch, what the row says) of each row. One without an epoch goes with the next that has
    one: loggers write a learning rate before the epoch's losses."""
    if not dated:
        return [(float(i), row) for i, row in enumerate(values)]
    epochs = [row["epoch"] for row in values]
    if not any(map(math.isfinite, epochs)):
        raise DataError(f"{where}: no row has an epoch", "Give every row its number.")
    filled, ahead = [math.nan] * len(epochs), math.nan
    for i in range(len(epochs) - 1, -1, -1):
        ahead = epochs[i] if math.isfinite(epochs[i]) else ahead
        filled[i] = ahead
    last = next(e for e in reversed(epochs) if math.isfinite(e))
    return [(last if math.isnan(e) else e, row) for e, row in zip(filled, values, strict=True)]


def _trainings(rows: list[tuple[float, Values]]) -> list[dict[float, Values]]:
    """The rows by epoch; where epochs begin anew, another training begins."""
    parts: list[dict[float, Values]] = [{}]
    before = -math.inf
    for epoch, row in rows:
        told = {k: v for k, v in row.items() if not math.isnan(v) and k != "epoch"}
        twice = told.keys() & parts[-1].get(epoch, {}).keys() - {"lr"}
        if epoch < before or (epoch == before and twice and _starts(parts[-1], epoch)):
            parts.append({})
        parts[-1].setdefault(epoch, {}).update(told)
        before = epoch
    return [part for part in parts if part]


def _starts(part: dict[float, Values], epoch: float) -> bool:
    """Whether an epoch is the first of several: a training of one epoch is written twice."""
    return len(part) > 1 and epoch == min(part)


def _broke(name: str, columns: Mapping[str, Any]) -> bool:
    """Whether a column that is never finite tells of a training that broke at once: training losses
    do, and where these broke all others."""
    train = columns["train_loss"]
    if name == "train_loss":
        return bool(np.isinf(train).any())
    return bool(np.isinf(columns[name]).any() and len(train) and not np.isfinite(train).any()
                and np.isinf(train).any())  # fmt: skip


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
    if "lr" not in found:  # Lightning's monitor names its optimiser: lr-Adam
        rate = next((k for n, k in theirs.items() if re.match(r"(lr|learning_rate)[_/]", n)), None)
        found |= {} if rate is None else {"lr": rate}
    plain = {"accuracy", "acc", "error_rate"}
    if "valid_loss" in theirs and found.get("train_score") in plain and "val_score" not in found:
        found["val_score"] = found.pop("train_score")  # fastai measures on validation only
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


_GAPS = {"", "na", "n/a", "none", "null", "-", "–", "nan", "#n/a", "<na>"}
"""What programs write where there is no number."""


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _GAPS)


def _number(value: Any, column: str, row: int, where: str) -> float:
    """NaN for what is empty, infinite for what is not finite. Raises DataError for text."""
    if value is None or (isinstance(value, str) and value.strip().lower() in _GAPS - {"nan"}):
        return math.nan
    try:
        number = float(str(value).replace(",", ".") if isinstance(value, str) else value)
        return number if math.isfinite(number) else math.inf
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
