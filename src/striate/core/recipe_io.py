"""Recipes in and out of YAML and plain dictionaries; one validation for every way in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.core.errors import RecipeError, perhaps
from striate.core.recipe import PRESETS, SHORT_FLAGS, Recipe

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def preset(name: str) -> Recipe:
    """The named recipe. Raises RecipeError for an unknown name."""
    if name not in PRESETS:
        raise RecipeError(f"unknown preset '{name}'", perhaps(name, PRESETS))
    return PRESETS[name]()


def knob_names(node: Any = Recipe, prefix: str = "") -> list[str]:
    """Every knob with its dotted name, such as `optim.lr`."""
    instance = node() if isinstance(node, type) else node
    names = []
    for knob in fields(instance):
        value = getattr(instance, knob.name)
        dotted = prefix + knob.name
        names += knob_names(value, dotted + ".") if is_dataclass(value) else [dotted]
    return names


def from_dict(tree: Mapping[str, Any], where: str = "recipe", base: Recipe | None = None) -> Recipe:
    """Validate a nested dictionary laid over `base`. Raises RecipeError naming every bad knob."""
    from pydantic import ValidationError

    merged = _laid_over(asdict(base or Recipe()), tree)
    try:
        return _checks().validate_python(merged)
    except ValidationError as error:
        raise _explained(error, where) from None


@cache
def _checks() -> TypeAdapter[Recipe]:
    from pydantic import TypeAdapter

    return TypeAdapter(Recipe)


def validated(recipe: Recipe) -> Recipe:
    """The same recipe after type and range checks (a dataclass made in Python has had none)."""
    return from_dict(asdict(recipe))


def get_knob(recipe: Recipe, dotted: str) -> Any:
    """The value at a dotted name."""
    node: Any = recipe
    for part in dotted.split("."):
        node = getattr(node, part)
    return node


def flat(recipe: Recipe) -> dict[str, Any]:
    """Every knob by its dotted name."""
    return {name: get_knob(recipe, name) for name in knob_names()}


def set_knob(recipe: Recipe, dotted: str, value: Any) -> Recipe:
    """A copy with one knob changed; not validated."""
    group, _, name = dotted.rpartition(".")
    if not group:
        return replace(recipe, **{name: value})
    return replace(recipe, **{group: replace(getattr(recipe, group), **{name: value})})


def with_overrides(recipe: Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """Apply everyday names (`epochs=5`) and dotted names (`{"optim.lr": 0.1}`), then validate."""
    recipe = open_budget(recipe, {SHORT_FLAGS.get(name, name) for name in overrides})
    known = knob_names()
    tree: dict[str, Any] = {}
    for name, value in overrides.items():
        dotted = SHORT_FLAGS.get(name, name)
        if dotted not in known:
            raise RecipeError(f"unknown knob '{name}'", perhaps(name, [*known, *SHORT_FLAGS]))
        group, _, leaf = dotted.rpartition(".")
        (tree.setdefault(group, {}) if group else tree)[leaf] = value
    return from_dict(tree, "recipe", recipe)


def open_budget(recipe: Recipe, given: set[str]) -> Recipe:
    """Minutes replace the epochs of an inherited recipe, and the other way round."""
    if "budget.minutes" in given and "budget.epochs" not in given:
        return set_knob(recipe, "budget.epochs", "auto")
    if "budget.epochs" in given and "budget.minutes" not in given:
        return set_knob(recipe, "budget.minutes", None)
    return recipe


def to_yaml(recipe: Recipe) -> str:
    """The complete recipe, every default written out."""
    import yaml

    tree = asdict(recipe)
    for group in tree.values():
        if isinstance(group, dict):
            group.update({k: list(v) for k, v in group.items() if isinstance(v, tuple)})
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def load_recipe(path: str | Path, base: Recipe | None = None) -> Recipe:
    """Read a recipe file; knobs that it leaves out keep their value in `base`."""
    import yaml

    path = Path(path)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"no recipe file {path}", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {error}") from None
    if not isinstance(tree, dict | None):
        raise RecipeError(f"{path}: expected groups such as 'optim:', found {type(tree).__name__}")
    return from_dict(tree or {}, str(path), base)


def _laid_over(under: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(under.get(key), dict)
        merged[key] = _laid_over(under[key], value) if both else value
    return merged


def _explained(error: Any, where: str) -> RecipeError:
    """Pydantic's list as one line a knob; alternatives of a union are joined."""
    faults: dict[str, list[str]] = {}
    hints = []
    for item in error.errors():
        parts = [str(part) for part in item["loc"]]
        name = _knob_of(parts)
        if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            faults[".".join(parts)] = ["no such knob"]
            hints.append(_closest_knob(parts))
        else:
            text = item["msg"].removeprefix("Input should be ")
            faults.setdefault(name, []).append(f"expected {text}, found {item['input']!r}")
    lines = [f"{where}: {name}: {_joined(texts)}" for name, texts in faults.items()]
    return RecipeError("\n".join(lines), "\n".join(hints))


def _knob_of(parts: list[str]) -> str:
    """Drop what pydantic adds to the path: union members, list positions."""
    known = knob_names()
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in known:
            return ".".join(parts[:end])
    return ".".join(parts)


def _closest_knob(parts: list[str]) -> str:
    """Look in the same group first, then for the bare name anywhere."""
    names = knob_names()
    group = parts[0] + "."
    inside = [name for name in names if name.startswith(group)]
    if len(parts) > 1 and inside:
        return perhaps(".".join(parts), inside)
    elsewhere = [name for name in names if name.rpartition(".")[2] == parts[-1]]
    if elsewhere:
        return "Perhaps you meant: " + ", ".join(elsewhere) + "."
    return perhaps(parts[0], {name.partition(".")[0] for name in names})


def _joined(texts: Iterable[str]) -> str:
    """`expected A, found x` and `expected B, found x` become `expected A or B, found x`."""
    texts = list(dict.fromkeys(texts))
    if len(texts) == 1:
        return texts[0]
    found = texts[0].rpartition(", found ")[2]
    wants = [text.removeprefix("expected ").rpartition(", found ")[0] for text in texts]
    return f"expected {' or '.join(wants)}, found {found}"
