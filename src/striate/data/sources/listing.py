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
from striate.data.targets import Labels, Targets, joint_kind, of_names, single_where_one_hot

__all__ = ["SPLIT_NAMES", "WHOLE", "Listing", "Part", "natural_order", "part_of"]

WHOLE = "all"
"""The one split of a source that has none of its own."""


@dataclass(frozen=True)
class Part:
    """One split: images with their targets, whose classes are numbers among `names`. `columns`
    holds what else a table said of each image."""

    images: Images
    names: tuple[str, ...]
    targets: Targets
    empty_classes: tuple[str, ...] = ()
    columns: Mapping[str, Strings] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def counts(self) -> dict[str, int]:
        """Images of each label; labels without images are left out."""
        totals = self.targets.counts(len(self.names))
        return {name: int(n) for name, n in zip(self.names, totals, strict=True) if n}

    def first_with(self, label: str) -> str:
        """Name of the first image with this label."""
        having = self.targets.having(self.names.index(label))
        return self.images.name(int(np.flatnonzero(having)[0]))

    def take(self, indices: Indices) -> Part:
        positions = np.asarray(indices, dtype=np.int64)
        columns = {name: column.take(positions) for name, column in self.columns.items()}
        targets = self.targets.take(positions)
        return Part(self.images.take(positions), self.names, targets, (), columns)


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
    return Part(images, names, of_names(rows, names), empty_classes, columns or {})


def numbered_part(images: Images, labels: NDArray[np.integer]) -> Part:
    """A part from integer labels; their digits are the names."""
    values, targets = np.unique(labels, return_inverse=True)
    names = tuple(str(v) for v in values.tolist())
    return Part(images, names, Labels(targets.astype(np.int64)))


@dataclass(frozen=True)
class Listing:
    """All splits of a source; `ignored` counts what was left out, by reason; `remarks`: what the
    user should know of how it was read."""

    source: str
    parts: dict[str, Part]
    ignored: Counter[str] = field(default_factory=Counter)
    remarks: tuple[Finding, ...] = ()

    @property
    def kind(self) -> str:
        """The kind of the targets of all parts."""
        return joint_kind(part.targets for part in self.parts.values())


def single_if_one_hot(found: Listing) -> Listing:
    """Tables of which every row has exactly one 1 are one label an image: read so, and said."""
    single = single_where_one_hot({name: part.targets for name, part in found.parts.items()})
    if single is None:
        return found
    parts = {name: replace(part, targets=single[name]) for name, part in found.parts.items()}
    text = "every row of the label table has exactly one 1: read as one label an image"
    remark = Finding("one-hot labels", "note", text)
    return replace(found, parts=parts, remarks=(*found.remarks, remark))


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
