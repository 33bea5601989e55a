"""The cache on disk: what a survey found, and decoded images of one size, mapped into memory.

    $STRIATE_CACHE or ~/.cache/striate
        surveys/KEY.npz        of a set of files with these names, sizes and times
        pixels/KEY.npy         of images with these contents, in this size and shape

Files are written under a name of their own and renamed, so a reader never sees half of one, and two
processes at work on the same images both succeed. The least recently used files go first when the
limit is reached; a file in use stays readable until it is closed. Everything here can be deleted at
any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
import weakref
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Pixels
from striate.data.check.survey import Survey
from striate.data.decode import Unified
from striate.data.images import EncodedImages, Images, Stamped

FREE_SHARE = 0.2
"""The limit, if none is given: this share of the free disk."""
_LAYOUT = 3
_ABANDONED = 2 * 86_400
"""Seconds after which a temporary file belongs to nobody; filling one is never that slow, and it is
written to all the time."""
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class NewPixels:
    """An array file while it is filled. Images are written, not mapped: touching a fresh page of a
    mapping costs several times what the copy of its bytes does."""

    handle: int
    path: Path
    start: int

    def __setitem__(self, index: int, pixels: Pixels) -> None:
        data, at = np.ascontiguousarray(pixels).data.cast("B"), self.start + index * pixels.size
        while data:
            written = os.pwrite(self.handle, data, at)
            data, at = data[written:], at + written

    def read_into(self, index: int, pixels: Pixels) -> None:
        """Fill a contiguous array with the image that was written at this index."""
        data, at = pixels.data.cast("B"), self.start + index * pixels.size
        while data:
            got = os.preadv(self.handle, [data], at)
            if not got:
                raise OSError(f"{self.path} was cut short")
            data, at = data[got:], at + got


@dataclass(frozen=True)
class Cache:
    """A folder and the bytes that it may hold."""

    folder: Path
    limit: int

    def survey(self, key: str) -> Survey | None:
        """What was found under this key, or None."""
        path = self.folder / "surveys" / f"{key}.npz"
        with contextlib.suppress(*_DAMAGED):
            with path.open("rb") as file, np.load(file) as stored:
                arrays = {name: stored[name] for name in stored.files if name != "faults"}
                faults = json.loads(stored["faults"].tobytes())
            _touch(path)
            return Survey(**arrays, faults={int(i): text for i, text in faults.items()})
        return None

    def keep_survey(self, key: str, found: Survey) -> None:
        """A cache that cannot be written is no error: the next run surveys again."""
        faults = np.frombuffer(json.dumps(found.faults).encode(), np.uint8)
        arrays: dict[str, Any] = {"faults": faults, **found.arrays()}
        size = sum(array.nbytes for array in arrays.values())
        with contextlib.suppress(OSError):
            if not self.holds(size):
                return
            self.make_room(size)
            handle, path = self._temporary("surveys")
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez(file, **arrays)
                path.replace(path.with_name(f"{key}.npz"))
            finally:
                path.unlink(missing_ok=True)

    def pixels(self, key: str) -> Pixels | None:
        """Decoded images uint8 (N, S, S, C), mapped from the file, or None."""
        path = self.folder / "pixels" / f"{key}.npy"
        with contextlib.suppress(*_DAMAGED):
            mapped: Pixels = np.load(path, mmap_mode="r")
            _touch(path)
            return mapped
        return None

    @contextlib.contextmanager
    def new_pixels(self, shape: tuple[int, ...]) -> Iterator[NewPixels]:
        """A file to fill with images; give it to `keep_pixels`. It is gone if that fails.

        Raises OSError where the folder cannot be written or the disk has no room: the room is
        taken at once, not when the last image comes.
        """
        self.make_room(math.prod(shape))
        handle, path = self._temporary("pixels")
        try:
            with os.fdopen(handle, "wb") as file:
                described = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, described)
                file.flush()
                start = file.tell()
                if math.prod(shape):
                    _reserve(handle, start, math.prod(shape))
                yield NewPixels(handle, path, start)
        finally:
            path.unlink(missing_ok=True)

    def scratch(self, shape: tuple[int, ...]) -> NewPixels:
        """A file without a name, for this process alone: its room is free when it ends.

        Raises OSError where the folder cannot be written or the disk has no room.
        """
        self.make_room(math.prod(shape))
        handle, path = self._temporary("pixels")
        path.unlink()
        try:
            _reserve(handle, 0, math.prod(shape))
        except OSError:
            os.close(handle)
            raise
        filled = NewPixels(handle, path, 0)
        weakref.finalize(filled, os.close, handle)
        return filled

    def keep_pixels(self, key: str, filled: NewPixels) -> Pixels:
        """Publish a filled file under its key; the result is mapped and read-only."""
        mapped: Pixels = np.load(filled.path, mmap_mode="r")  # stays readable, whoever evicts it
        filled.path.replace(filled.path.with_name(f"{key}.npy"))
        return mapped

    def holds(self, size: int) -> bool:
        """Whether a file of this size may be kept, and the disk has the room."""
        if size > self.limit:
            return False
        folder = self.folder
        while not folder.exists():
            folder = folder.parent
        return size < 0.9 * shutil.disk_usage(folder).free

    def make_room(self, size: int) -> None:
        """Delete the least recently used files until `size` more fits under the limit."""
        files = sorted(self._files())
        used = sum(held for _, held, _ in files)
        for _, held, path in files:
            if used + size <= self.limit:
                return
            used -= held
            path.unlink(missing_ok=True)

    def _files(self) -> list[tuple[float, int, Path]]:
        """(last use, size, path) of all finished files; old temporary ones are removed."""
        found = []
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):  # another process may be faster
                status = path.stat()
                if path.suffix == ".tmp" and time.time() - status.st_mtime > _ABANDONED:
                    path.unlink(missing_ok=True)
                if path.suffix in (".npy", ".npz"):
                    found.append((status.st_mtime, status.st_size, path))
        return found

    def _temporary(self, kind: str) -> tuple[int, Path]:
        folder = self.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(".tmp", dir=folder)
        return handle, Path(name)


def _reserve(handle: int, start: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, start, size)
    else:
        os.truncate(handle, start + size)


def open_cache(limit_mb: int | None = None) -> Cache:
    """The user's cache; without a limit it may fill a fifth of what is free or its own."""
    folder = Path(os.environ.get("STRIATE_CACHE", "~/.cache/striate")).expanduser()
    if limit_mb is not None:
        return Cache(folder, limit_mb * 2**20)
    there = folder
    while not there.exists():
        there = there.parent
    used = sum(held for _, held, _ in Cache(folder, 0)._files())
    return Cache(folder, int(FREE_SHARE * (shutil.disk_usage(there).free + used)))


def survey_key(images: Images, how: Unified, allow: tuple[str, ...]) -> str:
    """Names, sizes, times and inode numbers of the files, or "" where there are none to ask.

    The change time of a file cannot be set by a program, so an edit is seen even where the
    modification time was restored.
    """
    if not isinstance(images, EncodedImages) or not isinstance(images.reader, Stamped):
        return ""
    reader = images.reader
    digest = hashlib.sha256(repr((_LAYOUT, sorted(allow), how.max_megapixels)).encode())
    try:
        for key in images.keys:
            digest.update(key.encode("utf-8", "surrogatepass") + b"\0" + reader.stamp(key))
    except OSError:  # the survey will say which file is gone
        return ""
    return digest.hexdigest()[:40]


def pixels_key(contents: NDArray[np.uint8], how: Unified) -> str:
    """The contents of all images, and the shape that they are brought to."""
    shape = {k: v for k, v in asdict(how).items() if k != "max_megapixels" and v != "bilinear"}
    digest = hashlib.sha256(repr((_LAYOUT, shape)).encode())
    digest.update(np.ascontiguousarray(contents).tobytes())
    return digest.hexdigest()[:40]


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(path)
