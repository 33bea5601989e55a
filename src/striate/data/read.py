"""Reading the images of a split once: checked, and stored where every epoch finds them quickly."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from striate.core.arrays import Pixels
from striate.core.errors import DataError, counted, listing
from striate.core.findings import Finding
from striate.data.cache import Cache, pixels_key, survey_key
from striate.data.check.survey import Sink, Survey, survey
from striate.data.dataset import Dataset, without
from striate.data.decode import Unified
from striate.data.images import EncodedImages, Images
from striate.data.loader import ArrayStore, FileStore, KeepingStore, Store
from striate.data.sources.sharded import ShardImages

Check = Literal["full", "sample", "off"]
WORTH_CACHING = 8 * 2**20
"""Smaller arrays are decoded faster than anybody looks."""
_SAMPLE = 2_000


Read = tuple[Survey, Pixels | None]


@dataclass(frozen=True)
class SplitDecoder:
    """How images are read: their final shape, where they are kept, and how much is checked."""

    how: Unified
    cache: Cache
    in_memory: bool
    check: Check = "full"
    allow: tuple[str, ...] = ()
    total: int = 0
    """Bytes of all splits together: they are cached all or none, so that none evicts another."""

    def read(self, images: Images) -> Read:
        """Survey all images; their pixels (N, S, S, C) too, where they are kept.

        Images that are kept decoded are all read, whatever `check` says.
        """
        key = survey_key(images, self.how, self.allow)
        known = self.cache.survey(key) if key else None
        if known is not None and (stored := self._cached(known)) is not None:
            return known, stored
        found, pixels = self._read(images, known)
        if key and found.seen.all():
            self.cache.keep_survey(key, found)
        return found, pixels

    def _read(self, images: Images, known: Survey | None) -> Read:
        size = len(images) * self.how.size**2 * self.how.channels
        lasting = isinstance(images, EncodedImages | ShardImages)
        mapped = lasting and self.cache.holds(max(size, self.total))
        if self.in_memory:
            return self._into_memory(images, mapped=mapped and size >= WORTH_CACHING)
        if self.check == "full" and mapped:
            with contextlib.suppress(OSError):  # a full or read-only disk: read the files
                return self._into_cache(images)
        return known or self._survey(images, None), None

    def store(self, images: Images, read: Read, kept: np.ndarray, *, again: bool) -> Store:
        """The store of the images at the positions `kept`: their pixels, else their files. Images
        that are read `again` in every epoch are decoded once where the cache has room."""
        found, pixels = read
        if pixels is not None:
            rows = None if len(kept) == len(pixels) else kept
            return ArrayStore(pixels, rows, None, found.sides[kept], self.how)
        files = FileStore(images.take(kept), self.how)
        size = math.prod(self._shape(len(kept)))
        lasting = isinstance(images, EncodedImages | ShardImages)
        if again and lasting and size and self.cache.holds(max(size, self.total)):
            with contextlib.suppress(OSError):  # a full or read-only disk: read the files
                scratch = self.cache.scratch(self._shape(len(kept)))
                return KeepingStore(files, scratch, np.zeros(len(kept), dtype=np.bool_))
        return files

    def _cached(self, known: Survey) -> Pixels | None:
        stored = self.cache.pixels(pixels_key(known.contents, self.how))
        if stored is None or stored.shape != self._shape(len(known)):
            return None
        return np.array(stored) if self.in_memory else stored

    def _shape(self, count: int) -> tuple[int, int, int, int]:
        return (count, self.how.size, self.how.size, self.how.channels)

    def _into_memory(self, images: Images, *, mapped: bool) -> Read:
        pixels = np.zeros(self._shape(len(images)), dtype=np.uint8)
        found = survey(images, self.how, allow=self.allow, keep=pixels.__setitem__)
        if not mapped:
            return found, pixels
        with contextlib.suppress(OSError), self.cache.new_pixels(pixels.shape) as filled:
            for index, image in enumerate(pixels):
                filled[index] = image
            self.cache.keep_pixels(pixels_key(found.contents, self.how), filled)
        return found, pixels

    def _into_cache(self, images: Images) -> Read:
        with self.cache.new_pixels(self._shape(len(images))) as filled:
            found = self._survey(images, filled.__setitem__)
            return found, self.cache.keep_pixels(pixels_key(found.contents, self.how), filled)

    def _survey(self, images: Images, keep: Sink | None) -> Survey:
        positions = None
        if self.check != "full":
            count = min(_SAMPLE, len(images)) if self.check == "sample" else 0
            places = np.linspace(0, len(images) - 1, count).astype(np.int64)
            positions = np.unique(places).tolist()
        return survey(images, self.how, allow=self.allow, keep=keep, positions=positions)


def refuse_or_drop(
    dataset: Dataset,
    faults: Mapping[str, Mapping[int, str]],
    *,
    skip_bad: bool,
    whole: bool = True,
) -> tuple[Dataset, Finding | None]:
    """Stop with all bad images named, or with `skip_bad` leave them out and count them.

    `whole`: this is a training set, in which no class may be emptied.
    """
    named = name_faults(dataset, faults)
    if not named:
        return dataset, None
    if not skip_bad:
        lying = any("wrong extension" in line for line in named)
        also = ", or --allow wrong-extension to read files by their content" if lying else ""
        raise DataError(
            f"{counted(len(named), 'image')} cannot be used:\n{listing(named, 50)}",
            f"Repair or remove them, or add --skip-bad to leave them out{also}.",
        )
    kept = without(dataset, faults)
    if whole:
        refuse_emptied(dataset, kept, "bad images")
    text = f"{counted(len(named), 'unusable image')} left out (--skip-bad)"
    return kept, Finding("bad images", "warn", text, {"images": named})


def name_faults(dataset: Dataset, faults: Mapping[str, Mapping[int, str]]) -> list[str]:
    """A line for each bad image."""
    return [
        f"{dataset.splits[split].images.name(index)}: {reason}"
        for split, bad in faults.items()
        for index, reason in bad.items()
    ]


def refuse_emptied(before: Dataset, after: Dataset, what: str) -> None:
    """Raises DataError where leaving images out took (nearly) all images of a class."""
    for split in after.splits:
        counts = zip(before.classes, before.counts(split), after.counts(split), strict=True)
        least = 2 if split == "train" else 1
        lost = [name for name, had, has in counts if had >= least > has]
        if lost:
            raise DataError(
                f"after leaving out {what} the {split} split has too few of: {', '.join(lost)}"
            )


def positions_without(count: int, drop: Iterable[int]) -> np.ndarray:
    """range(count) without some."""
    return np.setdiff1d(np.arange(count), list(drop))
