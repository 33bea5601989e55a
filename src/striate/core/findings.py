"""Findings: judgements with evidence. Data checks, preflight and the doctor all speak in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Finding:
    """Which `rule` fired, its `verdict`, the evidence behind it, and what to do.

    `fail` stops the work, `warn` does not, `note` only informs.
    """

    rule: str
    verdict: Literal["fail", "warn", "note", "pass", "undetermined"]
    text: str
    evidence: dict[str, Any] = field(default_factory=dict)
    remedy: str = ""
