"""The survey before step 1: every header, every hash, every pixel (F7–F9, F11).

All faults are found before anything is trained, and listed together. `--skip-bad` drops and counts
them. Nothing is ever substituted.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import DataError, listing
from striate.core.findings import Finding
from striate.core.runtime import usable_cores
from striate.data.dataset import Dataset, without
from striate.data.decode import Pixels, Resize, UndecodableError, unify, wrong_ending
from striate.data.images import ArrayImages, Images, TorchImages

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Survey:
    """Headers of a split: sides in pixels int (N, 2) as (height, width), channels (N,), hashes.

    `faults` maps positions to what is wrong with them; their other entries are zero.
    """

    sides: NDArray[np.int64]
    channels: NDArray[np.int64]
    hashes: tuple[str, ...]
    faults: dict[int, str]


@dataclass(frozen=True)
class Unified:
    """How every image of a run becomes the same shape."""

    size: int
    channels: int
    resize: Resize
    max_megapixels: float

    def load(self, images: Images, index: int) -> Pixels:
        """uint8 (size, size, channels). Raises UndecodableError."""
        pixels = images.pixels(index, self.max_megapixels)
        return unify(pixels, self.size, self.channels, self.resize)


def survey(images: Images, max_megapixels: float, allow: Iterable[str] = ()) -> Survey:
    """Read all headers and hash all contents."""
    count = len(images)
    sides, channels = np.zeros((count, 2), dtype=np.int64), np.zeros(count, dtype=np.int64)
    hashes, faults = [""] * count, {}
    lenient = "wrong-extension" in set(allow)
    uniform = isinstance(images, ArrayImages)

    def look(index: int) -> None:
        try:
            hashes[index] = hashlib.blake2b(images.raw(index), digest_size=16).hexdigest()
            header = images.header(index, max_megapixels)
        except UndecodableError as error:
            faults[index] = str(error)
            return
        sides[index], channels[index] = (header.height, header.width), header.channels
        lie = "" if uniform or lenient else wrong_ending(images.name(index), header)
        if lie:
            faults[index] = lie

    for _ in _in_threads(look, range(count), _threads(images)):
        pass
    return Survey(sides, channels, tuple(hashes), dict(sorted(faults.items())))


def decode_all(
    images: Images, how: Unified, known: Mapping[int, str], *, keep: bool
) -> tuple[Pixels | None, dict[int, str]]:
    """Decode all images but those known to be bad: (pixels (N, S, S, C) if `keep`, all faults)."""
    shape = (len(images), how.size, how.size, how.channels)
    pixels = np.zeros(shape, dtype=np.uint8) if keep else None
    faults = dict(known)

    def load(index: int) -> None:
        try:
            decoded = how.load(images, index)
        except UndecodableError as error:
            faults[index] = str(error)
            return
        if pixels is not None:
            pixels[index] = decoded

    wanted = [i for i in range(len(images)) if i not in known]
    for _ in _in_threads(load, wanted, _threads(images)):
        pass
    return pixels, dict(sorted(faults.items()))


def refuse_or_drop(
    dataset: Dataset, faults: dict[str, dict[int, str]], *, skip_bad: bool, whole: bool = True
) -> tuple[Dataset, Finding | None]:
    """Stop with all bad images named, or with `skip_bad` leave them out and count them.

    `whole`: this is a training set, in which no class may be emptied.
    """
    named = [
        f"{dataset.splits[split].images.name(index)}: {reason}"
        for split, bad in faults.items()
        for index, reason in bad.items()
    ]
    if not named:
        return dataset, None
    if not skip_bad:
        lying = any("wrong extension" in line for line in named)
        also = ", or --allow wrong-extension to read files by their content" if lying else ""
        raise DataError(
            f"{len(named)} images cannot be used:\n{listing(named, 50)}",
            f"Repair or remove them, or add --skip-bad to leave them out{also}.",
        )
    kept = without(dataset, {split: list(bad) for split, bad in faults.items()})
    for split in kept.splits if whole else ():
        _refuse_emptied(dataset, kept, split)
    text = f"{len(named)} unusable images left out (--skip-bad)"
    return kept, Finding("bad images", "warn", text, {"images": named})


def fingerprint(dataset: Dataset, surveys: dict[str, Survey]) -> str:
    """Hash of every image's split, targets and content: equal data, equal fingerprint."""
    digest = hashlib.sha256()
    for name, split in sorted(dataset.splits.items()):
        rows = zip(surveys[name].hashes, split.targets.tolist(), strict=True)
        for line in sorted(f"{name} {content} {target}\n" for content, target in rows):
            digest.update(line.encode())
    return digest.hexdigest()


def survey_without(found: Survey, drop: Iterable[int]) -> Survey:
    """The survey of the images that were kept."""
    keep = np.setdiff1d(np.arange(len(found.sides)), list(drop))
    hashes = tuple(found.hashes[i] for i in keep)
    return Survey(found.sides[keep], found.channels[keep], hashes, {})


def _refuse_emptied(before: Dataset, after: Dataset, split: str) -> None:
    counts = zip(before.classes, before.counts(split), after.counts(split), strict=True)
    least = 2 if split == "train" else 1
    lost = [name for name, had, has in counts if had >= least > has]
    if lost:
        raise DataError(
            f"after leaving out bad images the {split} split has too few of: {', '.join(lost)}"
        )


def _threads(images: Images) -> int:
    """A user's data set may not bear two readers at once; our own readers do."""
    return 1 if isinstance(images, TorchImages) else usable_cores()


def _in_threads(work: Callable[[A], B], items: Iterable[A], threads: int) -> Iterator[B]:
    """Pillow and zlib release the interpreter lock, so threads decode side by side."""
    items = list(items)
    with ThreadPoolExecutor(threads) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; pixels decide
        chunk = 256
        batches = [items[i : i + chunk] for i in range(0, len(items), chunk)]
        for results in pool.map(lambda part: [work(item) for item in part], batches):
            yield from results
