"""Batches of uint8 images by position: from memory where a set fits, else decoded by workers.

The order of an epoch is a function of (seed, epoch) alone, so neither workers nor a resumed run
change it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import TrainingError
from striate.core.randomness import permutation
from striate.data.check import Unified
from striate.data.decode import Pixels, UndecodableError
from striate.data.images import Images

Ids = NDArray[np.int64]


class Store(Protocol):
    """Images of one size, by number."""

    def __len__(self) -> int: ...

    def batches(self, plan: Sequence[Ids]) -> Iterator[Pixels]:
        """For each array of numbers, uint8 (len, S, S, C)."""


@dataclass(frozen=True)
class MemoryStore:
    """Decoded images: uint8 (N, S, S, C)."""

    pixels: Pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, plan: Sequence[Ids]) -> Iterator[Pixels]:
        return (self.pixels[ids] for ids in plan)


@dataclass(frozen=True)
class DiskStore:
    """Images decoded when asked for, by `workers` processes (0: by this one)."""

    images: Images
    how: Unified
    workers: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Pixels | str:
        """The image, or what is wrong with it: an exception would reach the user as a trace."""
        try:
            return self.how.load(self.images, index)
        except UndecodableError as error:
            return f"{self.images.name(index)} could be read before and cannot now: {error}"

    def batches(self, plan: Sequence[Ids]) -> Iterator[Pixels]:
        import torch
        from torch.utils.data import DataLoader

        loader: DataLoader[Any] = DataLoader(
            self,  # type: ignore[arg-type]  # map-style by duck typing
            batch_sampler=[ids.tolist() for ids in plan],
            num_workers=min(self.workers, len(plan)),
            collate_fn=_stack,
            generator=torch.Generator().manual_seed(0),  # leave the global generator alone
        )
        for batch in loader:
            if isinstance(batch, str):
                raise TrainingError(
                    batch, "Has the data changed? Repair it and continue with `striate resume`."
                )
            yield batch


def _stack(images: list[Pixels | str]) -> Pixels | str:
    """A batch, or the first fault in it."""
    faults = [image for image in images if isinstance(image, str)]
    return faults[0] if faults else np.stack([i for i in images if not isinstance(i, str)])


def store_of(
    kept: Images, how: Unified, pixels: Pixels | None, bad: Iterable[int], workers: int
) -> Store:
    """The store of the `kept` images: of decoded pixels without the `bad`, else of the files."""
    if pixels is None:
        return DiskStore(kept, how, workers)
    dropped = list(bad)
    return MemoryStore(np.delete(pixels, dropped, axis=0) if dropped else pixels)


def epoch_plan(count: int, batch_size: int, seed: int, epoch: int) -> list[Ids]:
    """The shuffled batches of one epoch. Sizes differ by at most one, so none is a lone remainder
    (F15: batch norm needs two values)."""
    return _even(permutation(seed, epoch, "order", count), batch_size)


def ordered_plan(count: int, batch_size: int) -> list[Ids]:
    """All numbers in order, for evaluation."""
    return _even(np.arange(count, dtype=np.int64), batch_size)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Number of batches that a plan has."""
    return max(1, -(-count // batch_size))


def _even(order: Ids, batch_size: int) -> list[Ids]:
    return np.array_split(order, steps_per_epoch(len(order), batch_size))
