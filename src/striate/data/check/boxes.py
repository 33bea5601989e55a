"""What can be said of boxes before a training: how many, how large, doubled, tiny (F12)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from striate.core.anchors import anchor_shapes, unfit
from striate.core.arrays import Floats
from striate.core.boxes import areas, overlaps, sides_of
from striate.core.errors import counted, listing
from striate.core.findings import Finding
from striate.data.boxes import CROWD, DIFFICULT, Boxes
from striate.data.dataset import Dataset, Split

DOUBLED, CROWDED = 0.85, 0.5
"""Two boxes of one class that overlap by more than the first are perhaps one object, by more than
the second close neighbours."""
TRAINED, TINY = 320, 4.0
"""At this longer side of the picture, which suits a first training, an object with a side below so
many pixels can hardly be found."""
ANCHORS = 9
_MARKS = {DIFFICULT: "difficult", CROWD: "around a crowd"}


def box_findings(dataset: Dataset, sides: dict[str, Floats]) -> Iterator[Finding]:
    """Findings on the boxes of all splits. sides: of each split's images (N, 2) as (height,
    width)."""
    for name, split in dataset.splits.items():
        yield from _objects(dataset, name, split)
    yield from _by_class(dataset, sides)
    yield from _shapes(dataset, sides)
    yield from _pairs(dataset)
    yield from _tiny(dataset, sides)


def boxes_in(split: Split) -> Boxes:
    """The split's targets, which are boxes."""
    assert isinstance(split.targets, Boxes)
    return split.targets


def _objects(dataset: Dataset, name: str, split: Split) -> Iterator[Finding]:
    boxes = boxes_in(split)
    each = np.diff(boxes.starts)
    if not len(each):
        return
    text = (
        f"{name}: {counted(len(boxes.numbers), 'object')} in {counted(len(boxes), 'image')}, "
        f"{each.mean():.1f} an image ({each.min()} to {each.max()})"
    )
    marks = {word: int((boxes.flags & flag > 0).sum()) for flag, word in _MARKS.items()}
    text += "".join(f"; {count:,} {word}" for word, count in marks.items() if count)
    evidence = {"split": name, "objects": len(boxes.numbers), "empty": int((each == 0).sum()),
                "per_class": np.bincount(boxes.numbers, minlength=len(dataset.classes)).tolist(),
                **marks}  # fmt: skip
    yield Finding("objects", "note", text, evidence)


def _by_class(dataset: Dataset, sides: dict[str, Floats]) -> Iterator[Finding]:
    """Each class's size and shape in training."""
    boxes = boxes_in(dataset.splits["train"])
    longer = np.maximum(sides["train"].max(axis=1, initial=1), 1)[boxes.images]
    width, height = sides_of(boxes.places).T
    size = np.sqrt(areas(boxes.places)) / longer
    lines, evidence = [], {}
    for number, label in enumerate(dataset.classes):
        own = boxes.numbers == number
        if not own.any():
            continue
        low, median, high = np.percentile(size[own], (5, 50, 95))
        shape = float(np.median(width[own] / np.maximum(height[own], 1e-9)))
        lines.append(
            f"{label}: {counted(int(own.sum()), 'object')}, {low:.0%} to {high:.0%} of the longer "
            f"side (median {median:.0%}), width {shape:.2g} times the height"
        )
        evidence[label] = {"objects": int(own.sum()), "size": [low, median, high], "shape": shape}
    text = f"objects by class:\n{listing(lines)}"
    yield Finding("objects by class", "note", text, evidence)


def _shapes(dataset: Dataset, sides: dict[str, Floats]) -> Iterator[Finding]:
    """Shapes of anchors for these boxes, and the best recall that they allow."""
    boxes = boxes_in(dataset.splits["train"])
    longer = np.maximum(sides["train"].max(axis=1, initial=1), 1)[boxes.images]
    shown = sides_of(boxes.places) * (TRAINED / longer)[:, None]
    if len(shown) < ANCHORS:
        return
    shapes = anchor_shapes(shown, ANCHORS)
    lost = int(unfit(shown, shapes).sum())
    listed = ", ".join(f"{width:.0f}×{height:.0f}" for width, height in shapes)
    text = (
        f"{ANCHORS} anchors by k-means, for pictures of {TRAINED}: {listed}; "
        f"{counted(lost, 'object')} of {len(shown):,} fit none, so recall is at most "
        f"{1 - lost / len(shown):.1%}"
    )
    yield Finding("anchors", "note", text, {"shapes": shapes.tolist(), "unfit": lost}, source="E3")


def _pairs(dataset: Dataset) -> Iterator[Finding]:
    """Boxes of one class that overlap much."""
    doubled, near = [], 0
    for split in dataset.splits.values():
        boxes = boxes_in(split)
        for i in range(len(boxes)):
            own = boxes.only(i)
            own = own.where(own.flags & CROWD == 0)
            shared = np.triu(overlaps(own.places, own.places), 1)
            shared[own.numbers[:, None] != own.numbers] = 0
            near += int(((shared > CROWDED) & (shared <= DOUBLED)).sum())
            for a, b in np.argwhere(shared > DOUBLED):
                label = dataset.classes[own.numbers[a]]
                places = " and ".join(
                    "(" + ", ".join(f"{side:g}" for side in own.places[k]) + ")" for k in (a, b)
                )
                doubled.append(f"{split.images.name(i)}: {label} at {places}")
    if doubled:
        text = f"{counted(len(doubled), 'pair')} of boxes that are nearly one:\n{listing(doubled)}"
        yield Finding("doubled boxes", "warn", text, {"pairs": doubled},
                      "If both are around one object, remove one: a detector is punished for "
                      "finding it once.")  # fmt: skip
    if near:
        text = f"{counted(near, 'pair')} of boxes of one class that overlap by more than a half"
        yield Finding("overlapping boxes", "note", text, {"pairs": near},
                      "Suppression by overlap would drop one of them.")  # fmt: skip


def _tiny(dataset: Dataset, sides: dict[str, Floats]) -> Iterator[Finding]:
    lines, count, total = [], 0, 0
    for name, split in dataset.splits.items():
        boxes = boxes_in(split)
        longer = np.maximum(sides[name].max(axis=1, initial=1), 1)[boxes.images]
        shown = sides_of(boxes.places).min(axis=1, initial=np.inf) * TRAINED / longer
        small = np.flatnonzero(shown < TINY)
        count, total = count + len(small), total + len(boxes.numbers)
        lines += [
            f"{split.images.name(int(boxes.images[k]))}: {dataset.classes[boxes.numbers[k]]}, "
            f"{shown[k]:.1f} pixels"
            for k in small[:20]
        ]
    if count:
        text = (
            f"{counted(count, 'object')} of {total:,} with a side below {TINY:g} pixels where the "
            f"picture has {TRAINED}:\n{listing(lines, 10)}"
        )
        remedy = "A larger --image-size shows them, or tiles of the pictures."
        yield Finding("tiny objects", "warn", text, {"objects": count, "of": total}, remedy)
