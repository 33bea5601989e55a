"""Collections of images, wherever the bytes are: files, archives, arrays, torch data sets.

All have the same few methods, so nothing above asks where an image comes from.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import threading
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from striate.core.arrays import Pixels
from striate.data.decode import Header, UndecodableError, decode, examine, read_header, to_array
from striate.data.strings import Strings

_DAMAGED = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
)
"""What zipfile raises for a member that cannot be unpacked."""
Indices = Sequence[int] | NDArray[np.integer]


class Examined(NamedTuple):
    """Hash of an image's stored bytes, its header and its pixels uint8 (H, W, C)."""

    content: bytes
    header: Header
    pixels: Pixels


def content_hash(data: bytes) -> bytes:
    """16 bytes of BLAKE2b."""
    return hashlib.blake2b(data, digest_size=16).digest()


class Images(Protocol):
    """An indexed collection of images."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What a message calls this image: its path, member or position."""

    def key(self, index: int) -> str:
        """What identifies it within its source, wherever the source lies."""

    def raw(self, index: int) -> bytes:
        """The stored bytes, for hashes."""

    def header(self, index: int, max_megapixels: float) -> Header:
        """Size and channels. Raises UndecodableError."""

    def pixels(self, index: int, max_megapixels: float, wanted: int = 0) -> Pixels:
        """uint8 (H, W, C), smaller if only a side `wanted` matters. Raises UndecodableError."""

    def examine(self, index: int, max_megapixels: float, wanted: int = 0) -> Examined:
        """Hash, header and pixels, the bytes read once. Raises UndecodableError."""

    def take(self, indices: Indices) -> Images:
        """The collection of these images only."""


class ByteSource(Protocol):
    """Gives the bytes of a named file."""

    def read(self, key: str) -> bytes: ...


@runtime_checkable
class Stamped(Protocol):
    """A reader that can tell whether a file changed, without reading it."""

    def stamp(self, key: str) -> bytes: ...


def _stamp(path: Path) -> bytes:
    """What changes when a file changes. Raises OSError where it is gone."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}".encode()


@dataclass(frozen=True)
class FolderSource:
    """Files below a folder."""

    root: Path

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def stamp(self, key: str) -> bytes:
        return _stamp(self.root / key)


@dataclass(frozen=True)
class TarSource:
    """Members of an uncompressed tar, by offset and size; reads are independent of each other."""

    path: Path
    places: Mapping[str, tuple[int, int]]

    def read(self, key: str) -> bytes:
        offset, size = self.places[key]
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def stamp(self, _: str) -> bytes:
        return _stamp(self.path)


@dataclass(frozen=True)
class MemorySource:
    """Members held in memory (compressed tars have no random access)."""

    members: Mapping[str, bytes]

    def read(self, key: str) -> bytes:
        return self.members[key]


class ZipSource:
    """Members of a zip. One open file for each process and thread: handles cannot be shared.

    `stored`: shown name → the archive's own, where they differ.
    """

    def __init__(self, path: Path, stored: Mapping[str, str] | None = None) -> None:
        self.path, self.stored = path, stored or {}
        self._local = threading.local()

    def read(self, key: str) -> bytes:
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.file, self._local.pid = zipfile.ZipFile(self.path), os.getpid()
        try:
            data: bytes = self._local.file.read(self.stored.get(key, key))
        except _DAMAGED as error:
            raise OSError(f"cannot be read from {self.path.name}: {error}") from None
        return data

    def stamp(self, _: str) -> bytes:
        return _stamp(self.path)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "stored": self.stored}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


@dataclass(frozen=True)
class EncodedImages:
    """Image files behind a reader; `shown` is put before a key in messages."""

    reader: ByteSource
    keys: Strings
    shown: str = ""

    def __len__(self) -> int:
        return len(self.keys)

    def name(self, index: int) -> str:
        return self.shown + self.keys[index]

    def key(self, index: int) -> str:
        return self.keys[index]

    def raw(self, index: int) -> bytes:
        try:
            return self.reader.read(self.keys[index])
        except OSError as error:
            raise UndecodableError(f"cannot be read: {error.strerror or error}") from None

    def header(self, index: int, max_megapixels: float) -> Header:
        return read_header(self.raw(index), max_megapixels)

    def pixels(self, index: int, max_megapixels: float, wanted: int = 0) -> Pixels:
        return decode(self.raw(index), max_megapixels, wanted)

    def examine(self, index: int, max_megapixels: float, wanted: int = 0) -> Examined:
        data = self.raw(index)
        return Examined(content_hash(data), *examine(data, max_megapixels, wanted))

    def take(self, indices: Indices) -> EncodedImages:
        return EncodedImages(self.reader, self.keys.take(indices), self.shown)


@dataclass(frozen=True)
class ArrayImages:
    """Images of one size in memory: uint8 (M, H, W, C), of which those at `chosen` (N,) count."""

    array: Pixels
    shown: str = "image "
    chosen: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.array) if self.chosen is None else len(self.chosen)

    def name(self, index: int) -> str:
        return f"{self.shown}{self._at(index)}"

    def key(self, index: int) -> str:
        return str(self._at(index))

    def raw(self, index: int) -> bytes:
        return self.array[self._at(index)].tobytes()

    def header(self, index: int, max_megapixels: float) -> Header:
        height, width, channels = self.array.shape[1:]
        return Header(width, height, channels, "array")

    def pixels(self, index: int, max_megapixels: float, wanted: int = 0) -> Pixels:
        pixels: Pixels = self.array[self._at(index)]
        return pixels

    def examine(self, index: int, max_megapixels: float, wanted: int = 0) -> Examined:
        return _of_pixels(self.pixels(index, max_megapixels))

    def take(self, indices: Indices) -> ArrayImages:
        wanted = np.asarray(indices, dtype=np.int64)
        return ArrayImages(
            self.array, self.shown, wanted if self.chosen is None else self.chosen[wanted]
        )

    def _at(self, index: int) -> int:
        return index if self.chosen is None else int(self.chosen[index])


@dataclass(frozen=True)
class TorchImages:
    """The images of a map-style torch data set, fetched when asked for."""

    dataset: Any
    indices: NDArray[np.int64]
    shown: str = "sample "

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return f"{self.shown}{self.indices[index]}"

    def key(self, index: int) -> str:
        return str(self.indices[index])

    def raw(self, index: int) -> bytes:
        return self.pixels(index, float("inf")).tobytes()

    def header(self, index: int, max_megapixels: float) -> Header:
        height, width, channels = self.pixels(index, max_megapixels).shape
        return Header(width, height, channels, "array")

    def pixels(self, index: int, max_megapixels: float, wanted: int = 0) -> Pixels:
        return sample_pixels(self.dataset[int(self.indices[index])][0])

    def examine(self, index: int, max_megapixels: float, wanted: int = 0) -> Examined:
        return _of_pixels(self.pixels(index, max_megapixels))

    def take(self, indices: Indices) -> TorchImages:
        chosen = self.indices[np.asarray(indices, dtype=np.int64)]
        return TorchImages(self.dataset, chosen, self.shown)


def _of_pixels(pixels: Pixels) -> Examined:
    height, width, channels = pixels.shape
    return Examined(
        content_hash(pixels.tobytes()), Header(width, height, channels, "array"), pixels
    )


def sample_pixels(image: Any) -> Pixels:
    """A Pillow image, array (H, W[, C]) or tensor (C, H, W) → uint8 (H, W, C)."""
    if isinstance(image, Image.Image):
        return to_array(image)
    array = np.asarray(image)
    if len(array.shape) == 3 and array.shape[0] in (1, 3) and not isinstance(image, np.ndarray):
        array = array.transpose(1, 2, 0)  # torch's layout
    array = array[:, :, None] if len(array.shape) == 2 else array
    if len(array.shape) != 3 or array.shape[2] not in (1, 3):
        raise UndecodableError(f"shape {array.shape}; expected (H, W), (H, W, 1) or (H, W, 3)")
    return as_uint8(array)


def as_uint8(array: NDArray[Any]) -> Pixels:
    """uint8 as it is, floats in [0, 1] scaled to 255. Raises UndecodableError for anything else."""
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise UndecodableError(f"type {array.dtype}; expected uint8, or floats from 0 to 1")
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise UndecodableError(
            f"values from {array.min():g} to {array.max():g}; expected floats from 0 to 1, "
            "before any normalisation"
        )
    return np.rint(array * 255).astype(np.uint8)
