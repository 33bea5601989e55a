"""`striate lab [ID|NAME|all]`: the lectures' claims as experiments."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from striate.cli.flags import parse, refuse_negative, wrapped
from striate.core.strict_json import one_line


def lab(argv: Sequence[str]) -> int:
    """List the labs, run one, or all."""
    if argv and argv[0] == "quiz":
        from striate.cli.quiz import quiz

        return quiz(argv[1:])
    return int(parse(_lab, "lab", argv))


def _lab(
    which: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[ID|NAME|all]")] = "",
    full: bool = False,
    seed: int = 0,
    slow: bool = False,
    data: str = "",
    out: Path = Path("labs"),
    json: bool = False,
) -> int:
    """Run a claim of the lectures as an experiment: confirmed, conditional, outdated or wrong.

    Without a name it lists all labs with their verdicts; `all` runs them and writes a book;
    `striate lab quiz` asks questions.

    Args:
        which: an id (O3), a name (momentum), all
        full: the long form, with more steps and repetitions
        seed: the first of the seeds
        slow: show each line for a moment, to be watched
        data: images of your own (a folder, an archive, a table; as for `striate train`); only
            the labs that are marked in the list are run then
        out: folder for the page, or for the book of all
        json: print one JSON object as the last line
    """
    from striate.core.files import disk_faults_explained, write_atomically
    from striate.labs.claims import LABS
    from striate.labs.lab import Finding, find_labs, refuse_data, run_lab
    from striate.labs.page import explained, lab_html, write_book

    refuse_negative(seed)
    if not which:
        return _listed(as_json=json)
    wanted = find_labs(which, LABS)
    if data and (able := [one for one in wanted if one.on]):
        if left := len(wanted) - len(able):
            whose = "which bring their own images or numbers"
            _say(f"not run: {left} of {len(wanted)} labs, {whose}")
        wanted = able
    refuse_data(wanted[0], data)
    with disk_faults_explained(out):
        out.mkdir(parents=True, exist_ok=True)
    found: list[Finding] = []
    for one in wanted:
        records = list(run_lab(one, seed=seed, full=full, data=data))
        finding = records[-1]
        assert isinstance(finding, Finding)
        found.append(finding)
        if which == "all":
            _say(f"{one.key:<24}{finding.verdict:<14}{finding.seconds:6.1f} s")
            continue
        for line in explained(finding):
            _say(line if line.startswith("  ") else wrapped(line, 0), slow=slow)
        page = out / f"{one.key}.html"
        write_atomically(page, lab_html(finding))
        _say(f"\nthe page: {page}\n")
    if which == "all":
        _say(f"the book: {write_book(found, out)}")
    if json:
        print(one_line({"findings": [finding.to_json() for finding in found]}))
    return 0


def _say(line: str, *, slow: bool = False) -> None:
    print(line, flush=True)
    if slow and sys.stdout.isatty():
        time.sleep(0.7)


def _listed(*, as_json: bool) -> int:
    from striate.labs.claims import LABS

    if as_json:
        rows = [{"id": one.id, "name": one.name, "claim": one.claim, "verdict": one.verdict,
                 "takes_data": one.on is not None} for one in LABS.values()]  # fmt: skip
        print(one_line({"labs": rows}))
        return 0
    for one in LABS.values():
        print(f"{one.id:<4}{one.name:<18}{one.verdict:<14}{'--data' if one.on else ''}".rstrip())
        print(wrapped(one.claim, 4))
    end = ("striate lab O3 runs one, striate lab all all of them; those with --data can be run on "
           "images of your own. striate lab quiz asks questions.")  # fmt: skip
    print("\n" + wrapped(end, 0))
    return 0
