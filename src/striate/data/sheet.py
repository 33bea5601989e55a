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
from striate.core.geometry import hulls
from striate.core.randomness import permutation
from striate.data.boxes import Boxes
from striate.data.dataset import Dataset, Split
from striate.data.decode import UndecodableError, Unified, unify

_TILE, _GAP, _LABEL, _COLUMNS, _CLASSES = 72, 4, 190, 10, 40
_BOXED_TILE, _BOXED = 200, 6
_INK, _SOFT, _PAPER, _MISSING = (20, 20, 20), (110, 110, 110), (255, 255, 255), (200, 60, 60)
_BOX, _OTHER = (255, 190, 0), (170, 170, 170)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Row:
    """A title, a softer second line, and tiles uint8 (H, W, C); None is a red tile."""

    title: str
    note: str
    tiles: Sequence[Pixels | None]
    side: int = _TILE
    """Of a tile, in pixels."""


def write_sheet(path: Path, rows: Sequence[Row]) -> None:
    """Write a PNG with a row of tiles for each."""
    font = ImageFont.load_default(size=14)
    tile = max((row.side for row in rows), default=_TILE)
    widest = max((font.getlength(t) for row in rows for t in (row.title, row.note)), default=0)
    label = min(_LABEL, int(widest) + 3 * _GAP)
    columns = max((len(row.tiles) for row in rows), default=0)
    size = (label + columns * (tile + _GAP) + _GAP, max(1, len(rows)) * (tile + _GAP) + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        top = _GAP + number * (tile + _GAP)
        draw.text((_GAP, top + 18), _shortened(row.title, font, label - 2 * _GAP), _INK, font)
        draw.text((_GAP, top + 38), _shortened(row.note, font, label - 2 * _GAP), _SOFT, font)
        for column, pixels in enumerate(row.tiles):
            sheet.paste(_tile(pixels, tile), (label + column * (tile + _GAP), top))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def contact_sheet(dataset: Dataset, path: Path, split: str = "train") -> None:
    """A row for each class (the first 40), ten random images of `split` in it."""
    counts, own = dataset.counts(split), dataset.splits[split]
    boxed = isinstance(own.targets, Boxes)
    rows = [
        Row(name, f"{counts[i]:,}", boxed_tiles(own, _examples(own, i)[:_BOXED], i), _BOXED_TILE)
        if boxed
        else Row(name, f"{counts[i]:,}", tiles_of(own, _examples(own, i)))
        for i, name in enumerate(dataset.classes[:_CLASSES])
    ]
    write_sheet(path, rows)


def boxed_tiles(split: Split, indices: Iterable[int], number: int) -> list[Pixels | None]:
    """The images at these positions with their boxes drawn, those of class `number` in colour, the
    others grey; None for one that does not decode."""
    assert isinstance(split.targets, Boxes)
    how = Unified(_BOXED_TILE, 3, "pad", 100.0)
    tiles: list[Pixels | None] = []
    for index in indices:
        try:
            header, pixels = split.images.header(index, 100.0), how.load(split.images, index)
        except UndecodableError:
            tiles.append(None)
            continue
        matrix = how.matrices(np.array([[header.height, header.width]]))
        own = split.targets.only(index)
        places = hulls(own.places[None], matrix)[0]
        image = Image.fromarray(pixels)
        draw = ImageDraw.Draw(image)
        for place, of in sorted(zip(places.tolist(), own.numbers, strict=True),
                                key=lambda pair: pair[1] == number):  # fmt: skip
            draw.rectangle(place, outline=_BOX if of == number else _OTHER, width=2)
        tiles.append(np.asarray(image))
    return tiles


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


def _tile(pixels: Pixels | None, side: int) -> Image.Image:
    if pixels is None:
        return Image.new("RGB", (side, side), _MISSING)
    return Image.fromarray(unify(pixels, side, 3, "pad"))


def _shortened(text: str, font: Font, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
