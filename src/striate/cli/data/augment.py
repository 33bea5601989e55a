"""`striate data augment DATA`: originals beside what training makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from striate.cli.flags import parse
from striate.core import recipe_io
from striate.core.recipe import Augment, Recipe
from striate.core.recipe import Data as DataKnobs
from striate.core.strict_json import one_line

_ROWS, _VARIANTS = 8, 9


@dataclass(frozen=True)
class AugmentFlags:
    """Show training images beside their augmented variants, and count the variants."""

    source: Annotated[str, tyro.conf.Positional]
    """what `striate train` takes"""
    png: Path = Path("augmented.png")
    """where to write the pictures"""
    each: bool = False
    """a row for each member of the family at a typical strength, instead of the chosen ones"""
    image_size: int | None = None
    """side of the network's input in pixels (default: as training would choose)"""
    seed: int = 0
    """of the random numbers: the same seed shows what training with it sees"""
    json: bool = False
    """print one JSON object as the last line"""
    augment: Annotated[Augment, tyro.conf.arg(name="augment")] = Augment()  # noqa: RUF009 - frozen


def augment(argv: Sequence[str]) -> int:
    """Write the sheet and say how many variants there are."""
    flags: AugmentFlags = parse(AugmentFlags, "data augment", argv)
    from striate.plan.preview import preview

    data = DataKnobs(source=flags.source)
    if flags.image_size is not None:
        data = replace(data, image_size=flags.image_size)
    given = asdict(Recipe(data=data, augment=flags.augment, seed=flags.seed))
    recipe = recipe_io.from_dict(given, "command line")
    found = preview(recipe, flags.png, each=flags.each, rows=_ROWS, columns=_VARIANTS)
    for name, strength in found.strengths.items():
        print(f"{name} {strength:g}: {_count(found.counts[name])} variants of an image")
    if not flags.each:
        print(f"together: {_count(found.total)}")
    print(f"pictures: {flags.png}")
    if flags.json:
        counts = {n: None if math.isinf(c) else int(c) for n, c in found.counts.items()}
        total = None if math.isinf(found.total) else int(found.total)
        print(one_line({"variants": counts, "total": total, "png": str(flags.png)}))
    return 0


def _count(number: float) -> str:
    return "infinitely many" if math.isinf(number) else f"{int(number):,}"
