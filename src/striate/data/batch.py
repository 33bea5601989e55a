"""A batch: images with what is known of them, on their way from the source to the loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats, Ids, Pixels
from striate.data.targets import Targets


class Mixing(NamedTuple):
    """What was mixed into the images of a batch: the targets of the partners, and the weight λ
    float32 (N,) of each image itself."""

    partners: Targets
    lam: NDArray[np.float32]

    def take(self, rows: Ids) -> Mixing:
        return Mixing(self.partners.take(rows), self.lam[rows])


class Batch(NamedTuple):
    """Images uint8 (N, S, S, C) with their numbers, their targets as these pixels show them, and
    the matrices (N, 2, 3) from the original image to these pixels (of targets that have no places:
    from the stored pixels).

    `whole`: the numbers of this batch's images in all processes together.
    """

    images: Pixels
    ids: Ids
    targets: Targets
    matrices: Floats
    mixing: Mixing | None = None
    whole: Ids | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def everyone(self) -> Ids:
        """The numbers of the batch's images in all processes together."""
        return self.ids if self.whole is None else self.whole

    def parts(self, size: int) -> list[Batch]:
        """Consecutive parts of at most `size` images, of nearly one size; 0: all in one."""
        count = -(-len(self.ids) // size) if size else 1
        if count == 1:
            return [self]
        return [self.take(rows) for rows in np.array_split(np.arange(len(self.ids)), count)]

    def take(self, rows: Ids) -> Batch:
        """Some of its images, as a batch of their own."""
        mixing = self.mixing and self.mixing.take(rows)
        return Batch(
            self.images[rows], self.ids[rows], self.targets.take(rows), self.matrices[rows], mixing
        )
