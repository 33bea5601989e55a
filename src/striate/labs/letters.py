"""Characters that are rendered from a font and look a little as if written by hand: as many images
as one likes, with labels that are exact."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from striate.core.arrays import Floats

_PAGE, _CELLS, _SIDE = 96, 4, 8
_TURN, _LEAN, _WOBBLE, _INK = 15.0, 0.3, 7.0, 1.6
"""Deviations: degrees, slant, pixels by which a grid's corners are moved; and the contrast."""


def rendered(characters: str, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 8, 8) in [0, 1] and which character each shows (N,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(characters), count)
    font = ImageFont.load_default(size=60)
    images = np.stack([_written(characters[label], font, rng) for label in labels.tolist()])
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels)


def _written(
    character: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, rng: np.random.Generator
) -> Floats:
    page, middle = Image.new("L", (_PAGE, _PAGE)), _PAGE / 2
    ImageDraw.Draw(page).text(
        (middle, middle), character, fill=255, font=font, anchor="mm",
        stroke_width=int(rng.integers(0, 4)),
    )  # fmt: skip
    moved = page.transform((_PAGE, _PAGE), Image.Transform.MESH, _mesh(rng),
                           Image.Resampling.BILINEAR)  # fmt: skip
    box = moved.getbbox() or (0, 0, _PAGE, _PAGE)
    small = moved.crop(box).resize((int(rng.integers(5, 9)), _SIDE), Image.Resampling.BOX)
    found = np.zeros((_SIDE, _SIDE), dtype=np.float32)
    left = (_SIDE - small.width) // 2
    found[:, left : left + small.width] = np.asarray(small, dtype=np.float32) * (_INK / 255)
    return np.minimum(found, 1)


def _mesh(rng: np.random.Generator) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Cells of the page and where each comes from: turned, slanted, and with every corner moved."""
    angle, lean = np.deg2rad(rng.normal(0, _TURN)), rng.normal(0.1, _LEAN)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1, lean], [0, 1]])
    lines = np.linspace(0, _PAGE, _CELLS + 1)
    corners = np.stack(np.meshgrid(lines, lines, indexing="xy"), axis=-1)
    source = (corners - _PAGE / 2) @ matrix.T + _PAGE / 2
    source += rng.normal(0, _WOBBLE, source.shape)
    cells = []
    for row in range(_CELLS):
        for column in range(_CELLS):
            box = (*corners[row, column], *corners[row + 1, column + 1])
            around = (source[row, column], source[row + 1, column],
                      source[row + 1, column + 1], source[row, column + 1])  # fmt: skip
            cells.append((tuple(map(int, box)), tuple(float(v) for p in around for v in p)))
    return cells
