"""`striate runs [DIR]`: a table of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from striate.cli.flags import parse
from striate.core.errors import RunError
from striate.core.records import Epoch, Finished, Planned
from striate.core.run import RunDirectory, find_runs, is_locked
from striate.core.words import clock


def runs(argv: Sequence[str]) -> int:
    """Show the runs in a folder."""
    return int(parse(_runs, "runs", argv))


def _runs(
    folder: Annotated[Path, tyro.conf.Positional] = Path("runs"),
    prune: bool = False,
) -> int:
    """A table of the runs in a folder.

    Args:
        folder: where runs are
        prune: delete all checkpoints but the best and the last of each run
    """
    if not folder.exists() and folder == Path("runs"):
        print("no runs here yet: `striate train` makes the first")
        return 0
    found = find_runs(folder)
    if not found:
        print(f"no runs in {folder}")
        return 0
    table = Table()
    table.add_column("run", overflow="fold")
    for column in ("model", "epochs", "val", "test", "time", "state"):
        table.add_column(column, justify="left" if column in ("model", "state") else "right")
    for run in found:
        table.add_row(run.path.name, *_row(run))
    Console(highlight=False).print(table)
    if prune:
        _prune(found)
    return 0


def _row(run: RunDirectory) -> tuple[str, ...]:
    try:
        records = list(run.records())
    except RunError:
        return ("–", "–", "–", "–", "–", "damaged")
    plan = _last(records, Planned)
    epoch, done = _last(records, Epoch), _last(records, Finished)
    if not plan:
        state = "preparing" if is_locked(run.path) else "not begun"
        return ("–", "–", "–", "–", "–", state)
    val = done.val.get(plan.score) if done else epoch.val_score if epoch else None
    test = done.test.get(plan.score) if done else None
    return (
        plan.model,
        f"{epoch.epoch if epoch else 0}/{plan.epochs}",
        "–" if val is None else f"{val:.4f}",
        "–" if test is None else f"{test:.4f}",
        clock(done.seconds) if done else "–",
        "finished" if done else "running" if is_locked(run.path) else "can be resumed",
    )


def _last(records: list[Any], kind: type) -> Any:
    return next((record for record in reversed(records) if isinstance(record, kind)), None)


def _prune(found: list[RunDirectory]) -> None:
    from striate.training.checkpoints import prune

    freed = sum(prune(run.checkpoints) for run in found)
    print(f"kept the best and the last checkpoint of each run; freed {freed / 1e6:.1f} MB")
