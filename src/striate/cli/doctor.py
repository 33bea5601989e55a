"""`striate doctor RUN|CURVES`: what is wrong with a training, how sure, why, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from striate.cli.flags import parse
from striate.cli.view import sparkline
from striate.core.findings import Finding
from striate.core.records import Note
from striate.core.strict_json import one_line
from striate.core.words import sourced
from striate.doctor.diagnosis import Diagnosis

if TYPE_CHECKING:
    from striate.doctor.remedies import Attempt

_STYLES = {"sick": "bold red", "undetermined": "cyan", "healthy": "green"}


def doctor(argv: Sequence[str]) -> int:
    """Judge a run or anybody's curves."""
    return int(parse(_doctor, "doctor", argv))


def _doctor(
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|CURVES")],
    json: bool = False,
    attempt: Annotated[bool, tyro.conf.arg(name="try")] = False,
    adopt: bool = False,
    top: int = 3,
    epochs: int | None = None,
) -> int:
    """Judge a training: healthy, sick or undetermined, with evidence and remedies.

    Args:
        source: a run directory, or a CSV or JSON of epoch, train_loss, val_loss, train_acc,
            val_acc, lr
        json: print one JSON object
        attempt: train briefly with each of the first remedies, and say which one helps
        adopt: answer from now on with batch norm's averages that were estimated anew, where the
            training found the running ones not to fit
        top: how many remedies to try
        epochs: of each short training, a quarter of the run's by default
    """
    from striate.doctor.diagnose import diagnose

    if adopt:
        return _adopted(source)
    found = diagnose(source)
    if not json:
        _show(found)
    tested = _tried(source, top, epochs, quiet=json) if attempt else []
    if json:
        also = {"tried": [{**asdict(t), "verdict": t.verdict} for t in tested]} if attempt else {}
        print(one_line({**found.to_json(), **also}))
    return 0


def _adopted(run: Path) -> int:
    from striate.api.runs import Run

    before, after = Run(run).adopt_averages()
    print(f"{run} now answers with averages estimated anew: validation score {after:.4f}, before "
          f"{before:.4f}. `striate evaluate {run}` scores its test images.")  # fmt: skip
    return 0


def _tried(source: Path, top: int, epochs: int | None, *, quiet: bool) -> list[Attempt]:
    from striate.doctor.remedies import Attempt, try_remedies

    tested = []
    if not quiet:
        print()
    for record in try_remedies(str(source), top=top, epochs=epochs):
        if isinstance(record, Attempt):
            tested.append(record)
        elif isinstance(record, Note) and not quiet:
            print(record.text, flush=True)
    if not quiet:
        Console(highlight=False).print(_table(tested))
    return tested


def _table(tested: list[Attempt]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("remedy", "with", "without", "difference", "95 % interval", ""):
        right = column in ("with", "without", "difference")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for t in tested:
        interval = t.fault or f"{t.low:+.3f} to {t.high:+.3f}"
        figures = (
            f"{t.score:.3f}",
            f"{t.without:.3f}",
            f"{t.difference:+.3f}",
            interval,
            t.verdict,
        )
        table.add_row(Text(t.remedy), *figures)
    return table


def _show(found: Diagnosis) -> None:
    console = Console(highlight=False)
    console.print(Text(found.verdict, style=_STYLES[found.verdict]))
    for finding in found.findings:
        _show_finding(console, finding)
    for note in found.notes:
        console.print(Text(f"note: {note}", style="dim"))
    if found.not_judged:
        by_reason: dict[str, list[str]] = {}
        for rule, why in found.not_judged.items():
            by_reason.setdefault(why, []).append(rule.replace("_", " "))
        console.print(Text("not judged:", style="dim"))
        for why, rules in by_reason.items():
            console.print(Text(f"  {', '.join(rules)}: {why}", style="dim"))


def _show_finding(console: Console, finding: Finding) -> None:
    title = finding.rule.replace("_", " ")
    console.print()
    console.print(
        Text(f"{title}  ", style=_STYLES[finding.verdict])
        + Text(f"{finding.verdict}, confidence {finding.confidence:.0%}", style="dim")
    )
    console.print(Text(f"  {finding.text}"))
    curves = finding.evidence.get("curves", {})
    width = max((len(name) for name in curves), default=0)
    for name, values in curves.items():
        if values:
            line = sparkline(list(values), max(8, min(40, console.width - width - 26)))
            ends = f"{values[0]:.3g} → {values[-1]:.3g}"
            console.print(Text(f"  {name:<{width}}  ") + Text(line, style="cyan") + f"  {ends}")
    for remedy in finding.remedies:
        console.print(Text("  try  ", style="dim") + Text(remedy))
    console.print(Text(f"  source: {sourced(finding.source)}", style="dim"))
