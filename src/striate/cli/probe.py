"""`striate probe DATA`: linear classifiers on every stage of trained weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from striate.cli.flags import parse_knobs
from striate.core.recipe import Recipe
from striate.core.records import Note
from striate.core.strict_json import one_line

if TYPE_CHECKING:
    from striate.transfer.probe import Probe


@dataclass(frozen=True)
class ProbeFlags:
    """Fit linear classifiers to every stage of trained weights; takes the flags of `train`.

    --weights names the weights; without it ImageNet's.
    """

    source: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = None
    """what `striate train` takes; without: the built-in digits"""
    recipe: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """YAML recipe; flags override it"""
    preset: str = "quick"
    """named recipe to start from: quick, standard"""
    no_pairs: bool = False
    """leave out the pairs of stages"""
    json: bool = False
    """print one JSON object and nothing else"""
    knobs: Annotated[Recipe, tyro.conf.arg(name="")] = Recipe()  # noqa: RUF009 - frozen


def probe(argv: Sequence[str]) -> int:
    """Print each probe as it is made."""
    flags: ProbeFlags = parse_knobs(ProbeFlags, "probe", argv)
    from striate.api.transfer import stream_probe
    from striate.training.log import drained, seen_by

    shown: list[Probe] = []

    def show(record: Note | Probe) -> None:
        if flags.json:
            return
        if isinstance(record, Note):
            print(record.text, flush=True)
            return
        if not shown:
            columns = (
                f"{'stages':<16}{'score':>7}  {'95 % interval':<16}{'neighbours':>10}{'LogME':>8}"
            )
            print(f"\n{columns}")
        shown.append(record)
        print(_row(record), flush=True)

    found = drained(seen_by(show, stream_probe(recipe=flags.knobs, pairs=not flags.no_pairs)))
    if flags.json:
        print(one_line({**asdict(found), "best": list(found.best.stages)}))
        return 0
    best = found.best
    print(
        f"\nscore: {found.score.replace('_', ' ')} of a linear classifier in cross-validation on "
        f"training images;\nneighbours: that of the 5 nearest images."
    )
    if found.leep is not None:
        print(f"LEEP of the weights' own classes: {found.leep:.3f}")
    print(f"best: {' and '.join(best.stages)}, {best.score:.3f}")
    print("No probe foresees what training the stages gains: `striate transfer` measures that.")
    return 0


def _row(found: Probe) -> str:
    low, high = found.interval
    return (
        f"{' + '.join(found.stages):<16}{found.score:>7.3f}  {f'{low:.3f} to {high:.3f}':<16}"
        f"{found.neighbours:>10.3f}{found.logme:>8.3f}"
    )
