"""`striate preflight [DATA]`: minutes of checks before hours of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from striate.cli.flags import parse_knobs
from striate.cli.view import print_findings
from striate.core.findings import Finding
from striate.core.recipe import Recipe
from striate.core.records import Note
from striate.core.strict_json import one_line


@dataclass(frozen=True)
class PreflightFlags:
    """Check data, network and recipe before training; takes the flags of `striate train`.

    Exit code 1 only if a check fails; warnings exit 0.
    """

    source: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = None
    """what `striate train` takes; without: the built-in digits"""
    recipe: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """YAML recipe; flags override it"""
    preset: str = "quick"
    """named recipe to start from: quick, standard"""
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """keep the findings in this run directory; train with the same --run and its report has them"""
    json: bool = False
    """print one JSON object and nothing else"""
    knobs: Annotated[Recipe, tyro.conf.arg(name="")] = Recipe()  # noqa: RUF009 - frozen


def preflight(argv: Sequence[str]) -> int:
    """Show every finding as it is made; 1 if one of them is a fail."""
    flags: PreflightFlags = parse_knobs(PreflightFlags, "preflight", argv)
    from striate.api.preflight import keep_preflight, stream_preflight
    from striate.core.run import reserve_run

    if flags.run:
        reserve_run(flags.run, "")  # refused before anything is measured
    found: list[Finding] = []
    for record in stream_preflight(recipe=flags.knobs):
        if isinstance(record, Finding):
            found.append(record)
            if not flags.json:
                print_findings([record])
        elif isinstance(record, Note) and not flags.json:
            print(("warning: " if record.level == "warning" else "") + record.text, flush=True)
    if flags.run:
        keep_preflight(flags.run, found)
    failed = [f.rule for f in found if f.verdict == "fail"]
    if flags.json:
        values = {"verdict": "fail" if failed else "pass", "findings": [asdict(f) for f in found]}
        print(one_line(values))
    else:
        print(f"\nfailed: {', '.join(failed)}" if failed else "\nready to train")
    return 1 if failed else 0
