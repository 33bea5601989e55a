"""Annotations of boxes in the forms that people have: each one file with its one rule.

`FORMS`, in the order in which a tree is asked: (tree, paths of its images) → `Annotations`, or None
where the tree is not of that form. Coordinates inside are those of `striate.core.boxes`.
"""

from __future__ import annotations

from striate.data.sources.annotations import coco, rows, voc, yolo
from striate.data.sources.annotations.common import Reader

FORMS: dict[str, Reader] = {
    "coco": coco.read, "voc": voc.read, "yolo": yolo.read, "csv": rows.read,
}  # fmt: skip
"""Forms by the name that `striate data convert --to` takes."""
