"""Findings: judgements with evidence. Data checks, preflight and the doctor all speak in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["fail", "sick", "warn", "undetermined", "note", "pass"]


@dataclass(frozen=True)
class Finding:
    """Which `rule` fired, its `verdict`, the evidence behind it, and what to do.

    `fail` stops the work, `warn` does not, `note` only informs; of a training: `sick` or
    `undetermined`, with a `confidence` from 0 to 1. `remedies`: the most promising first, recipe
    changes as flags (`--optim.lr 0.02`) or a sentence; `anew`: they act from the first step only.
    `source`: lecture ids and papers.
    """

    rule: str
    verdict: Verdict
    text: str
    evidence: dict[str, Any] = field(default_factory=dict)
    remedy: str = ""
    confidence: float | None = None
    remedies: tuple[str, ...] = ()
    anew: bool = False
    source: str = ""
