"""`striate data show DATA`: counts, sizes, splits, classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from striate.cli.flags import parse

_CLASSES_SHOWN = 40


def show(argv: Sequence[str]) -> int:
    """`striate data show DATA`."""
    return int(parse(_show, "data show", argv))


def _show(
    source: Annotated[str, tyro.conf.Positional],
    png: Path | None = None,
    seed: int = 0,
    label_levels: tuple[str, ...] = (),
    class_level: int | None = None,
    label_column: str = "",
    label_pattern: str = "",
    skip_bad: bool = False,
    group_by: str = "",
    time_by: str = "",
) -> int:
    """Counts, sizes, splits and classes of a data set.

    Args:
        source: what `striate train` takes
        png: also write a contact sheet here: some images of each class
        seed: of the splits that Striate makes
        label_levels: a name for each folder level that is a label
        class_level: the folder level that names the class: 1 is the first below the split's folder
        label_column: the column of a table that names the class
        label_pattern: a regular expression whose first group in a file's name is its class
        skip_bad: leave out files whose names cannot be read
        group_by: as in training: a regular expression on the path, or a column of a CSV
        time_by: likewise
    """
    from striate.data.boxes import Boxes
    from striate.data.check.boxes import boxes_in
    from striate.data.check.survey import sample_headers
    from striate.data.dataset import open_dataset
    from striate.data.sheet import contact_sheet
    from striate.data.sources.options import SourceOptions
    from striate.data.splits import Splitting

    options = SourceOptions(label_levels, (), class_level, label_column, label_pattern, skip_bad)
    how = Splitting(seed, group_by=group_by, time_by=time_by)
    dataset = open_dataset(source, how, options=options)
    console = Console(highlight=False)
    kind = dataset.splits["train"].targets.described
    print(f"{dataset.source}: {len(dataset.classes)} classes, {kind}")
    table = Table()
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=30)
    counts = {name: dataset.counts(name) for name in dataset.splits}
    for name in dataset.splits:
        table.add_column(name, justify="right")
    for i, label in enumerate(dataset.classes[:_CLASSES_SHOWN]):
        table.add_row(Text(label), *(f"{counts[name][i]:,}" for name in dataset.splits))
    if len(dataset.classes) > _CLASSES_SHOWN:
        table.add_row(f"… {len(dataset.classes) - _CLASSES_SHOWN} more")
    table.add_section()
    table.add_row("images", *(f"{len(split):,}" for split in dataset.splits.values()))
    if dataset.kind == Boxes.kind:
        objects = (len(boxes_in(split).numbers) for split in dataset.splits.values())
        table.add_row("objects", *(f"{count:,}" for count in objects))
    console.print(table)
    for name, why in dataset.splits_from.items():
        print(f"{name}: {why}")
    for name, split in dataset.splits.items():
        _print_sizes(name, *sample_headers(split.images, 100, len(split.images)))
    for finding in dataset.findings:
        print(f"{finding.verdict}: {finding.text}")
        if finding.remedy and finding.verdict == "warn":
            print(f"    {finding.remedy}")
    if png is not None:
        contact_sheet(dataset, png)
        print(f"contact sheet: {png}")
    return 0


def _print_sizes(name: str, sides: np.ndarray, channels: np.ndarray) -> None:
    if not len(sides):
        return
    low, median, high = sides.min(axis=0), np.median(sides, axis=0), sides.max(axis=0)
    grey = int((channels == 1).sum())
    what = "grey" if grey == len(sides) else "colour" if not grey else f"{grey:,} grey, rest colour"
    if (low == high).all():
        print(f"{name}: {low[1]}×{low[0]} pixels, {what}")
        return
    print(
        f"{name}: width {low[1]} to {high[1]} (median {median[1]:g}), "
        f"height {low[0]} to {high[0]} (median {median[0]:g}), {what}"
    )
