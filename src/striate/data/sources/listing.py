"""What a source finds: images with label names, by split, not yet numbered or completed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.findings import Finding
from striate.data.images import Images, Indices
from striate.data.sources.names import SPLIT_NAMES, canonical, natural_order
from striate.data.strings import Strings

__all__ = ["SPLIT_NAMES", "WHOLE", "Listing", "Part", "Targets", "natural_order", "part_of"]

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
    """A part from label names: one text an image, or for several labels a sequence of texts. Names
    that are one in another form of Unicode are one label."""
    several = bool(len(labels)) and not isinstance(labels[0], str)
    rows: Any = (
        [[canonical(name) for name in row] for row in labels]
        if several
        else [canonical(name) for name in labels]  # type: ignore[arg-type]
    )
    flat = {name: None for row in rows for name in (row if several else (row,))}
    names = tuple(sorted(flat, key=natural_order))
    number = {name: i for i, name in enumerate(names)}
    targets: Targets
    if several:
        targets = np.zeros((len(rows), len(names)), dtype=np.float32)
        for i, row in enumerate(rows):
            targets[i, [number[name] for name in row]] = 1
    else:
        targets = np.array([number[name] for name in rows], dtype=np.int64)
    return Part(images, names, targets, empty_classes, columns or {})


def numbered_part(images: Images, labels: NDArray[np.integer]) -> Part:
    """A part from integer labels; their digits are the names."""
    values, targets = np.unique(labels, return_inverse=True)
    return Part(images, tuple(str(v) for v in values.tolist()), targets.astype(np.int64))


@dataclass(frozen=True)
class Listing:
    """All splits of a source; `ignored` counts what was left out, by reason; `remarks`: what the
    user should know of how it was read."""

    source: str
    parts: dict[str, Part]
    multi_label: bool = False
    ignored: Counter[str] = field(default_factory=Counter)
    remarks: tuple[Finding, ...] = ()


def single_if_one_hot(found: Listing) -> Listing:
    """Tables of which every row has exactly one 1 are one label an image: read so, and said."""
    tables = [part.targets for part in found.parts.values()]
    several = found.multi_label and all(t.ndim == 2 for t in tables)
    if not several or not all(len(t) and (t.sum(axis=1) == 1).all() for t in tables):
        return found
    parts = {
        name: replace(part, targets=part.targets.argmax(axis=1).astype(np.int64))
        for name, part in found.parts.items()
    }
    text = "every row of the label table has exactly one 1: read as one label an image"
    remark = Finding("one-hot labels", "note", text)
    return replace(found, parts=parts, multi_label=False, remarks=(*found.remarks, remark))


def number_names(labels: Sequence[Any]) -> list[str]:
    """Labels as texts; 1.0, "1.0" and 1 are one number where all are whole numbers."""
    texts = [str(label) for label in labels]
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return texts
    whole = all(number.is_integer() for number in numbers)
    dotted = any("." in text or "e" in text.lower() for text in texts)
    return [str(int(number)) for number in numbers] if whole and dotted else texts
