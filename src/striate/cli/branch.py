"""`striate branch RUN --lr 0.01`: train on from a checkpoint with another knob."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from striate.cli.flags import parse
from striate.cli.train import watch
from striate.core.errors import RecipeError, perhaps
from striate.core.recipe import SHORT_FLAGS
from striate.core.recipe_io import knob_names
from striate.doctor.saying import knobs_of

_OWN = ("step", "run", "json", "help")
"""The verb's own words."""


def branch(argv: Sequence[str]) -> int:
    """Train a branch and show it."""
    own, knobs = _sorted_out(argv)

    def _branch(
        parent: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
        step: int | None = None,
        run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
        json: bool = False,
    ) -> int:
        """Train on from a checkpoint of a run, with other knobs, in a run of its own.

        The parent stays as it is. Every knob of `striate train` can follow, as `--lr 0.01` or
        `--regularise.l2 1e-3`; those of the model, the loss and the data begin at the first step.

        Args:
            parent: the run directory to branch from
            step: of the checkpoint; the newest by default
            run: directory of the branch (default runs/<date>-<name>)
            json: print one JSON object as the last line
        """
        from striate.api.branch import branch as branched
        from striate.api.stopping import graceful_stop

        given = knobs_of(shlex.join(knobs))
        with graceful_stop() as stop:
            return watch(branched(parent, given, step=step, folder=run, stop=stop), as_json=json)

    return int(parse(_branch, "branch", own))


def _sorted_out(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The verb's own words, and the recipe's knobs with their values."""
    known = {*knob_names(), *SHORT_FLAGS}
    own, knobs, rest = [], [], list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        plain = name.replace("-", "_")
        group, _, last = plain.rpartition(".")
        knob = {plain, f"{group}.{last[3:]}"} & known  # --augment.no-flip
        if word.startswith("--") and name and not knob and name not in _OWN:
            raise RecipeError(f"no knob --{name}", perhaps(plain, known))
        if not word.startswith("--") or not knob:
            own.append(word)
        elif equals:
            knobs += [f"--{name}", value]
        else:
            knobs.append(word)
            knobs += [rest.pop(0)] if rest and not rest[0].startswith("--") else []
    return own, knobs
