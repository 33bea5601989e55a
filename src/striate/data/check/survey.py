"""The survey: every image read once, hashed, decoded, looked at and stored in its final shape.

All faults are found before anything is trained, and listed together. Nothing is substituted.
"""

from __future__ import annotations

import contextlib
import hashlib
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Pixels
from striate.core.runtime import usable_cores
from striate.data.check.altered import GLANCE, thumbs_of
from striate.data.check.duplicates import KEPT, THUMB, describe
from striate.data.decode import (
    Header,
    UndecodableError,
    Unified,
    resized,
    resized_all,
    wrong_ending,
)
from striate.data.images import ArrayImages, Examined, Images, Indices, TorchImages
from striate.data.loader import spread
from striate.data.targets import Targets

A = TypeVar("A")
B = TypeVar("B")
Sink = Callable[[int, Pixels], None]
"""Takes each position and its image in the final shape."""
_CHUNK, _LARGE = 256, 64 * 64
_QUICK, _PILOTS, _PILOT_MEGAPIXELS = 3e-4, 9, 100.0
FORMATS = ("", "array", "JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "MPO")


@dataclass(frozen=True)
class Survey:
    """What is known of the N images of a split; rows that were not read (yet) are zero.

    sides int32 (N, 2) as (height, width); channels, flags (see decode), formats (into FORMATS)
    uint8 (N,); contents: hashes of the stored bytes, uint8 (N, 16); sights: of size and thumbnail
    in colour, uint8 (N, 8), equal for equal pixels however they are stored; looks: descriptors of
    duplicates.py, float16 (N, 63); thumbs: uint8 (N, 16, 16); spread: largest minus smallest grey
    level, 0 for one colour; coloured: whether red, green and blue differ anywhere; seen: whether
    the row was read.
    `faults` maps positions to what is wrong with them.
    """

    sides: NDArray[np.int32]
    channels: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    formats: NDArray[np.uint8]
    contents: NDArray[np.uint8]
    sights: NDArray[np.uint8]
    looks: NDArray[np.float16]
    thumbs: NDArray[np.uint8]
    spread: NDArray[np.uint8]
    coloured: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    faults: dict[int, str] = field(default_factory=dict)

    @classmethod
    def blank(cls, count: int) -> Survey:
        return cls(
            sides=np.zeros((count, 2), np.int32),
            channels=np.zeros(count, np.uint8),
            flags=np.zeros(count, np.uint8),
            formats=np.zeros(count, np.uint8),
            contents=np.zeros((count, 16), np.uint8),
            sights=np.zeros((count, 8), np.uint8),
            looks=np.zeros((count, KEPT**2 - 1), np.float16),
            thumbs=np.zeros((count, GLANCE, GLANCE), np.uint8),
            spread=np.zeros(count, np.uint8),
            coloured=np.zeros(count, np.bool_),
            seen=np.zeros(count, np.bool_),
        )

    def __len__(self) -> int:
        return len(self.seen)

    @property
    def good(self) -> NDArray[np.bool_]:
        """Rows that were read and are sound."""
        return self.seen & (self.channels > 0)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "faults"}

    def take(self, positions: Indices) -> Survey:
        """The rows of these images; faults are left behind."""
        kept = np.asarray(positions, dtype=np.int64)
        taken: dict[str, Any] = {name: array[kept] for name, array in self.arrays().items()}
        return Survey(**taken)

    def without(self, drop: Iterable[int]) -> Survey:
        return self.take(np.setdiff1d(np.arange(len(self)), list(drop)))


def survey(
    images: Images,
    how: Unified,
    *,
    allow: Iterable[str] = (),
    keep: Sink | None = None,
    positions: Sequence[int] | None = None,
) -> Survey:
    """Read all images (or those at `positions`) once; `keep` receives each in its final shape."""
    found = Survey.blank(len(images))
    trusting = isinstance(images, ArrayImages) or "wrong-extension" in set(allow)
    wanted = range(len(images)) if positions is None else positions

    def look(chunk: Sequence[int]) -> None:
        by_shape: dict[tuple[int, ...], list[tuple[int, Pixels]]] = defaultdict(list)
        for index in chunk:
            examined = _sound(images, index, how, found, trusting=trusting)
            if examined is not None:
                if keep is not None:
                    keep(index, how.fit(examined.pixels))
                pixels = examined.pixels
                if pixels.shape[0] * pixels.shape[1] > _LARGE:  # not worth keeping for the others
                    pixels = resized(pixels, THUMB, THUMB)
                by_shape[pixels.shape].append((index, pixels))
        for members in by_shape.values():
            _describe(members, found)

    chunks = [wanted[i : i + _CHUNK] for i in range(0, len(wanted), _CHUNK)]
    for _ in in_threads(look, chunks, threads_for(images)):
        pass
    return replace(found, faults=dict(sorted(found.faults.items())))


def sample_headers(
    images: Images, max_megapixels: float, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sides (K, 2) and channels (K,) of up to `count` evenly spaced readable images."""
    places = spread(len(images), min(count, len(images)))
    if isinstance(images, ArrayImages):
        places = places[:1]

    def read(index: int) -> Header | None:
        try:
            return images.header(index, max_megapixels)
        except UndecodableError:
            return None

    headers = [h for h in in_threads(read, places.tolist(), threads_for(images)) if h]
    sides = np.array([(h.height, h.width) for h in headers], dtype=np.int64).reshape(-1, 2)
    return sides, np.array([h.channels for h in headers], dtype=np.int64)


def fingerprint(contents: NDArray[np.uint8], targets: Targets, split: str) -> str:
    """Hash of every image's content and targets, in any order: equal data, equal fingerprint."""
    rows = [content.tobytes() + targets.digest(i) for i, content in enumerate(contents)]
    digest = hashlib.sha256(split.encode())
    for row in sorted(rows):
        digest.update(row)
    return digest.hexdigest()


def _sound(
    images: Images, index: int, how: Unified, found: Survey, *, trusting: bool
) -> Examined | None:
    """The image, or None where something is wrong with it, which is written to the survey."""
    found.seen[index] = True
    try:
        examined = images.examine(index, how.max_megapixels, how.size)
        lie = "" if trusting else wrong_ending(images.name(index), examined.header)
        if lie:
            raise UndecodableError(lie)
    except UndecodableError as error:
        found.faults[index] = str(error)
        return None
    header = examined.header
    found.contents[index] = np.frombuffer(examined.content, np.uint8)
    found.sides[index], found.channels[index] = (header.height, header.width), header.channels
    found.flags[index] = header.flags
    found.formats[index] = FORMATS.index(header.format) if header.format in FORMATS else 0
    return examined


def _describe(members: list[tuple[int, Pixels]], found: Survey) -> None:
    """Thumbnails, and what they say, of images of one shape at once."""
    positions = [index for index, _ in members]
    thumbs = resized_all(np.stack([pixels for _, pixels in members]), THUMB, THUMB)
    planes = [np.ascontiguousarray(thumbs[..., c]) for c in range(thumbs.shape[3])]
    flat = [plane.reshape(len(thumbs), -1) for plane in planes]
    found.spread[positions] = np.max([p.max(axis=1) - p.min(axis=1) for p in flat], axis=0)
    found.coloured[positions] = np.any([(p != flat[0]).any(axis=1) for p in flat], axis=0)
    grey = sum(planes[1:], planes[0].astype(np.float32)) / len(planes)
    found.looks[positions], found.thumbs[positions] = describe(grey), thumbs_of(grey)
    coloured = thumbs if thumbs.shape[3] == 3 else thumbs.repeat(3, axis=3)
    for index, thumb in zip(positions, coloured, strict=True):
        seen = found.sides[index].tobytes() + thumb.tobytes()
        digest = hashlib.blake2b(seen, digest_size=8).digest()
        found.sights[index] = np.frombuffer(digest, np.uint8)


def threads_for(images: Images) -> int:
    """One a core, but one in all for a user's data set, which may not bear two readers at once, and
    for images that are read so quickly that threads would only wait for the interpreter lock."""
    if isinstance(images, TorchImages | ArrayImages):
        return 1
    places = spread(len(images), _PILOTS).tolist()
    times = []
    for index in places if len(images) else []:
        began = time.perf_counter()
        with contextlib.suppress(UndecodableError):
            images.pixels(index, _PILOT_MEGAPIXELS)
        times.append(time.perf_counter() - began)
    return 1 if times and statistics.median(times) < _QUICK else usable_cores()


def in_threads(work: Callable[[A], B], items: Iterable[A], threads: int) -> Iterator[B]:
    """Decoders release the interpreter lock, so threads work side by side."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; pixels decide
        if threads == 1:
            yield from map(work, items)
            return
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(work, items)
