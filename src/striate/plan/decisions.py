"""A recipe whose "auto" knobs are settled one by one, with the reason of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from striate.core.recipe import Recipe
from striate.core.recipe_io import get_knob, set_knob


@dataclass
class Decisions:
    """The recipe so far, and knob → {"value", "why"} of what was decided (resolved.json)."""

    recipe: Recipe
    made: dict[str, dict[str, Any]] = field(default_factory=dict)

    def settle(self, knob: str, choose: Callable[[], tuple[Any, str]]) -> Any:
        """The knob's value; if it is "auto", what `choose` says, with its reason."""
        value = get_knob(self.recipe, knob)
        if value != "auto":
            return value
        value, why = choose()
        return self.decide(knob, value, why)

    def default(self, knob: str, value: Any, why: str) -> Any:
        """`settle` for a value that costs nothing to name."""
        return self.settle(knob, lambda: (value, why))

    def decide(self, knob: str, value: Any, why: str) -> Any:
        """Set a knob, whatever it was."""
        self.made[knob] = {"value": value, "why": why}
        self.recipe = set_knob(self.recipe, knob, value)
        return value
