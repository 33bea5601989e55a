"""All rules over one history: a verdict, findings, and what could not be judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from striate.core.findings import Finding
from striate.core.strict_json import finite
from striate.doctor.history import History
from striate.doctor.reading import finite_epochs
from striate.doctor.rules import RULES
from striate.doctor.saying import Lacking, longer

ENOUGH_STEPS, ENOUGH_EPOCHS = 20, 2
_SURE = 0.75
"""Of findings that are at least so sure, causes come before effects."""


_STOPS_LEARNING = {
    "not_finite", "exploding_gradient", "learning_rate_too_high", "learning_rate_too_low",
    "vanishing_gradient", "saturated_units", "dead_units",
}  # fmt: skip
EXPLAINED_BY: dict[str, set[str]] = {
    "plateau": set(RULES),
    "learning_rate_too_low": {"vanishing_gradient", "saturated_units", "dead_units"},
    "underfitting": {*_STOPS_LEARNING, "label_noise", "regularisation_too_strong"},
    "too_few_epochs": {*_STOPS_LEARNING, "decayed_too_early", "regularisation_too_strong"},
    "batch_too_large": {*_STOPS_LEARNING},
    "unequal_layers": {*_STOPS_LEARNING},
    "regularisation_too_strong": {"not_finite"},
    "label_noise": {
        "learning_rate_too_low",
        "decayed_too_early",
        "class_imbalance",
        "dead_units",
        "learning_rate_too_high",
        "too_few_epochs",
        "batch_too_large",
    },
    "unlike_splits": {"class_imbalance"},
    "bad_split": {"label_noise"},
    "overfitting": {"unlike_splits"},
}
"""Effects and the causes beside which they are not named: what is left to do follows from these."""


@dataclass(frozen=True)
class Diagnosis:
    """`findings`: rules that fired, the surest cause first; `not_judged`: rule → what it lacks."""

    verdict: Literal["healthy", "sick", "undetermined"]
    findings: tuple[Finding, ...]
    not_judged: dict[str, str]
    notes: tuple[str, ...] = ()

    def in_a_sentence(self) -> str:
        """The verdict with the names of what was found."""
        names = ", ".join(f.rule.replace("_", " ") for f in self.findings)
        if self.verdict == "healthy" and not names:
            return "the doctor finds nothing wrong with this training"
        if self.verdict == "healthy":
            return f"the doctor finds nothing wrong with this training, but mentions: {names}"
        if self.verdict == "sick":
            sick = [f.rule.replace("_", " ") for f in self.findings if f.verdict == "sick"]
            return f"the doctor calls this training sick: {', '.join(sick)}"
        return f"the doctor is not sure about this training: perhaps {names}"

    def to_json(self) -> dict[str, Any]:
        """Plain values: {"verdict", "findings": [{"rule", "verdict", "confidence", …}], …}."""
        values: dict[str, Any] = finite(
            {
                "verdict": self.verdict,
                "findings": [
                    {
                        "rule": f.rule,
                        "verdict": f.verdict,
                        "confidence": f.confidence,
                        "text": f.text,
                        "evidence": f.evidence,
                        "remedies": list(f.remedies),
                        "source": f.source,
                    }
                    for f in self.findings
                ],
                "not_judged": self.not_judged,
                "notes": list(self.notes),
            }
        )
        return values


def diagnose(h: History) -> Diagnosis:
    """Ask all rules. Healthy is only what is long enough to be judged and has no finding."""
    answers = {name: rule(h) for name, rule in RULES.items()}
    findings = [a for a in answers.values() if isinstance(a, Finding)]
    lacking = {name: f"needs {a.why}" for name, a in answers.items() if isinstance(a, Lacking)}
    if not findings and (short := _too_short(h)):
        findings.append(
            Finding(
                "not_yet_decidable",
                "undetermined",
                short,
                confidence=0.5,
                remedies=(longer(h),),
                source="T5",
            )
        )
    findings = _explained(findings)
    kinds = {f.verdict for f in findings}
    verdict: Literal["healthy", "sick", "undetermined"] = (
        "sick" if "sick" in kinds else "undetermined" if kinds else "healthy"
    )
    return Diagnosis(verdict, tuple(findings), lacking, h.faults)


def _too_short(h: History) -> str:
    """Why nothing can be said yet, or an empty string."""
    epochs = finite_epochs(h)
    if epochs < ENOUGH_EPOCHS and not (h.ended and len(h.steps) >= ENOUGH_STEPS):
        return f"{epochs} epochs are too short to be judged"
    if h.curve is None:
        return "without training and validation losses little can be judged"
    return ""


def _explained(findings: list[Finding]) -> list[Finding]:
    """The sure ones first, causes before effects; vague effects of a cause are left out."""
    order = list(RULES)
    causes = {f.rule for f in findings if f.verdict == "sick"}
    findings = [f for f in findings if not causes & (EXPLAINED_BY.get(f.rule, set()) - {f.rule})]

    def rank(f: Finding) -> tuple[bool, bool, int]:
        place = order.index(f.rule) if f.rule in order else len(order)
        return (f.verdict != "sick", (f.confidence or 0.0) < _SURE, place)

    return sorted(findings, key=rank)
