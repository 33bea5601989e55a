"""`striate gradcheck package.module:Layer --input 2x3x8x8`: is the backward rule right?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import tyro

from striate.cli.flags import parse
from striate.core.errors import ModelError
from striate.core.strict_json import one_line


def gradcheck(argv: Sequence[str]) -> int:
    """Check and print findings; 1 if one fails."""
    return int(parse(_gradcheck, "gradcheck", argv))


def _gradcheck(
    target: Annotated[str, tyro.conf.Positional],
    input: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    seed: int = 0,
    limit: int = 1000,
    eval: bool = False,
    json: bool = False,
) -> int:
    """Compare a layer's gradients with central differences in float64, entry by entry.

    Args:
        target: a torch module, function or autograd Function, or a textbook layer:
            package.module:name, or with arguments 'torch.nn:Conv2d(3, 8, 3)'
        input: shape of an input, such as 2x3x8x8; 4x5:positive for positive numbers; 8:int10 for
            whole numbers below 10. Once for each input
        seed: of the inputs and of new weights
        limit: entries that are compared in each tensor; of a larger one a random sample
        eval: in test behaviour (running averages, no dropout)
        json: print the findings as JSON
    """
    if not input:
        raise ModelError("no --input", "Give the shape of each input: --input 2x3x8x8")
    from striate.models.gradcheck import check_target, load

    found = load(target, max(seed, 0))
    findings = check_target(found, input, seed=seed, limit=limit, evaluate=eval)
    failed = any(finding.verdict == "fail" for finding in findings)
    if json:
        print(one_line([asdict(finding) for finding in findings]))
        return int(failed)
    for finding in findings:
        verdict = "kink" if finding.evidence["kink"] else finding.verdict
        print(f"{verdict:<5} {finding.text}")
    for remedy in dict.fromkeys(finding.remedy for finding in findings if finding.remedy):
        print(remedy)
    return int(failed)
