"""Pictures of images, maps and signals: tiles, blocks of tiles, sheets with titles and captions."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = Image.Image
Floats = NDArray[np.floating[Any]]
_GAP, _LINE = 4, 17
_INK, _PAPER = (26, 26, 26), (255, 255, 255)


@dataclass(frozen=True)
class Figure:
    """A picture with its name (of a file), what to say in its place, and what it shows."""

    name: str
    picture: Picture
    alt: str
    caption: str

    @property
    def uri(self) -> str:
        """A picture as a data URI of a WebP."""
        buffer = io.BytesIO()
        self.picture.save(buffer, "WEBP", quality=82, method=4)
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()

    @property
    def png(self) -> bytes:
        buffer = io.BytesIO()
        self.picture.save(buffer, "PNG")
        return buffer.getvalue()


def tile(pixels: NDArray[np.uint8], side: int) -> Picture:
    """An image uint8 (H, W, C or none) whose longer side is `side`: enlarged without inventing."""
    flat = pixels[..., 0] if len(pixels.shape) == 3 and pixels.shape[2] == 1 else pixels
    image = Image.fromarray(np.ascontiguousarray(flat)).convert("RGB")
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


_COLOURS = {"truth": (0, 158, 115), "hit": (58, 111, 216), "error": (213, 60, 30)}
"""Of boxes, by what they are; apart also for the colour-blind."""


def with_boxes(
    picture: Picture, boxes: Sequence[tuple[tuple[float, float, float, float], str, str]]
) -> Picture:
    """A picture with boxes in its pixels, what is written at each, and its kind (of _COLOURS)."""
    made = picture.copy()
    draw, font = ImageDraw.Draw(made), _font(10)
    for (left, top, right, bottom), text, kind in boxes:
        colour = _COLOURS[kind]
        sides = [left, top, max(left, right - 1), max(top, bottom - 1)]
        draw.rectangle(sides, outline=colour, width=2)
        if text:
            place = (min(max(left, 0), picture.width - 8), max(0.0, top - 12))
            draw.rectangle(draw.textbbox(place, text, font), fill=colour)
            draw.text(place, text, _PAPER, font)
    return made


def heat(values: Floats) -> NDArray[np.uint8]:
    """Numbers (H, W) from dark (the least) to bright (the largest), in colours that the
    colour-blind see and that turn grey well."""
    from matplotlib import colormaps

    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    shares = (values - low) / (high - low) if high > low else np.zeros_like(values)
    colours = colormaps["cividis"](np.nan_to_num(shares), bytes=True)
    return np.asarray(colours[..., :3], dtype=np.uint8)


def signed(values: Floats) -> NDArray[np.uint8]:
    """Numbers (H, W, C) around 0, which is grey; the largest hundredth of |values| is full."""
    most = float(np.quantile(np.abs(values), 0.99)) or float(np.abs(values).max())
    shares = np.clip(values / most, -1, 1) if most else np.zeros(values.shape)
    return (127.5 + 127.5 * shares).astype(np.uint8)


def overlaid(pixels: NDArray[np.uint8], values: Floats) -> NDArray[np.uint8]:
    """An image in grey, lit by what is large in a map (H, W): the strongest hundredth is full."""
    grey = pixels.mean(axis=2)
    most = float(np.quantile(np.maximum(values, 0), 0.99)) or float(values.max())
    share = np.clip(values / most, 0, 1) if most > 0 else np.zeros_like(values)
    dim = 0.35 * grey
    lit = np.stack([dim + share * 220, dim + share * 150, dim * (1 - share)], axis=2)
    return np.clip(lit, 0, 255).astype(np.uint8)


def block(tiles: Sequence[Picture], columns: int, gap: int = 2) -> Picture:
    """Tiles side by side, in rows of `columns`."""
    wide, high = max(t.width for t in tiles), max(t.height for t in tiles)
    rows = -(-len(tiles) // columns)
    used = min(columns, len(tiles))
    made = Image.new("RGB", (used * (wide + gap) - gap, rows * (high + gap) - gap), _PAPER)
    for i, each in enumerate(tiles):
        made.paste(each, (i % columns * (wide + gap), i // columns * (high + gap)))
    return made


@dataclass(frozen=True)
class Cell:
    """A picture with lines below it."""

    picture: Picture
    lines: tuple[str, ...] = ()


def sheet(rows: Sequence[tuple[str, Sequence[Cell]]], heads: Sequence[str] = ()) -> Picture:
    """Rows of cells with a title over each row (none if empty) and heads over the columns. Lines
    that are too long for their column end in an ellipsis."""
    font = _font()
    columns = max((len(cells) for _, cells in rows), default=0)
    widths = [
        max((cells[c].picture.width for _, cells in rows if c < len(cells)), default=0)
        for c in range(columns)
    ]
    titles = max((int(font.getlength(title)) for title, _ in rows), default=0)
    width = max(sum(widths) + _GAP * (columns + 1), min(titles, 700) + 2 * _GAP)
    heights = [_height(title, cells) for title, cells in rows]
    made = Image.new("RGB", (width, bool(heads) * _LINE + sum(heights) + _GAP), _PAPER)
    draw = ImageDraw.Draw(made)
    lefts = [_GAP + sum(widths[:c]) + c * _GAP for c in range(columns)]
    for head, left, wide in zip(heads, lefts, widths, strict=False):
        draw.text((left, 1), _fitted(head, font, wide), _INK, font)
    top = bool(heads) * _LINE + _GAP
    for (title, cells), high in zip(rows, heights, strict=True):
        at = top
        if title:
            draw.text((_GAP, at), _fitted(title, font, width - 2 * _GAP), _INK, font)
            at += _LINE
        for cell, left, wide in zip(cells, lefts, widths, strict=False):
            made.paste(cell.picture, (left, at))
            for number, line in enumerate(cell.lines):
                place = (left, at + cell.picture.height + number * _LINE)
                draw.text(place, _fitted(line, font, wide), _INK, font)
        top += high
    return made


def _height(title: str, cells: Sequence[Cell]) -> int:
    tallest = max((c.picture.height + len(c.lines) * _LINE for c in cells), default=0)
    return bool(title) * _LINE + tallest + _GAP


@cache
def _font(size: int = 12) -> Any:
    """A font with more than Latin letters, which matplotlib brings."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def _fitted(text: str, font: Any, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
