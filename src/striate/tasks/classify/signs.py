"""What the logits of a classifier tell the doctor beside its loss and score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Ids

_GROUPS = 10
Logits = NDArray[np.float32]


def signs_of_labels(logits: Logits, truth: Ids, class_images: Ids) -> dict[str, Any]:
    """Of one label an image; see `Measured`."""
    return {
        "contradicted": contradicted(logits, truth),
        "recall": recall_by_count(logits, truth, class_images),
        "never_found": never_found(logits, truth),
        **signs_of_label_sets(logits),
    }


def signs_of_label_sets(logits: Logits) -> dict[str, Any]:
    """Of several labels an image; see `Measured`."""
    return {"output_range": output_range(logits)}


def output_range(logits: Logits) -> tuple[float, float, float] | None:
    """The least and the greatest output, and how far an image's outputs are from the sum 1."""
    if not np.isfinite(logits).all():
        return None
    apart = np.abs(logits.sum(axis=1) - 1)
    return float(logits.min()), float(logits.max()), float(apart.max())


def contradicted(logits: Logits, truth: Ids) -> float | None:
    """Share of images that are called otherwise and whose label ranks in the lower half of the
    other answers. Wrong labels drawn at random rank anywhere; a hard image's ranks high, so this is
    about half of the share of random labels. None below four classes.
    """
    rows, classes = logits.shape
    if classes < 4 or not rows:
        return None
    own = logits[np.arange(rows), truth][:, None]
    better = (logits > own).sum(axis=1)  # 0: right; 1 … C − 1: rank among the others
    return float((better > classes / 2).mean())


def recall_by_count(
    logits: Logits, truth: Ids, class_images: Ids
) -> tuple[tuple[float, int, float], ...]:
    """Classes from common to rare in training, in at most ten groups: (mean training images of a
    class, validation images, share recognised). Groups without validation images are left out."""
    right = logits.argmax(axis=1) == truth
    groups = np.array_split(
        np.argsort(-class_images, kind="stable"), min(_GROUPS, len(class_images))
    )
    found = []
    for group in groups:
        here = np.isin(truth, group)
        if here.any():
            found.append(
                (float(class_images[group].mean()), int(here.sum()), float(right[here].mean()))
            )
    return tuple(found)


def never_found(logits: Logits, truth: Ids) -> tuple[tuple[int, int], ...]:
    """(class, validation images) of each class that is there and of which no image is right."""
    classes = logits.shape[1]
    there = np.bincount(truth, minlength=classes)
    right = np.bincount(truth[logits.argmax(axis=1) == truth], minlength=classes)
    return tuple((int(c), int(there[c])) for c in np.flatnonzero((there > 0) & (right == 0)))
