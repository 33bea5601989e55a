"""Which endings are images, and what is said of those that are not read."""

from __future__ import annotations

from pathlib import PurePosixPath

from PIL import features

ENDINGS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".bmp": "BMP",
    ".gif": "GIF", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF",
    ".ppm": "PPM", ".pgm": "PPM", ".pbm": "PPM", ".pnm": "PPM", ".jpe": "JPEG", ".dib": "DIB",
    **({".avif": "AVIF"} if features.check("avif") else {}),
}  # fmt: skip
"""Endings taken as images, and the format that each promises."""

_CONVERT = "Convert them first, for example with ImageMagick: magick mogrify -format jpg '*{}'"
UNREAD = {
    ending: (kind, _CONVERT.format(ending))
    for kind, endings in {
        "HEIC, as phones write it": (".heic", ".heif", ".hif"),
        "AVIF, which this Pillow was built without": (".avif",),
        "JPEG XL": (".jxl",),
        "JPEG 2000": (".jp2", ".j2k", ".jpx"),
        "a camera's raw format": (".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"),
        "a vector graphic": (".svg", ".eps"),
        "Photoshop": (".psd",),
        "Targa": (".tga",),
        "an icon": (".ico",),
    }.items()
    for ending in endings
    if ending not in ENDINGS
}
"""Endings of pictures that are not read: what they are, and what to do."""


def ending_of(name: str) -> str:
    """`.jpg` of `A/B.JPG`."""
    return PurePosixPath(name).suffix.lower()


def is_image_name(name: str) -> bool:
    """Whether the ending is one that we read."""
    return ending_of(name) in ENDINGS
