"""Images of a split as a network sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from striate.core.runtime import usable_cores
from striate.data.augment import views_of
from striate.data.dataset import Split
from striate.data.loader import Store, SubStore, even, loaded, spread, to_centre
from striate.data.targets import Targets


@dataclass(frozen=True)
class Sample:
    """Images of a split as a network of a size sees them: names, targets (None: not known)."""

    split: str
    names: tuple[str, ...]
    targets: Targets | None
    store: Store
    size: int

    def __len__(self) -> int:
        return len(self.names)

    def images(self, ids: Sequence[int] | NDArray[Any]) -> NDArray[np.uint8]:
        """Those at these places, uint8 (N, H, W, C)."""
        stored = self.store.load(np.asarray(ids, dtype=np.int64))
        return views_of(stored, "single", self.size)[0]

    def placed(self, ids: Sequence[int] | NDArray[Any]) -> Targets:
        """Their targets as they lie on these pixels. Raises ValueError where there are none."""
        if self.targets is None:
            raise ValueError("nothing is known of these images")
        own = np.asarray(ids, dtype=np.int64)
        return self.targets.take(own).moved(to_centre(self.store, own, self.size), self.size)

    def batches(self) -> Iterator[Tensor]:
        """All of them in order, uint8 (N, H, W, C) each: 500 of 32 pixels, fewer of larger ones."""
        count = int(500 * min(1.0, (32 / self.size) ** 2))
        plan = even(np.arange(len(self), dtype=np.int64), max(8, count))
        for stored in loaded(self.store, plan, usable_cores()):
            pixels = np.ascontiguousarray(views_of(stored, "single", self.size)[0])
            yield torch.from_numpy(pixels)


def sample_of(name: str, split: Split, store: Store, size: int, images: int | None) -> Sample:
    """At most `images` images from all over a split; None: all."""
    ids = spread(len(split), len(split) if images is None else images)
    names = tuple(split.images.name(int(i)) for i in ids)
    return Sample(name, names, split.targets.take(ids), SubStore(store, ids), size)
