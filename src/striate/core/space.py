"""What a search varies: for each knob a range, or a list of values, written as text."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from striate.core.errors import RecipeError, perhaps
from striate.core.recipe import SHORT_FLAGS, Recipe
from striate.core.recipe_io import get_knob, knob_names, with_overrides

_LOG_FROM = 10
"""Ranges whose ends differ by this factor or more are searched on a logarithmic scale."""
STRENGTH = "augment.policy_strength"
DEFAULT_SPACE = {
    "optim.lr": "x0.2..x5",
    "regularise.l2": "x0.1..x10",
    STRENGTH: "0..1",
    "loss.label_smoothing": "0..0.3",
}
"""Learning rate × weight decay × augmentation × label smoothing (T6: find a learning rate, then
the regularisation)."""
TRANSFER_SPACE = {"model.freeze": "0,1,2,3", "optim.backbone_rate": "0.03..1"}
"""Beside it for a start from weights that a recipe names (M3): how many stages learn, how fast."""


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, both included; `whole`: integers only."""

    low: float
    high: float
    log: bool
    whole: bool

    def holds(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        return value in self.values


Dimension = Range | Choice


def default_space(recipe: Recipe) -> dict[str, str]:
    """What is searched where nobody says it."""
    named = recipe.model.weights not in ("auto", "none")
    return DEFAULT_SPACE | (TRANSFER_SPACE if named else {})


def read_space(texts: Mapping[str, str], settled: Recipe) -> dict[str, Dimension]:
    """Each knob's dimension, from text such as `0.01..1`, `16..64`, `x0.2..x5` (times the knob's
    value in `settled`), `0..1,linear` (or `,log`), `sgd,adam`.

    Raises RecipeError for a range that is none, and a value at either end that the knob does not
    take.
    """
    space = {}
    for knob, text in texts.items():
        found = space[knob] = _dimension(knob, text, settled)
        for value in found.values if isinstance(found, Choice) else (found.low, found.high):
            applied(settled, {knob: value})
    return space


def by_knob(texts: Mapping[str, str]) -> dict[str, str]:
    """The same under dotted names. Raises RecipeError for a knob that is not there."""
    known = knob_names()
    for name in texts:
        if SHORT_FLAGS.get(name, name) not in known:
            raise RecipeError(f"unknown knob '{name}'", perhaps(name, [*known, *SHORT_FLAGS]))
    return {SHORT_FLAGS.get(name, name): text for name, text in texts.items()}


def applied(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with these values. A policy's strength of 0 is no policy, and with more of it a
    recipe that has none takes `trivial`."""
    changed = dict(values)
    if STRENGTH in values and not values[STRENGTH]:
        changed |= {STRENGTH: "auto", "augment.policy": "none"}
    elif STRENGTH in values and recipe.augment.policy == "none":
        changed.setdefault("augment.policy", "trivial")
    return with_overrides(recipe, changed)


def values_in(recipe: Recipe, space: Mapping[str, Dimension]) -> dict[str, Any] | None:
    """What a settled recipe has for the knobs of a space; None where one lies outside."""
    values = {knob: get_knob(recipe, knob) for knob in space}
    if STRENGTH in values and recipe.augment.policy == "none":
        values[STRENGTH] = 0.0
    return values if all(space[knob].holds(value) for knob, value in values.items()) else None


def _dimension(knob: str, text: str, settled: Recipe) -> Dimension:
    now = get_knob(settled, knob)
    if ".." not in text:
        return Choice(tuple(_value(part.strip()) for part in text.split(",")))
    ends, _, scale = text.partition(",")
    try:
        low, high = (_end(end, now) for end in ends.split(".."))
    except (ValueError, TypeError):
        raise RecipeError(
            f"{knob}={text}: not a range",
            "Write 0.01..1, 16..64, x0.2..x5 (times the usual value), or values: sgd,adam.",
        ) from None
    if not low < high or scale not in ("", "log", "linear") or (scale == "log" and low <= 0):
        raise RecipeError(
            f"{knob}={text}: not a range",
            "The lower end comes first; `,log` needs one above 0; `,linear` is the other scale.",
        )
    whole = isinstance(low, int) and isinstance(high, int) and not _takes_fractions(settled, knob)
    log = scale == "log" or (not scale and low > 0 and high / low >= _LOG_FROM)
    return Range(low, high, log, whole)


def _takes_fractions(settled: Recipe, knob: str) -> bool:
    for value in (0.5, 1.5):
        with contextlib.suppress(RecipeError):
            applied(settled, {knob: value})
            return True
    return False


def _end(text: str, now: Any) -> float:
    """A number, or with an x before it a multiple of the knob's value (1e-4 where that is 0)."""
    number = _value(text.strip().removeprefix("x"))
    if isinstance(number, str):
        raise ValueError(text)
    return number * (now or 1e-4) if text.strip().startswith("x") else number


def _value(text: str) -> Any:
    """A whole number, a number, true or false, else the text."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return {"true": True, "false": False}.get(text, text)
