"""`striate data convert IN OUT --to FORM`: annotations of boxes in another form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from striate.cli.flags import parse
from striate.core.errors import counted


def convert(argv: Sequence[str]) -> int:
    """`striate data convert IN OUT`."""
    return int(parse(_convert, "data convert", argv))


def _convert(
    source: Annotated[str, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    to: Literal["voc", "coco", "yolo", "csv"],
    skip_bad: bool = False,
) -> int:
    """Write images with boxes in another form; the files of the images are copied as they are.

    Args:
        source: a folder or archive with Pascal VOC, COCO, YOLO or CSV annotations
        out: a new folder
        to: the form to write
        skip_bad: leave out objects whose annotation cannot be used
    """
    from striate.data.sources import open_source
    from striate.data.sources.annotations.write import convert as write
    from striate.data.sources.options import SourceOptions

    found = open_source(source, SourceOptions(skip_bad=skip_bad))
    for finding in found.remarks:
        if finding.verdict != "fail":
            print(f"{finding.verdict}: {finding.text}")
    for note in write(found, out, to):
        print(f"warn: {note}")
    for split, part in found.parts.items():
        objects = len(getattr(part.targets, "numbers", ()))
        print(f"{split}: {counted(len(part), 'image')}, {counted(objects, 'object')}")
    print(f"written to {out}")
    return 0
