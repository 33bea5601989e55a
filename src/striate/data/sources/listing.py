"""What a source finds: images with label names, by split, not yet numbered or completed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.data.images import Images, Indices
from striate.data.strings import Strings

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folder and column words that name a split."""

WHOLE = "all"
"""The one split of a source that has none of its own."""


Targets = NDArray[np.int64] | NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """One split: images, and for each the numbers of its labels among `names`.

    targets: int64 (N,), or with several labels an image 0/1 float32 (N, names). `columns` holds
    what else a table said of each image.
    """

    images: Images
    names: tuple[str, ...]
    targets: Targets
    empty_classes: tuple[str, ...] = ()
    columns: Mapping[str, Strings] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def counts(self) -> dict[str, int]:
        """Images of each label; labels without images are left out."""
        if self.targets.ndim == 2:
            totals = self.targets.sum(axis=0)
        else:
            totals = np.bincount(self.targets, minlength=len(self.names))
        return {name: int(n) for name, n in zip(self.names, totals, strict=True) if n}

    def first_with(self, label: str) -> str:
        """Name of the first image with this label."""
        number = self.names.index(label)
        has = self.targets == number if self.targets.ndim == 1 else self.targets[:, number] > 0
        return self.images.name(int(np.flatnonzero(has)[0]))

    def take(self, indices: Indices) -> Part:
        positions = np.asarray(indices, dtype=np.int64)
        columns = {name: column.take(positions) for name, column in self.columns.items()}
        return Part(self.images.take(positions), self.names, self.targets[positions], (), columns)


def part_of(
    images: Images,
    labels: Sequence[str] | Sequence[Sequence[str]],
    empty_classes: tuple[str, ...] = (),
    columns: Mapping[str, Strings] | None = None,
) -> Part:
    """A part from label names: one text an image, or for several labels a sequence of texts."""
    several = bool(len(labels)) and not isinstance(labels[0], str)
    flat: set[Any] = {name for row in labels for name in (row if several else (row,))}
    names: tuple[str, ...] = tuple(sorted(flat, key=natural_order))
    number = {name: i for i, name in enumerate(names)}
    targets: Targets
    if several:
        targets = np.zeros((len(labels), len(names)), dtype=np.float32)
        for i, row in enumerate(labels):
            targets[i, [number[name] for name in row]] = 1
    else:
        targets = np.array([number[name] for name in labels], dtype=np.int64)  # type: ignore[index]
    return Part(images, names, targets, empty_classes, columns or {})


def numbered_part(images: Images, labels: NDArray[np.integer]) -> Part:
    """A part from integer labels; their digits are the names."""
    values, targets = np.unique(labels, return_inverse=True)
    return Part(images, tuple(str(v) for v in values.tolist()), targets.astype(np.int64))


@dataclass(frozen=True)
class Listing:
    """All splits of a source; `ignored` counts what was left out, by reason."""

    source: str
    parts: dict[str, Part]
    multi_label: bool = False
    ignored: Counter[str] = field(default_factory=Counter)


def natural_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key under which class "2" comes before "10"."""
    pieces = re.split(r"(\d+)", name)
    return tuple((0, int(p)) if p.isdecimal() else (1, p) for p in pieces if p)
