"""One decoder and one resizer for training, evaluation and prediction (F9, F10).

The policy, whatever the file:

- 16-bit grey is scaled linearly (65535 → 255), never clipped; 16-bit colour keeps its high byte;
  32-bit integers are taken as 16-bit values, floats must lie in [0, 1].
- CMYK, YCbCr, Lab, HSV and palettes become RGB.
- Transparent images are laid over white.
- Of an animation or a multi-page file, the first frame.
- The EXIF orientation is applied.
- 1-bit, grey and grey-with-alpha images have 1 channel, all others 3.
- Pixel counts are checked in the header, before decoding.
- Resizing is bilinear with antialiasing (each output pixel averages all that it covers), or bicubic
  where the weights that a training starts from were trained so.
- Plain JPEGs are decoded by libjpeg-turbo directly, all else by Pillow; the pixels are equal.
- A JPEG of four times the wanted side or more, and of 512 pixels at least, is decoded at a fraction
  of its size, never below twice the wanted side (on average 0.15 grey levels from the full
  decoding).
"""

from __future__ import annotations

import contextlib
import importlib
import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

from striate.core.arrays import Floats, Pixels
from striate.data.formats import ENDINGS, ending_of

Resize = Literal["crop", "squash", "pad"]
Interpolation = Literal["bilinear", "bicubic", "nearest"]

_FORMATS = sorted({*ENDINGS.values()})
_GREY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_ALPHA_MODES = {"LA", "La", "RGBA", "RGBa", "PA"}
_MARKERS = 2**17
_MIRRORED_SIDES = {5, 6, 7, 8}  # EXIF orientations that swap width and height
_ORIENTATION_TAG = 0x0112
for _name in ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP"):
    with contextlib.suppress(ImportError):  # not every Pillow has them all
        importlib.import_module(f"PIL.{_name}ImagePlugin")  # it registers what it reads
if not Image.OPEN.keys() >= set(_FORMATS):
    Image.init()  # all of them, and `formats=` below takes known formats only
Image.MAX_IMAGE_PIXELS = None  # our own limit is checked on every header, with a better message


ROTATED, TRANSPARENT, DEEP, ANIMATED = 1, 2, 4, 8
"""Flags of a header: an EXIF orientation, alpha, more than 8 bits, more than one frame."""


class UndecodableError(Exception):
    """An image cannot be used; the text says why. Collected and listed by the caller."""


@dataclass(frozen=True)
class Header:
    """What the first bytes say: the upright size, channels (1 or 3), the true format, and the EXIF
    orientation that is applied, 1 to 8."""

    width: int
    height: int
    channels: int
    format: str
    flags: int = 0
    orientation: int = 1

    @property
    def stored(self) -> tuple[int, int]:
        """(width, height) as the file has them, before the orientation is applied."""
        turned = self.orientation in _MIRRORED_SIDES
        return (self.height, self.width) if turned else (self.width, self.height)


def wrong_ending(name: str, header: Header) -> str:
    """Why the ending lies about the content, or an empty string."""
    suffix = ending_of(name)
    promised = ENDINGS.get(suffix)
    actual = {"MPO": "JPEG", "DIB": "BMP"}.get(header.format, header.format)
    promised = "BMP" if promised == "DIB" else promised
    if promised in (None, actual):
        return ""
    return f"wrong extension: the content is {actual}, the name says {suffix}"


def read_header(data: bytes, max_megapixels: float) -> Header:
    """Parse the header only. Raises UndecodableError."""
    quick = _plain_header(data, max_megapixels)
    if quick is not None:
        return quick
    with _open(data, max_megapixels) as image:
        return _header(image, _orientation(image, data), data)


def decode(data: bytes, max_megapixels: float, wanted: int = 0) -> Pixels:
    """Encoded bytes → uint8 (H, W, C) by the policy above. Raises UndecodableError.

    `wanted`: the side that the caller will resize to, if the full resolution is not needed.
    """
    return examine(data, max_megapixels, wanted)[1]


def examine(data: bytes, max_megapixels: float, wanted: int = 0) -> tuple[Header, Pixels]:
    """The header and the pixels, from one parsing. Raises UndecodableError."""
    quick = _plain_jpeg(data, max_megapixels, wanted)
    if quick is not None:
        return quick
    with _open(data, max_megapixels) as image:
        orientation = _orientation(image, data)
        header = _header(image, orientation, data)
        try:
            return header, _upright(image, orientation, wanted)
        except UndecodableError:
            raise
        except Exception as error:  # decoders raise nearly anything on damaged input
            raise UndecodableError(f"does not decode: {_reason(error)}") from None


def _upright(image: Image.Image, orientation: int, wanted: int) -> Pixels:
    if orientation != 1:
        return to_array(ImageOps.exif_transpose(image))
    least = _reduced(image.size, wanted)
    if least and image.format == "JPEG":
        image.draft(None, (least, least))
    return to_array(image)


def _plain_jpeg(data: bytes, max_megapixels: float, wanted: int) -> tuple[Header, Pixels] | None:
    """The common case without Pillow: grey or YCbCr, no metadata that could matter. None if it is
    not that, or damaged: Pillow then decides whether too much, and says why."""
    header = _plain_header(data, max_megapixels)
    if header is None:
        return None
    least = _reduced((header.width, header.height), wanted)
    with contextlib.suppress(ValueError):
        return header, simplejpeg.decode_jpeg(
            data, "GRAY" if header.channels == 1 else "RGB", min_height=least, min_width=least
        )
    return None


def _plain_header(data: bytes, max_megapixels: float) -> Header | None:
    if not _without_metadata(data):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if colours not in ("Gray", "YCbCr") or width * height > 1e6 * max_megapixels:
        return None
    return Header(width, height, 1 if colours == "Gray" else 3, "JPEG")


def _without_metadata(data: bytes) -> bool:
    """Whether this is a JPEG that says nothing of its orientation or of further pictures."""
    at = 2 if data[:2] == b"\xff\xd8" else len(data)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:  # the pixels
            return True
        if marker == 0xE1 or data[at + 4 : at + 8] == b"MPF\0":  # EXIF or XMP; several pictures
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def _reduced(size: tuple[int, int], wanted: int) -> int:
    """The side below which a reduced decoding must not go; 0: decode in full.

    libjpeg rounds reduced sides up, which stretches an image by up to a pixel: at 256 and more
    that is nothing, at 64 copies would no longer look alike.
    """
    least = max(2 * wanted, 256)
    return least if wanted and min(size) >= 2 * least else 0


def to_array(image: Image.Image) -> Pixels:
    """An upright Pillow image → uint8 (H, W, C) by the policy above."""
    mode = image.mode
    if mode == "I" or mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.int64)
        return _scaled(wide, 65535.0, "0 to 65535")
    if mode == "F":
        return _scaled(np.asarray(image), 1.0, "0 to 1")
    if mode in _ALPHA_MODES or "transparency" in image.info:
        image = _over_white(image)
    image = image.convert("L" if mode in _GREY_MODES else "RGB")
    array = np.asarray(image, dtype=np.uint8)
    return array[:, :, None] if len(array.shape) == 2 else array


def unify(
    pixels: Pixels, size: int, channels: int, resize: Resize, how: Interpolation = "bilinear"
) -> Pixels:
    """Any uint8 (H, W, C) → (size, size, channels).

    crop: the central square is resized; squash: stretched; pad: the longer side becomes `size`,
    the rest is black. Grey is repeated for 3 channels; colour becomes grey by ITU-R 601 weights.
    """
    if pixels.shape[2] != channels:
        pixels = np.repeat(pixels, 3, axis=2) if channels == 3 else _grey(pixels)
    height, width = pixels.shape[:2]
    if resize == "pad":
        longer = max(height, width)
        new_height, new_width = (max(1, round(side * size / longer)) for side in (height, width))
        return _padded(resized(pixels, new_height, new_width, how), size)
    if resize == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    return resized(pixels, size, size, how)


@dataclass(frozen=True)
class Unified:
    """How every image of a run becomes the same shape."""

    size: int
    channels: int
    resize: Resize
    max_megapixels: float
    interpolation: Interpolation = "bilinear"

    def load(self, images: Any, index: int) -> Pixels:
        """uint8 (size, size, channels). Raises UndecodableError."""
        return self.fit(images.pixels(index, self.max_megapixels, self.size))

    def fit(self, pixels: Pixels) -> Pixels:
        """uint8 (H, W, C) → (size, size, channels)."""
        return unify(pixels, self.size, self.channels, self.resize, self.interpolation)

    def matrices(self, sides: NDArray[Any]) -> Floats:
        """Where `fit` brings the points of originals of these sides (N, 2) as (height, width):
        (N, 2, 3). Of a JPEG that is decoded at a fraction of its size, places are right to half a
        pixel of the result."""
        height, width = (np.maximum(sides[:, i], 1).astype(np.float64) for i in (0, 1))
        found = np.zeros((len(sides), 2, 3))
        if self.resize == "pad":
            longer = np.maximum(height, width)
            new = [np.maximum(1, np.rint(side * self.size / longer)) for side in (width, height)]
            for axis, (old, side) in enumerate(zip((width, height), new, strict=True)):
                found[:, axis, axis] = side / old
                found[:, axis, 2] = (self.size - side) // 2
            return found
        crop = self.resize == "crop"
        for axis, side in enumerate((width, height)):
            kept = np.minimum(height, width) if crop else side
            found[:, axis, axis] = self.size / kept
            found[:, axis, 2] = -((side - kept) // 2) * self.size / kept
        return found


def resized(pixels: Pixels, height: int, width: int, how: Interpolation = "bilinear") -> Pixels:
    """uint8 (H, W, C) → (height, width, C), with antialiasing, or the nearest pixel."""
    return resized_all(pixels[None], height, width, how)[0]


def resized_all(images: Pixels, height: int, width: int, how: Interpolation = "bilinear") -> Pixels:
    """uint8 (N, H, W, C) → (N, height, width, C).

    torch's kernel: within one grey level of Pillow's, in a quarter of the time if it sees that the
    channels are last.
    """
    if images.shape[1:3] == (height, width):
        return images
    import torch
    from torch.nn.functional import interpolate

    writable = np.require(images, requirements=["C", "W"])  # torch warns of arrays that are not
    flat = torch.from_numpy(writable.reshape(-1))  # NumPy's stride of a single image is odd
    x = flat.view(images.shape).permute(0, 3, 1, 2)
    exact = how == "nearest"
    mode = "nearest-exact" if exact else how
    found = interpolate(x, (height, width), mode=mode, antialias=not exact)
    y: Pixels = found.permute(0, 2, 3, 1).numpy()
    return np.ascontiguousarray(y)


def _padded(pixels: Pixels, size: int) -> Pixels:
    """Black around the image, which stays in the middle."""
    before = [(size - side) // 2 for side in pixels.shape[:2]]
    widths = [(b, size - side - b) for b, side in zip(before, pixels.shape[:2], strict=True)]
    return np.pad(pixels, [*widths, (0, 0)])


def _grey(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]


def _open(data: bytes, max_megapixels: float) -> Image.Image:
    if not data:
        raise UndecodableError("zero bytes")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Exception as error:
        raise UndecodableError(f"not an image: {_reason(error)}") from None
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        raise UndecodableError(
            f"{image.width}×{image.height} is {megapixels:.0f} megapixels, more than the limit "
            f"of {max_megapixels:g} (data.max_megapixels)"
        )
    return image


def _header(image: Image.Image, orientation: int, data: bytes) -> Header:
    width, height = image.size
    if orientation in _MIRRORED_SIDES and image.format != "TIFF":  # there Pillow has done it
        width, height = height, width
    channels = 1 if image.mode in _GREY_MODES else 3
    flags = (
        ROTATED * (orientation != 1)
        + TRANSPARENT * (image.mode in _ALPHA_MODES or "transparency" in image.info)
        + DEEP * (image.mode in ("I", "F") or image.mode.startswith("I;16"))
        + ANIMATED * _animated(image.format or "", data)
    )
    return Header(width, height, channels, image.format or "unknown", flags, orientation)


def _animated(form: str, data: bytes) -> bool:
    """By the marks of further frames: asking Pillow would decode them, damaged ones too."""
    if form == "GIF":
        return _gif_frames(data) > 1
    marks = {"PNG": b"acTL", "WEBP": b"ANIM"}
    return form in marks and marks[form] in data[:_MARKERS]


def _gif_frames(data: bytes) -> int:
    """Image descriptors in a GIF, found by skipping from block to block; at most two are sought."""

    def table(flags: int) -> int:
        return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0

    frames = 0
    with contextlib.suppress(IndexError):
        at = 13 + table(data[10])
        while frames < 2 and data[at] in (0x21, 0x2C):
            if data[at] == 0x2C:
                frames += 1
                at += 11 + table(data[at + 9])
            else:
                at += 2
            while data[at]:
                at += data[at] + 1
            at += 1
    return frames


def _orientation(image: Image.Image, data: bytes) -> int:
    """The EXIF orientation, 1 where there is none or one that does not exist. Pillow decodes a
    whole PNG to look for it, so PNGs are asked only where one can be."""
    if image.format == "PNG" and b"eXIf" not in data and b"Raw profile type exif" not in data:
        return 1
    try:
        found = int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged metadata must not cost the image
        return 1
    return found if 1 <= found <= 8 else 1


def upright(orientation: int, width: int, height: int) -> Floats:
    """The matrix (2, 3) from the pixels that a file of this size stores to those of the upright
    image (EXIF)."""
    rows = {
        1: ((1, 0, 0), (0, 1, 0)), 2: ((-1, 0, width), (0, 1, 0)),
        3: ((-1, 0, width), (0, -1, height)), 4: ((1, 0, 0), (0, -1, height)),
        5: ((0, 1, 0), (1, 0, 0)), 6: ((0, -1, height), (1, 0, 0)),
        7: ((0, -1, height), (-1, 0, width)), 8: ((0, 1, 0), (-1, 0, width)),
    }  # fmt: skip
    return np.array(rows[orientation], dtype=np.float64)


def _scaled(values: NDArray[np.int64] | NDArray[np.float32], top: float, text: str) -> Pixels:
    if values.size and not (values.min() >= 0 and values.max() <= top):
        raise UndecodableError(
            f"values from {values.min():g} to {values.max():g}; expected {text} for this format"
        )
    return np.rint(values * (255.0 / top)).astype(np.uint8)[:, :, None]


def _over_white(image: Image.Image) -> Image.Image:
    layered = image.convert("RGBA")
    white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layered)


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "cannot identify image file" in text:
        return "no image format is recognised in its first bytes"
    return text
