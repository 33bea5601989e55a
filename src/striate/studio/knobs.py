"""The form of a training, made from the recipe's own types and docstrings."""

from __future__ import annotations

import types
import typing
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from striate.core import recipe as recipe_module
from striate.core.recipe import SHORT_FLAGS, Recipe
from striate.core.recipe_text import EVERYDAY, documented
from striate.models.initialise import INITIALISERS
from striate.models.zoo import ARCHITECTURES
from striate.optim.rules import UPDATE_RULES
from striate.optim.schedules import SCHEDULES
from striate.studio.messages import Knob
from striate.tasks import known_losses

_HIDDEN = {"data.source"}
"""Chosen in another place of the page."""


@cache
def knobs() -> tuple[Knob, ...]:
    """Every knob of a recipe as a field of a form."""
    texts, found = documented(recipe_module.__file__), []
    everyday = {SHORT_FLAGS.get(name, name) for name in EVERYDAY} | {
        f"data.{name}" for name in EVERYDAY
    }
    named = _names()
    for group in fields(Recipe):
        kind: Any = typing.get_type_hints(Recipe)[group.name]
        grouped = is_dataclass(kind)
        owner: Any = kind if grouped else Recipe
        hints, usual = typing.get_type_hints(owner, include_extras=True), owner()
        inside = fields(owner) if grouped else (group,)
        for knob in inside:
            name = f"{group.name}.{knob.name}" if grouped else group.name
            if name in _HIDDEN:
                continue
            form, low, high, choices, auto = _form(hints[knob.name])
            text = texts.get(f"{owner.__name__}.{knob.name}", "")
            listed = choices or named.get(name, [])
            default = getattr(usual, knob.name)
            found.append(Knob(
                name, group.name if grouped else "", form,
                list(default) if isinstance(default, tuple) else default,
                auto or default == "auto", listed, low, high, " ".join(text.split()),
                name in everyday,
            ))  # fmt: skip
    return tuple(found)


def _names() -> dict[str, list[str]]:
    """Text knobs for which a map has the names; others are possible too."""
    return {
        "optim.rule": ["auto", *UPDATE_RULES],
        "schedule.name": [*SCHEDULES],
        "model.name": ["auto", *ARCHITECTURES],
        "model.initialiser": ["auto", *INITIALISERS],
        "loss.name": ["auto", *known_losses()],
    }


Form = Literal["number", "whole", "yes_no", "choice", "text", "list"]


def _form(hint: Any) -> tuple[Form, float | None, float | None, list[str], bool]:
    """(kind of field, lowest, highest, choices, whether "auto" is allowed) of a type."""
    low = high = None
    choices: list[str] = []
    kinds: set[Form] = set()
    auto = False
    for part in _alternatives(hint):
        origin = typing.get_origin(part)
        if origin is Annotated:
            bounds = part.__metadata__
            for bound in bounds:
                low = getattr(bound, "ge", getattr(bound, "gt", low)) if isinstance(
                    bound, Ge | Gt) else low  # fmt: skip
                high = getattr(bound, "le", getattr(bound, "lt", high)) if isinstance(
                    bound, Le | Lt) else high  # fmt: skip
            kinds.add("whole" if part.__origin__ is int else "number")
        elif origin is Literal:
            values = [str(v) for v in typing.get_args(part)]
            auto |= "auto" in values
            choices += [v for v in values if v != "auto" or len(values) > 1]
        elif part is bool:
            kinds.add("yes_no")
        elif part in (int, float):
            kinds.add("whole" if part is int else "number")
        elif origin is tuple:
            kinds.add("list")
        elif part is str:
            kinds.add("text")
    form: Form = next(iter(kinds)) if kinds else "choice"
    return form, low, high, choices, auto


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(a for part in typing.get_args(hint) for a in _alternatives(part))
    return (hint,)
