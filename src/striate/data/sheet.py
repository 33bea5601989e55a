"""Contact sheets: rows of small images with a title beside each row."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from striate.core.arrays import Pixels
from striate.core.files import write_atomically
from striate.core.randomness import permutation
from striate.data.dataset import Dataset, Split
from striate.data.decode import UndecodableError, unify

_TILE, _GAP, _LABEL, _COLUMNS, _CLASSES = 72, 4, 190, 10, 40
_INK, _SOFT, _PAPER, _MISSING = (20, 20, 20), (110, 110, 110), (255, 255, 255), (200, 60, 60)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Row:
    """A title, a softer second line, and tiles uint8 (H, W, C); None is a red tile."""

    title: str
    note: str
    tiles: Sequence[Pixels | None]


def write_sheet(path: Path, rows: Sequence[Row]) -> None:
    """Write a PNG with a row of tiles for each."""
    font = ImageFont.load_default(size=14)
    widest = max((font.getlength(t) for row in rows for t in (row.title, row.note)), default=0)
    label = min(_LABEL, int(widest) + 3 * _GAP)
    columns = max((len(row.tiles) for row in rows), default=0)
    size = (label + columns * (_TILE + _GAP) + _GAP, max(1, len(rows)) * (_TILE + _GAP) + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        top = _GAP + number * (_TILE + _GAP)
        draw.text((_GAP, top + 18), _shortened(row.title, font, label - 2 * _GAP), _INK, font)
        draw.text((_GAP, top + 38), _shortened(row.note, font, label - 2 * _GAP), _SOFT, font)
        for column, pixels in enumerate(row.tiles):
            sheet.paste(_tile(pixels), (label + column * (_TILE + _GAP), top))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def contact_sheet(dataset: Dataset, path: Path, split: str = "train") -> None:
    """A row for each class (the first 40), ten random images of `split` in it."""
    counts = dataset.counts(split)
    rows = [
        Row(
            name,
            f"{counts[i]:,}",
            tiles_of(dataset.splits[split], _examples(dataset.splits[split], i)),
        )
        for i, name in enumerate(dataset.classes[:_CLASSES])
    ]
    write_sheet(path, rows)


def tiles_of(split: Split, indices: Iterable[int]) -> list[Pixels | None]:
    """The images at these positions; None for one that does not decode."""
    tiles: list[Pixels | None] = []
    for index in indices:
        try:
            tiles.append(split.images.pixels(index, 100.0, _TILE))
        except UndecodableError:
            tiles.append(None)
    return tiles


def _examples(split: Split, number: int) -> list[int]:
    ids = np.flatnonzero(split.targets.having(number))
    return [int(ids[i]) for i in permutation(0, 0, "sheet", len(ids))[:_COLUMNS]]


def _tile(pixels: Pixels | None) -> Image.Image:
    if pixels is None:
        return Image.new("RGB", (_TILE, _TILE), _MISSING)
    return Image.fromarray(unify(pixels, _TILE, 3, "pad"))


def _shortened(text: str, font: Font, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
