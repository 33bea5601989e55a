"""All rules over one history: a verdict, findings, and what could not be judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from striate.core.findings import Finding
from striate.core.strict_json import finite
from striate.doctor.boxes import BOX_EXPLAINED_BY, BOX_RULES
from striate.doctor.history import History
from striate.doctor.reading import finite_epochs
from striate.doctor.rules import RULES
from striate.doctor.saying import Answer, Lacking, Rule, changes_something, longer

ENOUGH_STEPS, ENOUGH_EPOCHS = 20, 2
_SURE = 0.75
"""Of findings that are at least so sure, causes come before effects."""


_BUILT_WRONG = {"output_activation", "input_too_small", "frozen_layers", "momentum_too_high"}
"""Faults of the network or the recipe behind which nothing else can be told."""
_STOPS_LEARNING = _BUILT_WRONG | {
    "not_finite", "exploding_gradient", "learning_rate_too_high", "learning_rate_too_low",
    "vanishing_gradient", "saturated_units", "dead_units", "norm_mismatch", "batch_too_small",
    "augmentation_too_strong", "labels_random", "regularisation_too_strong",
}  # fmt: skip
EXPLAINED_BY: dict[str, set[str]] = {
    "plateau": set(RULES),
    "at_chance": set(RULES) - {"generalisation_gap", "plateau", "overfitting"},
    "generalisation_gap": set(RULES) - {"plateau", "too_few_epochs"},
    "not_finite": {"momentum_too_high"},
    "exploding_gradient": _BUILT_WRONG - {"frozen_layers"},
    "learning_rate_too_high": _BUILT_WRONG - {"frozen_layers"} | {"exploding_gradient"},
    "learning_rate_too_low": _BUILT_WRONG
    | {"augmentation_too_strong", "vanishing_gradient", "saturated_units", "dead_units"},
    "vanishing_gradient": _BUILT_WRONG - {"frozen_layers"} | {"learning_rate_too_high"},
    "saturated_units": {"input_too_small"},
    "dead_units": {
        "input_too_small", "learning_rate_too_high", "momentum_too_high", "norm_mismatch",
        "output_activation", "augmentation_too_strong",
    },
    "frozen_layers": {
        "dead_units", "input_too_small", "output_activation", "learning_rate_too_high",
        "exploding_gradient", "not_finite", "momentum_too_high",
    },
    "norm_mismatch": {"batch_too_small", "learning_rate_too_high", "momentum_too_high"},
    "batch_too_small": {"momentum_too_high"},
    "underfitting": _STOPS_LEARNING | {"label_noise"},
    "too_few_epochs": _STOPS_LEARNING | {"decayed_too_early"},
    "batch_too_large": _STOPS_LEARNING,
    "unequal_layers": _STOPS_LEARNING,
    "regularisation_too_strong": _BUILT_WRONG
    | {"not_finite", "augmentation_too_strong", "learning_rate_too_high", "norm_mismatch"},
    "augmentation_too_strong": _BUILT_WRONG - {"frozen_layers"}
    | {"learning_rate_too_high", "not_finite"},
    "labels_random": _STOPS_LEARNING,
    "label_noise": _STOPS_LEARNING
    | {"decayed_too_early", "class_imbalance", "too_few_epochs", "batch_too_large",
       "unlike_splits"},
    "unlike_splits": _STOPS_LEARNING | {"class_imbalance"},
    "bad_split": _STOPS_LEARNING | {"label_noise"},
    "class_imbalance": _BUILT_WRONG | {"labels_random", "norm_mismatch"},
    "class_never_found": _STOPS_LEARNING
    | {"class_imbalance", "unlike_splits", "too_few_epochs", "batch_too_large", "underfitting",
       "decayed_too_early"},
    "overfitting": _STOPS_LEARNING | {"unlike_splits"},
    "decayed_too_late": _STOPS_LEARNING,
}  # fmt: skip
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
    with np.errstate(all="ignore"):  # losses that are 0 or not finite are data here
        answers = {name: _asked(name, rule, h) for name, rule in RULES.items()}
        answers |= {name: rule(h) for name, rule in TASK_RULES.get(h.task, {}).items()}
    findings = [_fitting(a, h) for a in answers.values() if isinstance(a, Finding)]
    lacking = {name: f"needs {a.why}" for name, a in answers.items() if isinstance(a, Lacking)}
    serious = [f for f in findings if f.verdict != "note"]
    if not serious and h.task not in (*JUDGED, *TASK_RULES):
        text = f"{h.task} is a task that the doctor does not judge yet: most rules are lacking"
        findings.append(
            Finding("not_yet_decidable", "undetermined", text, confidence=0.5, source="T5")
        )
    elif not serious and (short := _too_short(h)):
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
    kinds = {f.verdict for f in findings} - {"note"}
    verdict: Literal["healthy", "sick", "undetermined"] = (
        "sick" if "sick" in kinds else "undetermined" if kinds else "healthy"
    )
    return Diagnosis(verdict, tuple(findings), lacking, h.faults)


TASK_RULES: dict[str, dict[str, Rule]] = {"detect": BOX_RULES}
"""Rules of one task only."""
JUDGED = ("", "classify")
"""Tasks that all rules know; "": curves of which nobody said what was trained."""
_ANY_TASK = {"not_finite", "dead_units", "saturated_units", "frozen_layers", "momentum_too_high"}
"""Rules that look at no score, no labels and no loss of guessing."""


def _asked(name: str, rule: Rule, h: History) -> Answer:
    if h.task in JUDGED or name in _ANY_TASK:
        return rule(h)
    return Lacking(f"a task that it knows, which {h.task} is not")


def _fitting(f: Finding, h: History) -> Finding:
    """The finding without remedies that are set already; what rests on a handful of validation
    images is not sure."""
    remedies = tuple(r for r in f.remedies if changes_something(r, h.knobs))
    f = replace(f, remedies=remedies)
    few = bool(h.measured) and h.measured[-1].val_images < _FEW_VALIDATION
    if f.rule in _BY_VALIDATION and few and f.verdict == "sick":
        images = h.measured[-1].val_images
        text = f"{f.text} (of {images} validation images: too few to be sure)"
        return replace(f, verdict="undetermined", confidence=0.55, text=text)
    return f


_FEW_VALIDATION = 20
_BY_VALIDATION = {
    "overfitting", "unlike_splits", "bad_split", "class_imbalance", "class_never_found",
    "at_chance", "labels_random", "decayed_too_late", "label_noise",
}  # fmt: skip
"""Rules that rest on validation images."""


def _too_short(h: History) -> str:
    """Why nothing can be said yet, or an empty string."""
    epochs = finite_epochs(h)
    if epochs < ENOUGH_EPOCHS and not (h.ended and len(h.steps) >= ENOUGH_STEPS):
        return f"{epochs} epochs are too short to be judged"
    if h.curve is None and h.task not in TASK_RULES:
        return "without training and validation losses little can be judged"
    return ""


def _explained(findings: list[Finding]) -> list[Finding]:
    """The sure ones first, causes before effects; vague effects of a cause are left out."""
    order = [*RULES, *BOX_RULES]
    explained = EXPLAINED_BY | BOX_EXPLAINED_BY
    causes = {f.rule for f in findings if f.verdict == "sick"}
    findings = [f for f in findings if not causes & (explained.get(f.rule, set()) - {f.rule})]

    def rank(f: Finding) -> tuple[int, bool, int]:
        place = order.index(f.rule) if f.rule in order else len(order)
        worst = ("sick", "undetermined", "note").index(f.verdict)
        return (worst, (f.confidence or 0.0) < _SURE, place)

    return sorted(findings, key=rank)
