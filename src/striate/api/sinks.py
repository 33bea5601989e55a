"""A training's figures for other programs: TensorBoard, CSV, Weights & Biases, MLflow.

The run's own log stays the truth; a sink gets its figures as they come, or afterwards (`replay`).
What goes wrong in a sink is said once, and never costs the training.
"""

from __future__ import annotations

import contextlib
import csv as csv_files
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from striate.core import recipe_io
from striate.core.errors import MissingExtraError, RunError, perhaps
from striate.core.records import Epoch, Finished, Note, Planned, Record, Started, Step
from striate.core.run import RunDirectory
from striate.plan.recall import settled_recipe

Figures = dict[str, float]
Write = Callable[[int, Figures], None]
Sink = Callable[[Path, int], AbstractContextManager[Write]]
"""(the run, steps that are done already) → what takes the figures of a step."""
COLUMNS = ("train/loss", "train/rate", "train/gradient_norm", "train/images_per_second",
           "train/epoch_loss", "val/loss", "val/score")  # fmt: skip


def into(names: Sequence[str], records: Iterable[Record]) -> Iterator[Record]:
    """The records, unchanged, on their way through sinks; notes where one of these ends early.

    Raises RunError for a sink that is not known, and MissingExtraError or RunError for one whose
    package is not there, before the first record is asked for.
    """
    sinks = {name: find_sink(name) for name in names}
    return _through(sinks, records)


def replay(run: str | Path, name: str) -> int:
    """Give all figures of a run to a sink; returns how many times there were some. Raises
    RunError."""
    directory, count = RunDirectory(run), 0
    with find_sink(name)(directory.path, 0) as write:
        last = 0
        for record in directory.records():
            last, figures = figures_of(record, last)
            if figures:
                write(last, figures)
                count += 1
    return count


def find_sink(name: str) -> Sink:
    """The sink, its package at hand."""
    if name not in SINKS:
        raise RunError(f"no sink '{name}'", perhaps(name, SINKS))
    package, sink = SINKS[name]
    if package:
        try:
            importlib.import_module(package)
        except ImportError:
            why = f"for the sink {name}"
            if name in WITH_EXTRA:
                raise MissingExtraError(package, name, why) from None
            raise RunError(
                f"{package} is not installed; it is needed {why}",
                f"python -m pip install {package}",
            ) from None
    return sink


def figures_of(record: Record, step: int) -> tuple[int, Figures]:
    """(its step, the figures of a record by name); the step as given where it has none."""
    if isinstance(record, Step):
        terms = {f"train/{name}": value for name, value in record.terms.items()}
        return record.step, {
            "train/loss": record.loss, "train/rate": record.lr,
            "train/gradient_norm": record.gradient_norm,
            "train/images_per_second": record.images_per_second, **terms,
        }  # fmt: skip
    if isinstance(record, Epoch):
        return record.step, {
            "train/epoch_loss": record.train_loss, "val/loss": record.val_loss,
            "val/score": record.val_score,
        }  # fmt: skip
    if isinstance(record, Finished):
        splits = {"train": record.train, "val": record.val, "test": record.test}
        return step, {
            f"final/{split}/{name}": float(value)
            for split, scores in splits.items()
            for name, value in scores.items()
            if isinstance(value, int | float)
        }
    return step, {}


def _through(sinks: dict[str, Sink], records: Iterable[Record]) -> Iterator[Record]:
    run, step = Path(), 0
    opened: dict[str, tuple[AbstractContextManager[Write], Write]] = {}
    try:
        for record in records:
            if isinstance(record, Started):
                run = Path(record.run)
            if isinstance(record, Planned):
                for name, sink in sinks.items():
                    try:
                        entered = sink(run, record.step)
                        opened[name] = entered, entered.__enter__()
                    except Exception as error:  # foreign code
                        yield _ended(name, error)
            step, figures = figures_of(record, step)
            for name in list(opened) if figures else ():
                try:
                    opened[name][1](step, figures)
                except Exception as error:  # foreign code
                    _close(opened.pop(name)[0])
                    yield _ended(name, error)
            if isinstance(record, Finished):  # which stays the last record
                yield from _closed(opened)
            yield record
        yield from _closed(opened)
    finally:  # the training ended with an error, or nobody asks for more records
        for entered, _ in opened.values():
            _close(entered)


def _closed(opened: dict[str, tuple[AbstractContextManager[Write], Write]]) -> Iterator[Note]:
    for name in list(opened):
        if error := _close(opened.pop(name)[0]):
            yield Note(
                "warning",
                f"the sink {name} could not be closed ({_why(error)}), and its last figures may be "
                "missing there. The run has all of them: `striate replay` sends them once more",
            )


def _close(sink: AbstractContextManager[Write]) -> Exception | None:
    """What went wrong while a sink closed: its server may be gone by then."""
    try:
        sink.__exit__(None, None, None)
    except Exception as error:  # foreign code
        return error
    return None


def _ended(name: str, error: Exception) -> Note:
    text = f"the sink {name} takes no more figures ({_why(error)}); the training goes on"
    return Note("warning", text)


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


@contextlib.contextmanager
def csv(run: Path, done: int) -> Iterator[Write]:
    """RUN/metrics.csv, a row for each step and epoch."""
    path, kept = run / "metrics.csv", []
    if done and path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            kept = [
                row for row in csv_files.reader(file) if row[0].isdigit() and int(row[0]) <= done
            ]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv_files.writer(file)
        table.writerow(("step", *COLUMNS))
        table.writerows(kept)

        def write(step: int, figures: Figures) -> None:
            if figures.keys() & set(COLUMNS):
                table.writerow((step, *(figures.get(name, "") for name in COLUMNS)))
                file.flush()

        yield write


@contextlib.contextmanager
def tensorboard(run: Path, done: int) -> Iterator[Write]:
    """RUN/tensorboard: `tensorboard --logdir RUN`."""
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(run / "tensorboard", purge_step=done + 1 if done else None)
    try:
        yield lambda step, figures: _each(writer.add_scalar, figures, step)
    finally:
        writer.close()


@contextlib.contextmanager
def wandb(run: Path, done: int) -> Iterator[Write]:
    """Weights & Biases; project and mode as its own variables say (WANDB_PROJECT, WANDB_MODE)."""
    import wandb as client

    opened = client.init(
        name=run.name, id=run.name, resume="allow" if done else None, dir=run, config=_knobs(run)
    )
    try:
        yield lambda step, figures: opened.log(figures, step=step)
    finally:
        opened.finish()


@contextlib.contextmanager
def mlflow(run: Path, _: int) -> Iterator[Write]:
    """MLflow; server and experiment as its own variables say (MLFLOW_TRACKING_URI …)."""
    import mlflow as client

    with client.start_run(run_name=run.name):
        client.log_params({k: str(v)[:250] for k, v in _knobs(run).items()})
        yield lambda step, figures: client.log_metrics(figures, step=step)


def _each(add: Callable[..., None], figures: Figures, step: int) -> None:
    for name, value in figures.items():
        add(name, value, step)


def _knobs(run: Path) -> dict[str, Any]:
    return dict(recipe_io.flat(settled_recipe(RunDirectory(run))))


SINKS: dict[str, tuple[str, Sink]] = {
    "csv": ("", csv),
    "tensorboard": ("tensorboard", tensorboard),
    "wandb": ("wandb", wandb),
    "mlflow": ("mlflow", mlflow),
}
"""Name → (package that it needs, sink)."""
WITH_EXTRA = ("tensorboard",)
"""Those whose package an extra of the same name brings."""
