"""IDX files, plain or gzipped, as MNIST ships them (images uint8, labels uint8)."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import DataError
from striate.data.images import ArrayImages
from striate.data.sources.listing import WHOLE, Listing, Part, numbered_part
from striate.data.sources.scan import Tree, hidden

_IMAGES = re.compile(r"(?P<stem>.*?)[-_.]?images[-_.]?idx[34]([-_.]?ubyte)?(\.gz)?$")
_SPLITS = {"train": "train", "t10k": "test", "test": "test", "val": "val", "valid": "val"}
_KINDS = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
"""The third byte of the magic number: the type of the values."""


def has_idx(tree: Tree) -> bool:
    """Whether files are named like MNIST's images: in the folder, or in others in it, as archives
    and torchvision lay them out."""
    return any(_IMAGES.fullmatch(_name(path)) for path in tree.files if not hidden(path))


def _name(path: str) -> str:
    return PurePosixPath(path).name


def open_idx(tree: Tree, source: str) -> Listing:
    """All pairs `…images-idx3-ubyte`, `…labels-idx1-ubyte` of a tree, by split. A file that is
    there packed and unpacked counts once."""
    parts: dict[str, Part] = {}
    where: dict[str, str] = {}
    for path in sorted(path for path in tree.files if not hidden(path)):
        match = _IMAGES.fullmatch(_name(path))
        if not match or (path.endswith(".gz") and path.removesuffix(".gz") in tree.files):
            continue
        split = next((s for word, s in _SPLITS.items() if word in match["stem"].lower()), WHOLE)
        if split in parts:
            raise DataError(
                f"{source}: a second images file for the {split} split: {path} beside "
                f"{where[split]}",
                "Keep one version of each file; give each set of files a folder of its own.",
            )
        where[split] = path
        parts[split] = _pair(tree, path, _labels_beside(tree, path))
    return Listing(source, parts)


def read_idx(content: bytes, path: str) -> NDArray[Any]:
    """The array of one IDX file: magic 0, 0, type, dimensions, big-endian sizes, data."""
    try:
        data = gzip.decompress(content) if path.endswith(".gz") else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked: {error}", "Copy the file again.") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _KINDS:
        raise DataError(f"{path} is not an IDX file (its magic number is wrong)")
    kind = np.dtype(_KINDS[data[2]])
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataError(f"{path} is cut short: it ends inside its header", "Copy the file again.")
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    wanted = math.prod(shape) * kind.itemsize
    if len(data) - start != wanted:
        raise DataError(
            f"{path} promises {wanted:,} bytes for shape {tuple(shape)} "
            f"and has {len(data) - start:,}",
            "Copy the file again.",
        )
    return np.frombuffer(data, kind, offset=start).reshape(shape)


def _pair(tree: Tree, images_path: str, labels_path: str) -> Part:
    images, labels = (
        read_idx(tree.text(path), tree.shown + path) for path in (images_path, labels_path)
    )
    if images.ndim not in (3, 4) or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"{images_path} has shape {images.shape}, {labels_path} {labels.shape}: "
            "expected (N, height, width) and (N,)"
        )
    if images.dtype != np.uint8 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{images_path} holds {images.dtype}, {labels_path} {labels.dtype}: expected bytes "
            "and whole numbers"
        )
    array = images[..., None] if images.ndim == 3 else images
    return numbered_part(ArrayImages(array, f"{tree.shown}{images_path}[]"), labels)


def _labels_beside(tree: Tree, images: str) -> str:
    """The labels file of the same stem, packed or not, in the same folder or in one of its own."""
    match = re.fullmatch(r"(.*?)images(.*?)idx[34](.*?)(\.gz)?", _name(images))
    assert match is not None
    plain = f"{match[1]}labels{match[2]}idx1{match[3]}"
    found = [path for path in tree.files if _name(path) in (plain, plain + ".gz")]
    if not found:
        raise DataError(
            f"{tree.shown}{images} has no labels file beside it",
            f"Expected {plain} or {plain}.gz there.",
        )
    same = [path for path in found if path.endswith(".gz") == images.endswith(".gz")]
    return min(same or found)
