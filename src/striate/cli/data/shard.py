"""`striate data shard SRC OUT`: one pile of files becomes a few large ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from striate.cli.flags import parse


def shard(argv: Sequence[str]) -> int:
    """Write shards and their index."""
    return int(parse(_shard, "data shard", argv))


def _shard(
    source: Annotated[str, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    size: str = "256MB",
    seed: int = 0,
    skip_bad: bool = False,
    label_levels: tuple[str, ...] = (),
    columns: tuple[str, ...] = (),
    class_level: int | None = None,
    label_column: str = "",
    label_pattern: str = "",
) -> int:
    """Write a data set as plain tar shards with an index; then `striate train OUT`, here or behind
    a URL.

    Args:
        source: what `striate train` takes
        out: a folder that does not exist yet
        size: of a shard, such as 256MB or 1GB
        seed: of the order in which images are written
        skip_bad: leave out images that cannot be read
        label_levels: a name for each folder level that is a label
        columns: of a CSV, to be kept beside the labels: groups, times, weights
        class_level: the folder level that names the class, as in training
        label_column: the column of a table that names the class
        label_pattern: a regular expression whose first group in a file's name is its class
    """
    from striate.core.errors import DataError
    from striate.data.shards import parse_size, write_shards
    from striate.data.sources import open_source
    from striate.data.sources.options import SourceOptions

    options = SourceOptions(
        label_levels, columns, class_level, label_column, label_pattern, skip_bad
    )
    found = open_source(source, options)
    there = {name for part in found.parts.values() for name in part.columns}
    if missing := sorted(set(columns) - there):
        raise DataError(
            f"{source} has no column '{missing[0]}'", "Give names in the header of a CSV."
        )
    for name in write_shards(found, out, size=parse_size(size), seed=seed, skip_bad=skip_bad):
        size_mb = (out / name).stat().st_size / 1e6
        print(f"{out / name}  {size_mb:,.1f} MB")
    counts = ", ".join(f"{len(part):,} {split}" for split, part in found.parts.items())
    print(f"{counts}. Train with: striate train {out}")
    return 0
