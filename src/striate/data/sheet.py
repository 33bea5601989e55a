"""A contact sheet: some images of each class, with names."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from striate.core.files import write_atomically
from striate.core.randomness import permutation
from striate.data.dataset import Dataset, Split
from striate.data.decode import UndecodableError, unify

_TILE, _GAP, _LABEL, _COLUMNS, _CLASSES = 72, 4, 150, 10, 40
_INK, _PAPER, _MISSING = (20, 20, 20), (255, 255, 255), (200, 60, 60)


def contact_sheet(dataset: Dataset, path: Path, split: str = "train") -> None:
    """Write a PNG: a row for each class (the first 40), ten random images of `split` in it.

    An image that does not decode is a red tile.
    """
    shown = dataset.classes[:_CLASSES]
    font = ImageFont.load_default(size=14)
    widest = max(font.getlength(name) for name in (*shown, "00,000"))
    label = min(_LABEL, int(widest) + 3 * _GAP)
    width = label + _COLUMNS * (_TILE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, len(shown) * (_TILE + _GAP) + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(shown):
        top = _GAP + row * (_TILE + _GAP)
        count = dataset.counts(split)[row]
        draw.text((_GAP, top + 18), _shortened(name, font, label - 2 * _GAP), _INK, font)
        draw.text((_GAP, top + 38), f"{count:,}", (110, 110, 110), font)
        for column, index in enumerate(_examples(dataset.splits[split], row)):
            tile = _tile(dataset.splits[split], index)
            sheet.paste(tile, (label + column * (_TILE + _GAP), top))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def _examples(split: Split, number: int) -> list[int]:
    member = split.targets == number if split.targets.ndim == 1 else split.targets[:, number] > 0
    ids = np.flatnonzero(member)
    return [int(ids[i]) for i in permutation(0, 0, "sheet", len(ids))[:_COLUMNS]]


def _tile(split: Split, index: int) -> Image.Image:
    try:
        pixels = split.images.pixels(index, 100.0)
    except UndecodableError:
        return Image.new("RGB", (_TILE, _TILE), _MISSING)
    return Image.fromarray(unify(pixels, _TILE, 3, "pad"))


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
