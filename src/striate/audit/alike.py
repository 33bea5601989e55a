"""Images of different splits that trained weights can hardly tell apart (D3).

Copies that were cropped, recompressed or recoloured beyond what pixels show, and pictures of one
scene, have nearly equal features. Whether that is leakage is for a person to say: they are shown,
never left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import counted, listing
from striate.core.findings import Finding
from striate.data.check.survey import Survey
from striate.data.dataset import Dataset
from striate.data.read import positions_without

Places = dict[str, list[tuple[str, int]]]
ALIKE = 0.97
"""Cosine of the angle between the features of two images, less their mean, from which on they are
shown."""
_AT_ONCE = 500


def alike_images(
    dataset: Dataset,
    surveys: dict[str, Survey],
    features: dict[str, NDArray[np.float32]],
    known: Places,
) -> tuple[list[Finding], Places]:
    """(a finding, the places of the images): pairs of a held-out image and its nearest training
    image that are alike. known: places of copies that were found already, which are left out."""
    copies = {place for rule, places in known.items() if "cop" in rule for place in places}
    mean = features["train"].mean(axis=0)
    ids = positions_without(len(features["train"]), surveys["train"].faults)
    train = _directions(features["train"][ids] - mean)
    pairs: list[tuple[float, str, int, int]] = []
    for name, rows in features.items():
        if name == "train":
            continue
        own = positions_without(len(rows), surveys[name].faults)
        for start in range(0, len(own), _AT_ONCE):
            part = own[start : start + _AT_ONCE]
            near = _directions(rows[part] - mean) @ train.T
            best = near.argmax(axis=1)
            for row, place in enumerate(part.tolist()):
                cosine, other = float(near[row, best[row]]), int(ids[best[row]])
                if cosine >= ALIKE and (name, place) not in copies:
                    pairs.append((cosine, name, place, other))
    pairs.sort(key=lambda pair: -pair[0])
    if not pairs:
        return [Finding("alike images", "pass", "no held-out image is like a training image")], {}
    lines = [
        f"{dataset.splits[name].images.name(place)} ({name}) is like "
        f"{dataset.splits['train'].images.name(other)} (train), cosine {cosine:.3f}"
        for cosine, name, place, other in pairs
    ]
    text = (
        f"{counted(len(pairs), 'held-out image')} nearly equal to a training image by the features "
        f"of the weights; the nearest:\n{listing(lines, 5)}"
    )
    remedy = "Look at them (--png FILE). Scenes that belong together stay together by --group-by."
    places = [place for _, name, one, other in pairs for place in ((name, one), ("train", other))]
    return [Finding("alike images", "note", text, {"images": lines}, remedy)], {
        "alike images": places
    }


def _directions(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, 1e-12)
