"""What people do to pictures, at three strengths each: for the table of `data.py leakage`."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

Alter = Callable[[Image.Image], Image.Image]
Resampling = Image.Resampling


def resize(factor: float, how: Resampling) -> Alter:
    return lambda im: im.resize(
        (max(1, round(im.width * factor)), max(1, round(im.height * factor))), how
    )


def saved(form: str, **options: object) -> Alter:
    def alter(im: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        im.save(buffer, form, **options)
        return Image.open(buffer).convert(im.mode)

    return alter


def both(first: Alter, then: Alter) -> Alter:
    return lambda im: then(first(im))


def crop(share: float) -> Alter:
    def alter(im: Image.Image) -> Image.Image:
        x, y = round(im.width * share), round(im.height * share)
        return im.crop((x, y, im.width - x, im.height - y))

    return alter


def border(share: float, grey: int) -> Alter:
    return lambda im: ImageOps.expand(
        im, max(1, round(im.width * share)), grey if im.mode == "L" else (grey,) * 3
    )


def mark(share: float) -> Alter:
    def alter(im: Image.Image) -> Image.Image:
        marked, side = im.copy(), max(2, round(share * im.width))
        box = (im.width - side - 1, im.height - side // 2 - 1, im.width - 2, im.height - 2)
        ImageDraw.Draw(marked).rectangle(box, 255 if im.mode == "L" else (255, 255, 255))
        return marked

    return alter


def palette(colours: int) -> Alter:
    return lambda im: im.convert("RGB").quantize(colours).convert(im.mode)


def bright(factor: float) -> Alter:
    return lambda im: ImageEnhance.Brightness(im).enhance(factor)


def contrast(factor: float) -> Alter:
    return lambda im: ImageEnhance.Contrast(im).enhance(factor)


RE_ENCODED: dict[str, tuple[Alter, Alter, Alter]] = {
    "resized (0.89 and JPEG 70, 0.75, 2)": (
        both(resize(0.89, Resampling.BICUBIC), saved("JPEG", quality=70)),
        resize(0.75, Resampling.LANCZOS), resize(2, Resampling.NEAREST),
    ),
    "halved (bilinear, bicubic, box)": (
        resize(0.5, Resampling.BILINEAR), resize(0.5, Resampling.BICUBIC),
        resize(0.5, Resampling.BOX),
    ),
    "JPEG (95 full colour, 60, 30)": (
        saved("JPEG", quality=95, subsampling=0), saved("JPEG", quality=60),
        saved("JPEG", quality=30),
    ),
    "WebP (90, 50, 20)": tuple(saved("WEBP", quality=q) for q in (90, 50, 20)),  # type: ignore[dict-item]
    "palette (256, 64, 16)": (palette(256), palette(64), palette(16)),
}  # fmt: skip
"""95 % are to be found."""
ALTERED: dict[str, tuple[Alter, Alter, Alter]] = {
    "nearest pixel (0.9, 0.75, 0.6)": tuple(  # type: ignore[dict-item]
        resize(f, Resampling.NEAREST) for f in (0.9, 0.75, 0.6)
    ),
    "cropped (2, 3.5, 5 % a side)": (crop(0.02), crop(0.035), crop(0.05)),
    "framed (2 %, 5 % black, 5 % white)": (border(0.02, 0), border(0.05, 0), border(0.05, 255)),
    "brightness (0.8, 1.2, 1.5)": (bright(0.8), bright(1.2), bright(1.5)),
    "contrast (0.7, 1.3, 1.6)": (contrast(0.7), contrast(1.3), contrast(1.6)),
    "grey (plain, brighter, JPEG 70)": (
        ImageOps.grayscale, both(ImageOps.grayscale, bright(1.1)),
        both(ImageOps.grayscale, saved("JPEG", quality=70)),
    ),
    "marked (a tenth, a fifth, 0.3 of the side)": (mark(0.1), mark(0.2), mark(0.3)),
    "mirrored (plain, JPEG 70, 0.75)": (
        ImageOps.mirror, both(ImageOps.mirror, saved("JPEG", quality=70)),
        both(ImageOps.mirror, resize(0.75, Resampling.BILINEAR)),
    ),
}  # fmt: skip
"""80 % are to be found, or the family is named as not covered."""


def pixels(image: Image.Image) -> np.ndarray:
    """As our decoder gives them."""
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array
