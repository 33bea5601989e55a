"""How rules speak: findings with a confidence, or what they lack to judge."""

from __future__ import annotations

import contextlib
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from striate.core.findings import Finding
from striate.core.recipe import SHORT_FLAGS, Recipe
from striate.core.recipe_io import get_knob, knob_names
from striate.core.strict_json import finite
from striate.doctor.history import Column, History
from striate.optim.rules import SHALLOW, UPDATE_RULES, default_rate

SURE, DOUBTFUL = 0.6, 0.5
"""Below the first confidence a finding is undetermined, below the second there is none."""


@dataclass(frozen=True)
class Lacking:
    """A rule could not judge: `why` says what it lacks."""

    why: str


Answer = Finding | Lacking | None
Rule = Callable[[History], Answer]


def found(
    rule: str,
    text: str,
    confidence: float,
    *,
    evidence: dict[str, Any],
    remedies: Sequence[str],
    source: str,
    anew: bool = False,
) -> Finding | None:
    """A finding: `sick` if its confidence is at least SURE, else `undetermined`; below DOUBTFUL
    nothing is said."""
    if confidence < DOUBTFUL:
        return None
    verdict: Literal["sick", "undetermined"] = "sick" if confidence >= SURE else "undetermined"
    return Finding(
        rule,
        verdict,
        text,
        finite(evidence),
        confidence=round(min(0.99, confidence), 2),
        remedies=tuple(dict.fromkeys(remedies)),
        anew=anew,
        source=source,
    )


def sure(value: float, doubtful: float, certain: float) -> float:
    """Confidence of a measured value: 0.5 where it is doubtful, 0.95 where it is certain; 0 where
    it is not known."""
    if math.isnan(value):
        return 0.0
    share = (value - doubtful) / (certain - doubtful)
    return float(np.clip(0.5 + 0.45 * share, 0.0, 0.97))


def flag(knob: str, value: Any) -> str:
    """A recipe change as it is typed: `--optim.lr 0.02`."""
    assert knob in knob_names(), knob
    name = knob.replace("_", "-")
    if isinstance(value, bool) and isinstance(get_knob(Recipe(), knob), bool):
        group, _, last = name.rpartition(".")
        return f"--{name}" if value else f"--{group}.no-{last}"
    return f"--{name} {value:.3g}" if isinstance(value, float) else f"--{name} {value}"


def knobs_of(remedy: str) -> dict[str, Any]:
    """`--optim.lr 0.02 --model.small-stem True` → {"optim.lr": 0.02, "model.small_stem": True}."""
    found: dict[str, Any] = {}
    words = shlex.split(remedy)
    for place, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name = word.removeprefix("--").replace("-", "_")
        group, _, last = name.rpartition(".")
        after = words[place + 1] if place + 1 < len(words) else "--"
        if not after.startswith("--"):
            found[SHORT_FLAGS.get(name, name)] = _value(after)
        elif last.startswith("no_"):
            found[f"{group}.{last.removeprefix('no_')}"] = False
        else:
            found[SHORT_FLAGS.get(name, name)] = True
    return found


def _value(text: str) -> Any:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return {"True": True, "False": False, "true": True, "false": False}.get(text, text)


def changes_something(remedy: str, knobs: Mapping[str, Any]) -> bool:
    """Whether a remedy in flags is not what the recipe has already; sentences always are."""
    if not remedy.startswith("--"):
        return True
    return any(
        name not in knobs or knobs[name] != value for name, value in knobs_of(remedy).items()
    )


def times(knob: str, history: History, factor: float, usual: float) -> str:
    """The knob multiplied: its value in the recipe or, where that is not known, a usual one."""
    value = history.knob(knob)
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return flag(knob, float(f"{(value if known else usual) * factor:.2g}"))


def slower(history: History, factor: float) -> str:
    """A learning rate divided by `factor`; the usual one if even that is lower."""
    lr = history.rate()
    if math.isnan(lr):
        return f"a learning rate {factor:g} times lower"
    return flag("optim.lr", float(f"{min(lr / factor, usual_rate(history) or math.inf):.2g}"))


def faster(history: History, factor: float) -> str:
    """A learning rate multiplied by `factor`; the usual one if even that is higher."""
    lr = history.rate()
    if math.isnan(lr):
        return f"a learning rate {factor:g} times higher"
    return flag("optim.lr", float(f"{max(lr * factor, usual_rate(history) or 0.0):.2g}"))


def started_by(history: History, initialiser: str) -> str:
    """Other first weights; the deviation that only the gaussian ones use goes with them."""
    chosen = flag("model.initialiser", initialiser)
    wide = history.knob("model.init_std", "auto") != "auto"
    return f"{chosen} {flag('model.init_std', 'auto')}" if wide else chosen


def usual_rate(history: History, batch: int = 0) -> float | None:
    """What suits the rule, the batch size (its own, if none is given) and the kind of network; None
    if they are not known."""
    rule, plan = history.knob("optim.rule"), history.plan
    if rule not in UPDATE_RULES or plan is None or not plan.batch_size:
        return None
    normalised = any(m.norm_gap is not None for m in history.measured)
    each = history.measured[-1].layers.values() if history.measured else ()
    layers = sum("weight" in layer for layer in each) or SHALLOW + 1
    return default_rate(rule, batch or plan.batch_size, normalised=normalised, layers=layers)


def of_chance(share: float) -> str:
    """`62 % of the loss of guessing`; a loss above it as a multiple."""
    times = f"{share:.0%} of" if share < 1.5 else f"{share:.3g} times"
    return f"{times} the loss of guessing"


def longer(history: History, factor: float = 2.0) -> str:
    """The remedy of more epochs."""
    return flag("budget.epochs", math.ceil(max(1, history.planned) * factor))


def picture(values: Column, points: int = 40) -> tuple[float, ...]:
    """A curve in few numbers, for a small picture: means of equal stretches."""
    known = values[np.isfinite(values)]
    if not len(known):
        return ()
    parts = np.array_split(known, min(points, len(known)))
    return tuple(float(f"{part.mean():.4g}") for part in parts)
