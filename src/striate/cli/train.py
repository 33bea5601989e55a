"""`striate train` and `striate resume`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import tyro

from striate.cli.flags import TrainFlags, parse, parse_train, refuse_below_one
from striate.cli.launch import first, launch, launched, restarted, without
from striate.cli.view import closing_table, program, show
from striate.core.records import Finished, Record, Started, to_json
from striate.core.run import has_checkpoint, reserve_run
from striate.core.strict_json import one_line


def train(argv: Sequence[str]) -> int:
    """Train and show it; 130 if interrupted."""
    flags = parse_train(argv)
    refuse_below_one(procs=flags.procs)
    from striate.api.stopping import graceful_stop
    from striate.api.stream import stream

    if flags.procs > 1 and not launched():
        return _train_together(argv, flags)
    if flags.knobs.data.folds and not flags.knobs.data.fold:
        return _train_folds(flags)
    if restarted() and flags.run and has_checkpoint(flags.run):
        return _resume(flags.run, json=flags.json, sink=flags.sink)
    with graceful_stop() as stop:
        records = stream(recipe=flags.knobs, run=flags.run, stop=stop)
        return watch(records, as_json=flags.json, sinks=flags.sink)


def _train_together(argv: Sequence[str], flags: TrainFlags) -> int:
    """Start the processes; each runs the same command."""
    from striate.plan.prepare import short_name

    folder = reserve_run(flags.run, short_name(flags.knobs.data.source))
    command = ["train", *without(argv, "--procs")]
    return launch(command if flags.run else [*command, "--run", str(folder)], flags.procs, folder)


def _train_folds(flags: TrainFlags) -> int:
    """A run for each fold, then the mean with its interval."""
    from striate.api.folds import folds_in, stream_folds
    from striate.api.stopping import graceful_stop

    with graceful_stop() as stop:
        path, last = show(stream_folds(recipe=flags.knobs, run=flags.run, stop=stop))
    folder, count = Path(path).parent, flags.knobs.data.folds
    if not isinstance(last, Finished):
        raise KeyboardInterrupt(
            f"stopped and saved. Continue with the same command and --run {folder}"
        )
    found = folds_in(folder, count)
    for number, value in enumerate(found.values, start=1):
        print(f"fold {number}: test {found.score} {value:.4f}")
    low, high = found.interval
    interval = (
        f"95 % interval {low:.4f} to {high:.4f}"
        if low == low  # noqa: PLR0124 - NaN
        else "too few folds and images for an interval"
    )
    print(f"mean {found.mean:.4f}, {interval}, deviation over folds {found.deviation:.4f}. "
          f"The runs: {folder}")  # fmt: skip
    if flags.json:
        print(one_line({"run": str(folder), "score": found.score, "folds": list(found.values),
                          "mean": found.mean, "interval": [low, high]}))  # fmt: skip
    return 0


def resume(argv: Sequence[str]) -> int:
    """Continue a run and show it."""
    return int(parse(_resume, "resume", argv))


def _resume(
    run: Annotated[Path, tyro.conf.Positional],
    data: Annotated[str | None, tyro.conf.Positional] = None,
    json: bool = False,
    epochs: int | None = None,
    sink: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
) -> int:
    """Continue a run from its last good checkpoint.

    Args:
        run: the run directory
        data: where its data are now, if they were moved
        json: print one JSON object as the last line
        epochs: extend the run to this number of epochs, more than were planned
        sink: give the figures to csv, tensorboard, wandb or mlflow too
    """
    from striate.api.stopping import graceful_stop
    from striate.api.stream import resume as resumed

    with graceful_stop() as stop:
        records = resumed(run, data=data, epochs=epochs, stop=stop)
        return watch(records, as_json=json, sinks=sink)


def _doctor(run: Path) -> dict[str, object]:
    """What the doctor said at the end: its verdict, and the rules that fired."""
    path = run / "findings.json"
    if not path.exists():
        return {}
    said = json.loads(path.read_text(encoding="utf-8"))
    keys = ("rule", "verdict", "confidence", "remedies")
    findings = [{k: f[k] for k in keys} for f in said["findings"]]
    return {"doctor": {"verdict": said["verdict"], "findings": findings}}


def _telling(records: Iterator[Record], begun: Callable[[Path], object]) -> Iterator[Record]:
    for record in records:
        if isinstance(record, Started):
            begun(Path(record.run))
        yield record


def watch(
    records: Iterator[Record],
    *,
    as_json: bool,
    begun: Callable[[Path], object] = lambda _: None,
    sinks: Sequence[str] = (),
) -> int:
    """Show a training to its end; `begun` is called with the run as soon as it is there. sinks: the
    names of those that get its figures too."""
    from striate.api.sinks import into

    if not first():  # of several processes the first speaks
        for _ in records:
            pass
        return 0
    path, last = show(_telling(into(sinks, records), begun))
    if not isinstance(last, Finished):
        raise KeyboardInterrupt(f"stopped and saved. Continue with: {program()} resume {path}")
    closing_table(last)
    if as_json:
        values = json.loads(to_json(last))
        shown = ("run", "epochs", "seconds", "train", "val", "test")
        print(one_line({**{k: values[k] for k in shown}, **_doctor(Path(last.run))}))
    return 0
