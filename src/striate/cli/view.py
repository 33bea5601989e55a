"""What a person sees: a live view in a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from striate.core.findings import Finding
from striate.core.records import Epoch, Finished, Note, Planned, Record, Started, Step
from striate.core.words import clock

if TYPE_CHECKING:
    from striate.metrics.summary import Figures

T = TypeVar("T")
_BARS = "▁▂▃▄▅▆▇█"
_CLASSES_SHOWN = 20
_SCORES_ACROSS = 8


class Progress:
    """What has been seen so far, and how it looks now."""

    def __init__(self) -> None:
        self.plan: Planned | None = None
        self.step: Step | None = None
        self.epochs: list[Epoch] = []
        self.losses: list[float] = []
        self.began = time.monotonic()
        self.first_step = 0
        self.knows_loss = True

    def see(self, record: Record) -> None:
        if isinstance(record, Planned):
            from striate.tasks import knows_loss

            self.plan, self.began, self.first_step = record, time.monotonic(), record.step
            self.knows_loss = knows_loss(record.loss)
        elif isinstance(record, Step):
            self.step = record
            self.losses.append(record.loss)
        elif isinstance(record, Epoch):
            self.epochs.append(record)

    def seconds_left(self) -> float | None:
        """By the mean pace since the start, validation included."""
        if not self.plan or not self.step or self.step.step <= self.first_step:
            return None
        pace = (time.monotonic() - self.began) / (self.step.step - self.first_step)
        return pace * (self.plan.steps - self.step.step)

    def render(self, width: int) -> RenderableType:
        """Two or three lines that fit `width` columns."""
        if not self.plan or not self.step:
            return Text("preparing …", style="dim")
        left = self.seconds_left()
        head = f"epoch {self.step.epoch + 1}/{self.plan.epochs}  "
        tail = f"  {clock(left)} left" if left is not None else ""
        bar = ProgressBar(
            self.plan.steps, self.step.step, width=max(5, width - len(head) - len(tail) - 1)
        )
        top = Table.grid()
        top.add_row(head, bar, tail)
        facts = f"loss {self.step.loss:.3f}  rate {self.step.lr:.3g}"
        if self.epochs:
            facts += f"  val {_name(self.plan.score)} {self.epochs[-1].val_score:.4f}"
        facts += f"  {self.step.images_per_second:,.0f} images/s"
        curve = "loss " + sparkline(self.losses, max(5, min(width - 6, 60)))
        lines = [Text(facts, overflow="ellipsis", no_wrap=True), Text(curve, style="cyan")]
        return Group(top, *lines)


def show(records: Iterator[Record]) -> tuple[str, Record | None]:
    """Watch to the end: (the run's path, the last record)."""
    console = Console(highlight=False)
    progress, path, last = Progress(), "", None
    if not console.is_terminal:
        for record in records:
            progress.see(record)
            path = record.run if isinstance(record, Started) else path
            for line in plain_lines(record, progress):
                print(line, flush=True)
            last = record
        return path, last
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        for record in records:
            progress.see(record)
            path = record.run if isinstance(record, Started) else path
            for line in plain_lines(record, progress, log=False):
                live.console.print(Text(line, style=_style(record)))
            live.update(progress.render(console.width))
            last = record
    return path, last


def plain_lines(record: Record, progress: Progress, *, log: bool = True) -> list[str]:
    """What a record says in a log, or above the live view; steps say nothing.

    Losses and score of an epoch: training, then validation; a star marks the best so far.
    """
    match record:
        case Started(run=run):
            return [f"run {run}"] if run else []
        case Note(level=level, text=text):
            return [f"{'warning: ' if level == 'warning' else ''}{text}"]
        case Finding():
            tried = [f"    try {record.remedies[0]}"] if record.remedies else []
            return [f"doctor: {record.rule.replace('_', ' ')}: {record.text}", *tried]
        case Planned():
            done = f", {record.step:,} done" if record.step else ""
            return [
                f"{record.model}: {record.parameters:,} parameters; {_epochs(record.epochs)}, "
                f"{record.steps:,} steps{done}"
            ]
        case Epoch():
            left = progress.seconds_left()
            score = progress.plan.score if progress.plan else "score"
            ahead = f", {clock(left)} left" if left is not None and left > 0.5 and log else ""
            val = f"val {record.val_loss:.3f}  " if progress.knows_loss else ""
            return [
                f"epoch {record.epoch:>3}  loss {record.train_loss:.3f}  "
                f"{val}{_name(score)} {record.val_score:.4f}"
                f"{' *' if record.best else '  '}  {record.seconds:.1f} s{ahead}"
            ]
        case _:
            return []


def result_tables(
    done: Finished,
    rows: list[dict[str, Any]],
    confusions: list[dict[str, Any]],
    split: str,
    intervals: Mapping[str, Any] | None = None,
) -> None:
    """Scores by class, worst confusions, scores by split, and how long it took."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    if rows:
        console.print(class_table(rows, split))
    for pair in confusions[:3]:
        console.print(f"{pair['n']} × {pair['true']} taken for {pair['predicted']}", markup=False)
    scores = {"train": done.train, "val": done.val, "test": done.test}
    console.print(score_table(scores, intervals))
    ended = " (early: validation stopped improving)" if done.reason == "patience" else ""
    print(f"\n{_epochs(done.epochs)} in {clock(done.seconds)}{ended}.", end="")
    print(f" The run: {done.run}" if done.run else "")


def closing_table(done: Finished) -> None:
    """The results that a finished run wrote, and what to try next."""
    path = Path(done.run) / "scores.json"
    scores: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    result_tables(
        done, scores.get("per_class", []), scores.get("confusions", []),
        scores.get("split", "test"),
        {name: scores[name]["intervals"] for name in ("train", "val", "test") if name in scores},
    )  # fmt: skip
    print("Try next:")
    striate = program()
    if (Path(done.run) / "report.html").is_file():
        print(f"  {done.run}/report.html   all of it on one page")
    print(f"  {striate} predict {done.run} IMAGE…   your own pictures")
    print(f"  {striate} evaluate {done.run} DATA    other data")
    print(f"  {striate} train FOLDER   your own classes")


def program() -> str:
    """What to type: `striate` where the shell finds it, else the path that was used."""
    called = sys.argv[0]
    return "striate" if shutil.which("striate") or not called.endswith("striate") else called


def class_table(rows: list[dict[str, Any]], split: str) -> Table:
    """The scores of each class; of many classes the worst."""
    columns = [key for key in rows[0] if key not in ("class", "n")]
    shown, title = rows, f"{split} scores by class"
    if len(rows) > _CLASSES_SHOWN:
        shown = sorted(rows, key=lambda row: _known(row[columns[-1]], 2.0))[:_CLASSES_SHOWN]
        title = f"{split} scores, the worst {_CLASSES_SHOWN} of {len(rows)} classes"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=30)
    for column in ("images", *columns):
        table.add_column("F1" if column == "f1" else _name(column), justify="right")
    for row in shown:
        ratios = (_cell(row[key]) for key in columns)
        table.add_row(Text(row["class"]), f"{row['n']:,}", *ratios)
    return table


def _cell(value: Any) -> str:
    """A count or a share."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{v:.3f}" if (v := _known(value, -1.0)) >= 0 else "–"


def _known(value: float | None, otherwise: float) -> float:
    """A figure, or what stands for one that does not exist."""
    return otherwise if value is None or math.isnan(value) else value


def score_table(
    splits: dict[str, dict[str, float]], intervals: Mapping[str, Any] | None = None
) -> Table:
    """A row for each split, a column for each score; behind the first its 95 % interval, where it
    is known by split and score."""
    known = {name: scores for name, scores in splits.items() if scores}
    columns = list(dict.fromkeys(key for scores in known.values() for key in scores))
    if len(columns) > _SCORES_ACROSS:
        return _tall_table(known, columns, intervals or {})
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for place, column in enumerate(columns):
        table.add_column("images" if column == "n" else _name(column), justify="right")
        if place == 0 and intervals:
            table.add_column("95 % interval", justify="right", no_wrap=True)
    for name, scores in known.items():
        figures = [_figure(key, scores.get(key)) for key in columns]
        if intervals:
            pair = intervals.get(name, {}).get(columns[0])
            figures.insert(1, f"{pair[0]:.3f}–{pair[1]:.3f}" if pair else "–")
        table.add_row(name, *figures)
    return table


def _tall_table(
    known: Mapping[str, Mapping[str, float]], columns: list[str], intervals: Mapping[str, Any]
) -> Table:
    """The same with a row for each score, where there are many; scores that no split has are left
    out, and the interval is of the last split."""
    table = Table(box=None, pad_edge=False)
    for name in ("", *known):
        table.add_column(name, justify="right" if name else "left")
    last = [*known][-1]
    table.add_column("95 % interval", justify="right", no_wrap=True)
    for column in columns:
        figures = [_figure(column, scores.get(column)) for scores in known.values()]
        pair = intervals.get(last, {}).get(column)
        if any(figure != "–" for figure in figures):
            told = f"{pair[0]:.3f}–{pair[1]:.3f}" if pair else ""
            table.add_row("images" if column == "n" else _name(column), *figures, told)
    return table


def figure_table(found: Figures, split: str) -> Table:
    """A row for each score of a split, with its 95 % interval."""
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{split}, {found.scores['n']:,} images")
    table.add_column("", justify="right")
    table.add_column("95 % interval", justify="right")
    for name, value in found.scores.items():
        if name == "n":
            continue
        low, high = found.intervals.get(name, (math.nan, math.nan))
        pair = f"{low:.4f} to {high:.4f}" if math.isfinite(low) else "–"
        table.add_row(_name(name), _figure(name, value), pair)
    return table


def _figure(key: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,}" if key == "n" else f"{value:.4f}"


def sparkline(values: list[float], width: int) -> str:
    """A small curve: means of `width` equal stretches, low to high."""
    if not values:
        return ""
    count = min(width, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count > 1 else ''}"


def _name(score: str) -> str:
    """A score's name as people say it; `plain_…` is that of a single view of each image."""
    if score.startswith("plain_"):
        return f"{score.removeprefix('plain_').replace('_', ' ')}, one view"
    return score.replace("_", " ")


def _style(record: Record) -> str:
    if isinstance(record, Finding):
        return "yellow"
    if isinstance(record, Note):
        return "yellow" if record.level == "warning" else "dim"
    return ""


_MARKS = {
    "fail": ("✗", "bold red"),
    "sick": ("✗", "bold red"),
    "warn": ("!", "yellow"),
    "undetermined": ("?", "cyan"),
    "note": ("·", "dim"),
    "pass": ("✓", "green"),
}


def notes_shown(records: Generator[Record, None, T], *, quiet: bool) -> T:
    """Run a stream to its end, printing its notes as they come, and return what it returns."""
    from striate.training.log import drained, seen_by

    def show_note(record: Record) -> None:
        if isinstance(record, Note) and not quiet:
            print(record.text, flush=True)

    return drained(seen_by(show_note, records))


def print_findings(findings: Iterable[Finding]) -> None:
    """Each with its mark, and what to do about those that ask for something."""
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        mark, style = _MARKS[finding.verdict]
        console.print(Text(f"{mark} ", style=style) + Text(finding.text))
        if finding.remedy and finding.verdict in ("fail", "warn", "undetermined"):
            console.print(Text(f"    {finding.remedy}", style="dim"))


def plain_table(first: str, *others: str) -> Table:
    """Plain columns; in a narrow terminal the first is folded and figures stay whole."""
    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="fold", min_width=10)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
