"""Flags from types: tyro makes them of functions and of the recipe's dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from striate.core import recipe_io
from striate.core.errors import RecipeError
from striate.core.recipe import SHORT_FLAGS, Recipe

_CONFIG = (tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff)


@dataclass(frozen=True)
class TrainFlags:
    """Train on images. Without DATA: the built-in digits.

    Short flags: --model --epochs --minutes --batch-size --lr --seed --skip-bad --allow
    --image-size --folds --group-by --exclude --check.
    """

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
    knobs: Annotated[Recipe, tyro.conf.arg(name="")] = Recipe()  # noqa: RUF009 - frozen


def parse(function: Callable[..., Any], verb: str, argv: Sequence[str]) -> Any:
    """Call `function` with its parameters taken from the command line."""
    return tyro.cli(function, prog=f"striate {verb}", args=list(argv), config=_CONFIG)


def parse_train(argv: Sequence[str]) -> TrainFlags:
    """Flags of `striate train` over --recipe or --preset, validated."""
    flags: TrainFlags = parse_knobs(TrainFlags, "train", argv)
    return flags


def parse_knobs(kind: type[Any], verb: str, argv: Sequence[str]) -> Any:
    """Flags of a verb whose dataclass has a `source` and the recipe as `knobs`."""
    args = _measured_rate([_long(arg) for arg in argv])
    names = {arg[2:].partition("=")[0].replace("-", "_") for arg in args if arg[:2] == "--"}
    base = recipe_io.open_budget(_base(args), names)
    flags = tyro.cli(
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


def _value(args: Sequence[str], flag: str) -> str | None:
    for position, arg in enumerate(args):
        if arg == flag and position + 1 < len(args):
            return args[position + 1]
        if arg.startswith(flag + "="):
            return arg.partition("=")[2]
    return None
