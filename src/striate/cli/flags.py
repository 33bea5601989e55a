"""Flags from types: tyro makes them of functions and of the recipe's dataclasses."""

from __future__ import annotations

import contextlib
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from striate.core import recipe as recipe_module
from striate.core import recipe_io
from striate.core.errors import RecipeError
from striate.core.recipe import SHORT_FLAGS, Recipe
from striate.core.recipe_text import EVERYDAY, documented

_CONFIG = (tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff)


@dataclass(frozen=True)
class TrainFlags:
    """Train on images. Without DATA: the built-in digits."""

    source: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = None
    """folder of class folders, .zip or .tar of one (zip#folder for a part), IDX folder, .csv,
    digits, torchvision:NAME"""
    recipe: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """YAML recipe; flags override it"""
    preset: str = "quick"
    """named recipe to start from: quick, standard"""
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """run directory (default runs/<date>-<name>)"""
    json: bool = False
    """print one JSON object as the last line"""
    procs: int = 1
    """processes on this machine that train together; the batch size is that of all"""
    sink: tuple[str, ...] = ()
    """give the figures to csv, tensorboard, wandb or mlflow too; can be given several times"""
    knobs: Annotated[Recipe, tyro.conf.arg(name="")] = Recipe()  # noqa: RUF009 - frozen


@contextlib.contextmanager
def described() -> Iterator[list[Callable[..., Any]]]:
    """Within it a verb does nothing: the function or dataclass whose parameters are its flags is
    put into the list instead."""
    found: list[Callable[..., Any]] = []
    token = _DESCRIBED.set(found)
    try:
        with contextlib.suppress(SystemExit):
            yield found
    finally:
        _DESCRIBED.reset(token)


_DESCRIBED: ContextVar[list[Callable[..., Any]] | None] = ContextVar("described", default=None)


def _cli(function: Callable[..., Any], **how: Any) -> Any:
    found = _DESCRIBED.get()
    if found is not None:
        found.append(function)
        raise SystemExit(0)
    return tyro.cli(function, **how)


def parse(function: Callable[..., Any], verb: str, argv: Sequence[str]) -> Any:
    """Call `function` with its parameters taken from the command line."""
    return _cli(function, prog=f"striate {verb}", args=list(argv), config=_CONFIG)


def parse_train(argv: Sequence[str]) -> TrainFlags:
    """Flags of `striate train` over --recipe or --preset, validated."""
    flags: TrainFlags = parse_knobs(TrainFlags, "train", argv)
    return flags


def parse_knobs(kind: type[Any], verb: str, argv: Sequence[str]) -> Any:
    """Flags of a verb whose dataclass has a `source` and the recipe as `knobs`."""
    if "--help" in argv or "-h" in argv:
        print(everyday_help(kind, verb))
        raise SystemExit(0)
    args = [arg.replace("--help-all", "--help") for arg in argv]
    args = _measured_rate([_long(arg) for arg in args])
    check_values(args)
    names = {arg[2:].partition("=")[0].replace("-", "_") for arg in args if arg[:2] == "--"}
    base = recipe_io.open_budget(_base(args), names)
    flags = _cli(
        kind,
        prog=f"striate {verb}",
        args=args,
        default=kind(knobs=base),
        config=(*_CONFIG, tyro.conf.UseAppendAction),  # a list must not swallow DATA
    )
    given = asdict(flags.knobs)
    if flags.source is not None:
        given["data"]["source"] = flags.source
    knobs = recipe_io.from_dict(given, "command line")
    return replace(flags, knobs=knobs)


_IN_DATA = ("label_column", "class_level")


def everyday_help(kind: type[Any], verb: str) -> str:
    """The flags of the verb itself and the everyday knobs, a line or two each."""
    described = documented(recipe_module.__file__)
    rows = []
    for knob in fields(kind):
        if knob.name in ("source", "knobs"):
            continue
        text = documented(sys.modules[kind.__module__].__file__ or "").get(
            f"{kind.__name__}.{knob.name}", "")  # fmt: skip
        rows.append((f"--{knob.name.replace('_', '-')}", text))
    for name in EVERYDAY:
        dotted = SHORT_FLAGS.get(name, f"data.{name}" if name in _IN_DATA else name)
        group, _, leaf = dotted.rpartition(".")
        text = described.get(f"{group.capitalize()}.{leaf}" if group else f"Recipe.{leaf}", "")
        shown = name if name in SHORT_FLAGS else dotted
        rows.append((f"--{shown.replace('_', '-')}", text))
    lines = [
        f"usage: striate {verb} [DATA] [flags]",
        "",
        wrapped(kind.__doc__ or "", 0),
        "",
    ]
    for flag_name, text in rows:
        lines += [f"  {flag_name}", wrapped(text, 8)]
    rest = len(recipe_io.knob_names()) - len(EVERYDAY)
    lines += ["", f"striate {verb} --help-all shows the other {rest} knobs."]
    return "\n".join(lines)


def wrapped(text: str, indent: int, width: int = 0) -> str:
    """Text in lines of the terminal's width (or this one), each behind so many spaces."""
    width = width or shutil.get_terminal_size((100, 24)).columns
    blank = " " * indent
    plain = " ".join(text.split())
    return textwrap.fill(plain, max(40, width), initial_indent=blank, subsequent_indent=blank)


def check_values(args: Sequence[str]) -> None:
    """Raise RecipeError for knobs whose value is of another kind or out of bounds, in our words."""
    tree: dict[str, Any] = {}
    known, default = set(recipe_io.knob_names()), Recipe()
    for place, arg in enumerate(args):
        name, equals, value = arg.removeprefix("--").partition("=")
        dotted = name.replace("-", "_")
        if not arg.startswith("--") or dotted not in known:
            continue
        usual = recipe_io.get_knob(default, dotted)
        if not equals:
            value = args[place + 1] if place + 1 < len(args) else ""
        if isinstance(usual, tuple) or value == "" or (not equals and value.startswith("--")):
            continue
        typed: Any = {"True": True, "False": False, "true": True, "false": False,
                      "None": None}.get(value, value)  # fmt: skip
        if (typed is value and not isinstance(usual, str)) or usual in ("auto",):
            for number in (int, float):
                with contextlib.suppress(ValueError):
                    typed = number(value)
                    break
        group, _, leaf = dotted.rpartition(".")
        (tree.setdefault(group, {}) if group else tree)[leaf] = typed
    recipe_io.from_dict(tree, "command line")


def _measured_rate(args: list[str]) -> list[str]:
    """Who types `--lr auto` wants it measured: a rate left out is auto anyway."""
    joined = [a.replace("--optim.lr=auto", "--optim.lr=find") for a in args]
    after = [False, *(a == "--optim.lr" for a in joined)]
    return ["find" if rate and a == "auto" else a for a, rate in zip(joined, after, strict=False)]


def _long(arg: str) -> str:
    """`--lr=0.1` → `--optim.lr=0.1`."""
    if not arg.startswith("--"):
        return arg
    name, equals, value = arg[2:].partition("=")
    long = SHORT_FLAGS.get(name.replace("-", "_"))
    return f"--{long.replace('_', '-')}{equals}{value}" if long else arg


def _base(args: Sequence[str]) -> Recipe:
    """The recipe that flags are laid over; it must be known before they are parsed."""
    recipe, preset = _value(args, "--recipe"), _value(args, "--preset")
    if recipe and preset:
        raise RecipeError(
            "--recipe and --preset both given", "A recipe is complete: drop --preset."
        )
    if recipe:
        return recipe_io.load_recipe(recipe)
    return recipe_io.preset(preset or "quick")


def refuse_below_one(**counts: int) -> None:
    """Raise RecipeError for `--jobs 0` and the like."""
    for name, count in counts.items():
        if count < 1:
            raise RecipeError(f"--{name} {count}", "One or more.")


def refuse_negative(seed: int) -> None:
    """Raise RecipeError for `--seed -1`."""
    if seed < 0:
        raise RecipeError(f"--seed {seed}", "A seed is 0 or more.")


def _value(args: Sequence[str], flag: str) -> str | None:
    for position, arg in enumerate(args):
        if arg == flag and position + 1 < len(args):
            return args[position + 1]
        if arg.startswith(flag + "="):
            return arg.partition("=")[2]
    return None
