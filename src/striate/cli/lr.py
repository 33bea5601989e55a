"""`striate lr [DATA]`: a learning rate and its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from striate.cli.flags import parse_knobs
from striate.cli.view import notes_shown
from striate.core.recipe import Recipe
from striate.core.strict_json import one_line


@dataclass(frozen=True)
class RateFlags:
    """Find the learning rate by range tests and short trainings; takes the flags of `train`."""

    source: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = None
    """what `striate train` takes; without: the built-in digits"""
    recipe: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """YAML recipe; flags override it"""
    preset: str = "quick"
    """named recipe to start from: quick, standard"""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """draw the tests: a .png or .svg"""
    json: bool = False
    """print one JSON object and nothing else"""
    knobs: Annotated[Recipe, tyro.conf.arg(name="")] = Recipe()  # noqa: RUF009 - frozen


def lr(argv: Sequence[str]) -> int:
    """Show the tests as they go, and the rate."""
    flags: RateFlags = parse_knobs(RateFlags, "lr", argv)
    from striate.api.rate import stream_rate
    from striate.report.plots import check_kind, save_rate_test

    if flags.plot:
        check_kind(flags.plot)
    found = notes_shown(stream_rate(recipe=flags.knobs), quiet=flags.json)
    if flags.plot:
        save_rate_test(found, flags.plot)
    if flags.json:
        values = {k: v for k, v in asdict(found).items() if k != "sweeps"}
        sweeps = [{"rates": _plain(s.rates), "losses": _plain(s.losses)} for s in found.sweeps]
        print(one_line({**values, "sweeps": sweeps}))
        return 0
    steep, gone = np.median(found.steepest), np.median(found.explodes)
    print(f"range tests: the loss falls fastest at {steep:.2g}, and rises from {gone:.2g}")
    print(found.why)
    print(f"\nlearning rate {found.lr:.2g}   (--lr {found.lr:.2g})")
    if flags.plot:
        print(f"drawn: {flags.plot}")
    return 0


def _plain(values: np.ndarray) -> list[float]:
    return [float(f"{x:.5g}") for x in values]
