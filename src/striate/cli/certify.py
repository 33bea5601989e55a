"""`striate certify RUN`: what a run is made of and promises; `--verify` tries it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from striate.cli.flags import parse
from striate.core.strict_json import one_line


def certify(argv: Sequence[str]) -> int:
    """Exit code 1 if a verification fails."""
    return int(parse(_certify, "certify", argv))


def _certify(
    run: Annotated[Path, tyro.conf.Positional],
    verify: bool = False,
    steps: int = 20,
    json: bool = False,
) -> int:
    """Write a certificate of a run: hashes of its data, recipe, weights and losses, its versions,
    and which guarantees hold. With --verify: compare the run with it, and repeat the first steps.

    Args:
        run: the run directory
        verify: check against the certificate that is there; exit code 1 if something differs
        steps: how many steps to repeat
        json: print one JSON object as the last line
    """
    from striate.api import certify as certificates

    if not verify:
        made = certificates.certify(run)
        for guarantee, holds in made["guarantees"].items():
            print(f"{'✓' if holds else '✗'} {guarantee}")
        print(f"weights {made['weights']['sha256'][:16]}… of {made['weights']['checkpoint']}, "
              f"{made['losses']['steps']:,} losses {made['losses']['sha256'][:16]}…")  # fmt: skip
        print(f"certificate: {run / certificates.CERTIFICATE}")
        if json:
            print(one_line(made))
        return 0
    from striate.cli.view import print_findings

    findings = certificates.verify(run, steps)
    print_findings(findings)
    failed = any(finding.verdict == "fail" for finding in findings)
    if json:
        verdict = "fail" if failed else "pass"
        told = [asdict(finding) for finding in findings]
        print(one_line({"run": str(run), "verdict": verdict, "findings": told}))
    return 1 if failed else 0
