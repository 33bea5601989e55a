"""Boxes around the objects of each image, as targets: ragged, moved with the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats, Ids
from striate.core.boxes import areas, sides_of
from striate.core.geometry import hulls

DIFFICULT, CROWD, CUT = 1, 2, 4
"""What a box may be besides an object, as bits: hard to see (VOC), around many objects (COCO), cut
by the border so that little is left. A detector is neither rewarded nor punished for these."""
SEEN, SMALLEST = 0.2, 2.0
"""An object of which less than this share is left inside, or with a side of fewer pixels, is no
object any more: it is CUT, and vanishes where nothing is left."""


@dataclass(frozen=True)
class Boxes:
    """The objects of N images, one after the other.

    starts: int64 (N + 1,); image i has the objects from starts[i] to starts[i + 1]. places: float64
    (M, 4) as in `striate.core.boxes`; numbers: int64 (M,), their classes; flags: uint8 (M,), bits
    of DIFFICULT, CROWD and CUT. An image without objects is known to be empty.
    """

    kind: ClassVar[str] = "boxes"
    described: ClassVar[str] = "boxes around objects"
    fewest_classes: ClassVar[int] = 1
    placed: ClassVar[bool] = True

    starts: Ids
    places: Floats
    numbers: Ids
    flags: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def images(self) -> Ids:
        """The image of each object (M,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def sure(self) -> NDArray[np.bool_]:
        """Which are objects to be found (M,)."""
        return self.flags == 0

    def only(self, index: int) -> Boxes:
        """Those of one image."""
        return self.take(np.array([index]))

    def take(self, ids: Ids) -> Boxes:
        counts = np.diff(self.starts)[ids]
        starts = np.concatenate([[0], np.cumsum(counts)])
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], counts)
        rows = np.repeat(self.starts[:-1][ids], counts) + within
        return Boxes(starts, self.places[rows], self.numbers[rows], self.flags[rows])

    def where(self, keep: NDArray[np.bool_]) -> Boxes:
        """Without the objects that are not kept; keep: (M,)."""
        counts = np.bincount(self.images[keep], minlength=len(self))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Boxes(starts, self.places[keep], self.numbers[keep], self.flags[keep])

    def moved(self, matrices: Floats, size: int, windows: Floats | None = None) -> Boxes:
        """The upright box around each moved box, cut at the border. See SEEN and SMALLEST. windows:
        the region (N, 4) that shows each image, where it is not all of `size`×`size`."""
        whole = hulls(self.places[:, None], matrices[self.images])[:, 0]
        shown = np.array([[0, 0, size, size]]) if windows is None else windows[self.images]
        inside = np.clip(whole, shown[:, [0, 1, 0, 1]], shown[:, [2, 3, 2, 3]])
        seen = areas(inside) / np.maximum(areas(whole), 1e-9)
        gone = (sides_of(inside) <= 0).any(axis=1)
        cut = (seen < SEEN) | (sides_of(inside) < SMALLEST).any(axis=1)
        flags = np.where(cut, self.flags | CUT, self.flags).astype(np.uint8)
        return Boxes(self.starts, inside, self.numbers, flags).where(np.logical_not(gone))

    def together(self, count: int) -> Boxes:
        """The objects of each `count` images in a row as those of one."""
        return Boxes(self.starts[::count], self.places, self.numbers, self.flags)

    def with_more(self, others: Sequence[Boxes]) -> Boxes:
        every = [self, *others]
        counts = np.concatenate([np.diff(boxes.starts) for boxes in every])
        return Boxes(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.concatenate([boxes.places for boxes in every]),
            np.concatenate([boxes.numbers for boxes in every]),
            np.concatenate([boxes.flags for boxes in every]),
        )

    def renumbered(self, numbers: Ids, classes: int) -> Boxes:
        if not len(self.numbers):
            return self
        new = Boxes(self.starts, self.places, numbers[self.numbers], self.flags)
        return new.where(new.numbers >= 0)

    def of(self, index: int) -> tuple[int, ...]:
        own = self.numbers[self.starts[index] : self.starts[index + 1]]
        return tuple(np.unique(own).tolist())

    def having(self, number: int) -> NDArray[np.bool_]:
        found = np.zeros(len(self), dtype=np.bool_)
        found[self.images[self.numbers == number]] = True
        return found

    def counts(self, classes: int) -> Ids:
        pairs = np.unique(np.stack([self.images, self.numbers], axis=1), axis=0)
        return np.bincount(pairs[:, 1], minlength=classes)

    def labelled(self) -> int:
        return len(self)

    def strata(self) -> Ids:
        """An image's rarest class; −1 without objects."""
        totals = np.bincount(self.numbers, minlength=1)
        found = np.full(len(self), -1, dtype=np.int64)
        for number in np.argsort(totals, kind="stable")[::-1]:  # the rarest last, so that it stays
            found[self.images[self.numbers == number]] = number
        return found

    def balanced(self) -> Floats:
        """By each image's rarest class; images without objects weigh as those of the commonest."""
        classes = int(self.numbers.max(initial=-1)) + 1
        counts = np.maximum(self.counts(classes), 1)
        rarest = self.strata()
        usual = 1 / max(1, int(counts.max(initial=1)))
        each = 1 / counts if classes else np.ones(1)
        return np.where(rarest >= 0, each[np.maximum(rarest, 0)], usual)

    def digest(self, index: int) -> bytes:
        own = self.only(index)
        return own.places.tobytes() + own.numbers.tobytes() + own.flags.tobytes()

    def facts(self) -> dict[str, Any]:
        return {"multi_label": False, "targets": self.kind}


def boxes_of(rows: Sequence[tuple[Floats, Ids, NDArray[np.uint8]]]) -> Boxes:
    """Boxes of (places (K, 4), numbers (K,), flags (K,)), one an image."""
    counts = [len(places) for places, _, _ in rows]
    return Boxes(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([np.zeros((0, 4)), *(p for p, _, _ in rows)]).astype(np.float64),
        np.concatenate([np.zeros(0, dtype=np.int64), *(n for _, n, _ in rows)]).astype(np.int64),
        np.concatenate([np.zeros(0, dtype=np.uint8), *(f for _, _, f in rows)]).astype(np.uint8),
    )
