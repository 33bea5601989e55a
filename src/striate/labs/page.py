"""A lab's finding as a page, and all findings as a book."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

import striate
from striate.core.files import write_atomically
from striate.labs.claims import ELSEWHERE
from striate.labs.lab import VERDICTS, Chart, Figure, Finding, short
from striate.report.charts import Line, line_chart
from striate.report.page import md, render
from striate.report.pictures import Figure as Shown
from striate.report.pictures import tile
from striate.report.plots import save_curves

_WIDE = 720
"""Pixels of a picture's longer side."""


def lab_html(finding: Finding) -> str:
    """A page that needs nothing else."""
    lab, trial = finding.lab, finding.trials[0]
    return render(
        "lab.html.j2", lab=lab, lesson=_coded(lab.lesson), verdict=finding.verdict,
        meaning=VERDICTS[finding.verdict], done=_coded(lab.done), first=_first(finding),
        seeds=len(finding.trials), seed=finding.seed, seconds=f"{finding.seconds:.1f}",
        figures=[_row(figure) for figure in finding.figures.values()], rows=trial.rows,
        charts=[_drawn(chart) for chart in trial.charts], version=striate.__version__,
        often=_often(finding), on=finding.on, surprise=finding.surprise, data=finding.data,
        pictures=_figures(finding),
    )  # fmt: skip


def _coded(text: str) -> Markup:
    """A sentence whose commands stand between backticks."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _figures(finding: Finding) -> list[Shown]:
    return [
        Shown(f"{finding.lab.key}-picture-{number}", tile(picture.pixels, _WIDE), picture.caption,
              picture.caption)
        for number, picture in enumerate(finding.trials[0].pictures, start=1)
    ]  # fmt: skip


def _often(finding: Finding) -> str:
    count, more = len(finding.trials), finding.lab.full_seeds
    if count > 1:
        return f"Repeated with {count} seeds."
    if more > 1:
        return f"With one seed; --full repeats it with {more}."
    return "Nothing in it is drawn by chance."


def _first(finding: Finding) -> str:
    """Whose the table, charts and pictures are."""
    trial, count = finding.trials[0], len(finding.trials)
    if count == 1 or not (trial.rows or trial.charts or trial.pictures):
        return ""
    return f"What follows is of the first of the {count} seeds."


def _row(figure: Figure) -> dict[str, str]:
    return {
        "name": figure.name, "mean": short(figure.mean), "interval": figure.between or "–",
        "least": short(figure.least), "largest": short(figure.largest),
    }  # fmt: skip


def _drawn(chart: Chart) -> Markup:
    lines, label = chart.lines, chart.y_label
    if chart.logarithmic:
        label = f"log10 of {label}"
        lines = [
            Line(line.label, line.xs, [_log(y) for y in line.ys], line.quiet, line.dots)
            for line in lines
        ]
    return line_chart(lines, chart.title, chart.x_label, label)


def _log(value: float | None) -> float | None:
    return math.log10(value) if value is not None and 0 < value < math.inf else None


def write_book(found: Sequence[Finding], folder: Path) -> Path:
    """A page of each lab in Markdown with its charts, and index.md with the table of all; returns
    the latter. Raises OSError."""
    for finding in found:
        lab = finding.lab
        for number, chart in enumerate(finding.trials[0].charts, start=1):
            save_curves(
                chart.lines, folder / f"{lab.key}-{number}.png", title=chart.title,
                labels=(chart.x_label, chart.y_label), logarithmic=chart.logarithmic,
            )  # fmt: skip
        for shown in _figures(finding):
            write_atomically(folder / f"{shown.name}.png", shown.png)
        write_atomically(folder / f"{lab.key}.md", _page(finding))
    index = folder / "index.md"
    write_atomically(index, _index(found))
    return index


def _page(finding: Finding) -> str:
    lab, trial, several = finding.lab, finding.trials[0], len(finding.trials) > 1
    parts = [f"# {lab.id}: {lab.name.replace('-', ' ')}", f"> {md(lab.claim)}"]
    parts.append(f"**{finding.verdict}**: {VERDICTS[finding.verdict]}.")
    parts.append(_commands(lab.lesson))
    if lab.deck:
        parts.append(f"| the deck | the truth |\n|---|---|\n| {md(lab.deck)} | {md(lab.truth)} |")
    parts.append(f"## What was done\n\n{_commands(lab.done)} {_often(finding)}")
    rows = ["| figure | value |\n|---|---|"]
    if several:
        rows = ["| figure | mean | 95 % interval |\n|---|---|---|"]
    for figure in map(_row, finding.figures.values()):
        last = f" {figure['interval']} |" if several else ""
        rows.append(f"| {md(figure['name'])} | {figure['mean']} |{last}")
    parts.append("\n".join(rows))
    if said := _first(finding):
        parts.append(said)
    if trial.rows:
        lines = ["| " + " | ".join(md(cell) for cell in row) + " |" for row in trial.rows]
        parts.append("\n".join([lines[0], "|---" * len(trial.rows[0]) + "|", *lines[1:]]))
    for number, chart in enumerate(trial.charts, start=1):
        parts.append(f"![{md(chart.title)}]({lab.key}-{number}.png)")
    parts += [f"![{md(shown.alt)}]({shown.name}.png)\n\n{md(shown.caption)}"
              for shown in _figures(finding)]  # fmt: skip
    parts.append(f"`striate lab {lab.key}` prints these figures again.")
    return "\n\n".join(parts) + "\n"


def _commands(text: str) -> str:
    """A sentence in Markdown whose commands stay between backticks."""
    return md(text).replace("\\`", "`")


def _index(found: Sequence[Finding]) -> str:
    rows = ["| id | claim | verdict | figure | seconds |", "|---|---|---|---|---|"]
    for finding in found:
        lab, figure = finding.lab, finding.figures[finding.lab.headline]
        rows.append(
            f"| [{lab.id}]({lab.key}.md) | {md(lab.claim)} | {finding.verdict} | "
            f"{md(figure.name)}: {figure.line()} | {finding.seconds:.1f} |"
        )
    verdicts = "\n".join(f"- **{name}**: {text}" for name, text in VERDICTS.items())
    others = "\n".join(f"| {name} | `{command}` |" for name, command in ELSEWHERE.items())
    return _BOOK.format(table="\n".join(rows), verdicts=verdicts, others=others)


_BOOK = """\
# Labs: the lectures' claims, run

Every claim is an experiment that could refute it. `striate lab` lists them, `striate lab O3` runs
one in less than a minute and writes a page, `striate lab all --out docs/labs` makes this book. Ids
are those of [sources](../sources.md). A verdict stands only if its rule holds for every seed;
figures are means over the seeds with 95 % intervals. Seconds are of the machine that made the book.
Labs that `striate lab` marks with `--data` can be run on images of your own: `striate lab O1 --data
FOLDER`. `striate lab quiz` asks questions and checks the answers.

```console
$ striate lab O3
O3 momentum
…
conditional: it is so under a condition that the lectures do not name
…
```

{verdicts}

{table}

What other commands show:

| id | command |
|---|---|
{others}
"""


def explained(finding: Finding) -> list[str]:
    """What a terminal shows, a line each, unwrapped."""
    lab: Any = finding.lab
    done = f"{lab.done} {finding.on}".rstrip()
    lines = [f"{lab.id} {lab.name}", "", f"The claim: {lab.claim}", "", done, ""]
    width = max(len(name) for name in finding.figures)
    lines += [f"  {figure.name:<{width}}  {figure.line()}" for figure in finding.figures.values()]
    lines += ["", f"{finding.verdict}: {VERDICTS[finding.verdict]}"]
    if lab.deck:
        lines += [f"  the deck:  {lab.deck}", f"  the truth: {lab.truth}"]
    return [*lines, "", f"{finding.surprise} {lab.lesson}".lstrip()]
