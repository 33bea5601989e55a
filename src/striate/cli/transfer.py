"""`striate transfer DATA`: measure how to transfer trained weights, and train so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from striate.cli.flags import parse_knobs
from striate.cli.train import watch
from striate.cli.view import notes_shown
from striate.core import recipe_io
from striate.core.errors import RecipeError
from striate.core.recipe import Recipe
from striate.core.strict_json import one_line


@dataclass(frozen=True)
class TransferFlags:
    """Find out how much of a trained network should learn, then train so; takes the flags of
    `train`.

    --minutes is the time for finding out (3 where it is not given); the training comes after it.
    """

    source: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = None
    """what `striate train` takes; without: the built-in digits"""
    recipe: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """YAML recipe; flags override it"""
    preset: str = "quick"
    """named recipe to start from: quick, standard"""
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """run directory of the training (default runs/<date>-<name>)"""
    advise_only: bool = False
    """only advise; do not train"""
    json: bool = False
    """print one JSON object as the last line"""
    knobs: Annotated[Recipe, tyro.conf.arg(name="")] = Recipe()  # noqa: RUF009 - frozen


def transfer(argv: Sequence[str]) -> int:
    """Show what is measured, then the training."""
    flags: TransferFlags = parse_knobs(TransferFlags, "transfer", argv)
    from striate.api.stopping import graceful_stop
    from striate.api.stream import stream
    from striate.api.transfer import MINUTES, keep_advice, stream_advice
    from striate.core.run import reserve_run

    if flags.run and not flags.advise_only:
        reserve_run(flags.run, "")  # refused before anything is measured
    minutes = flags.knobs.budget.minutes or MINUTES
    wanted = recipe_io.set_knob(flags.knobs, "budget.minutes", None)
    if wanted.data.folds and not wanted.data.fold:
        raise RecipeError("data.folds: several trainings", "Name one fold: --data.fold 1.")
    advice = notes_shown(stream_advice(recipe=wanted, minutes=minutes), quiet=flags.json)
    words = " ".join(f"--{k.replace('_', '-')} {v}" for k, v in advice.knobs.items())
    if flags.advise_only:
        if flags.json:
            print(one_line(advice.to_json()))
        else:
            low, high = advice.interval
            score = advice.score_name.replace("_", " ")
            print(f"expected {score}: {advice.predicted:.3f} ({low:.3f} to {high:.3f})")
            print(f"train so with: striate train DATA {words}")
        return 0
    chosen = recipe_io.with_overrides(wanted, advice.knobs)
    with graceful_stop() as stop:
        story = stream(recipe=chosen, run=flags.run, stop=stop)
        return watch(story, as_json=flags.json, begun=lambda run: keep_advice(run, advice))
