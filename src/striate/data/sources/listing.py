"""What a source finds: images with label names, by split, not yet numbered or completed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from striate.data.images import Images

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folder and column words that name a split."""

WHOLE = "all"
"""The one split of a source that has none of its own."""


@dataclass(frozen=True)
class Part:
    """One split: images, and for each the names of its labels."""

    images: Images
    labels: tuple[tuple[str, ...], ...]
    empty_classes: tuple[str, ...] = ()


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
