"""IDX files, plain or gzipped, as MNIST ships them (images uint8, labels uint8)."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import DataError
from striate.data.images import ArrayImages
from striate.data.sources.listing import WHOLE, Listing, Part, numbered_part

_IMAGES = re.compile(r"(?P<stem>.*?)-?images[-.]?idx[34]-ubyte(\.gz)?$")
_SPLITS = {"train": "train", "t10k": "test", "test": "test", "val": "val", "valid": "val"}


def is_idx_folder(folder: Path) -> bool:
    """Whether the folder has a file named like MNIST's images."""
    return any(_IMAGES.match(child.name) for child in folder.iterdir() if child.is_file())


def open_idx(folder: Path) -> Listing:
    """All pairs `…images-idx3-ubyte`, `…labels-idx1-ubyte` in a folder, by split."""
    parts: dict[str, Part] = {}
    for path in sorted(folder.iterdir()):
        match = _IMAGES.match(path.name)
        if not match:
            continue
        split = next((s for word, s in _SPLITS.items() if word in match["stem"].lower()), WHOLE)
        if split in parts:
            raise DataError(
                f"{folder}: a second images file for the {split} split: {path.name}",
                "Keep one version of each file, packed or unpacked.",
            )
        parts[split] = _pair(path, _labels_beside(path))
    return Listing(str(folder), parts)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of one IDX file: magic 0, 0, 8 (uint8), dimensions, big-endian sizes, data."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked: {error}", "Copy the file again.") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != 8:
        raise DataError(f"{path} is not an IDX file of bytes (its magic number is wrong)")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataError(f"{path} is cut short: it ends inside its header", "Copy the file again.")
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    if len(data) - start != math.prod(shape):
        raise DataError(
            f"{path} promises {math.prod(shape):,} bytes for shape {tuple(shape)} "
            f"and has {len(data) - start:,}",
            "Copy the file again.",
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _pair(images_path: Path, labels_path: Path) -> Part:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim not in (3, 4) or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"{images_path.name} has shape {images.shape}, {labels_path.name} {labels.shape}: "
            "expected (N, height, width) and (N,)"
        )
    array = images[..., None] if images.ndim == 3 else images
    return numbered_part(ArrayImages(array, f"{images_path}[]"), labels)


def _labels_beside(images: Path) -> Path:
    """The labels file of the same stem, packed or not."""
    plain = re.sub(r"images([-.]?)idx[34]", r"labels\1idx1", images.name).removesuffix(".gz")
    for name in (plain + ".gz", plain) if images.suffix == ".gz" else (plain, plain + ".gz"):
        if (images.parent / name).is_file():
            return images.parent / name
    raise DataError(
        f"{images} has no labels file beside it", f"Expected {plain} or {plain}.gz there."
    )
