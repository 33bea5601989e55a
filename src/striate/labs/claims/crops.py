"""D2: how many crops there are."""

from __future__ import annotations

import numpy as np

from striate.labs.lab import Lab, Trial


def _different(side: int, crop: int, seed: int) -> int:
    """Crops of a random image and of its mirror image, equal ones counted once."""
    image = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    found = set()
    for picture in (image, image[:, ::-1]):
        for top in range(side - crop + 1):
            for left in range(side - crop + 1):
                part = np.ascontiguousarray(picture[top : top + crop, left : left + crop])
                found.add(hash(part.tobytes()))
    return len(found)


def measure(seed: int, _: bool) -> Trial:
    return Trial(
        {
            "crops of 224 in 256, with mirror images": _different(256, 224, seed),
            "the deck's count": 32 * 32 * 2,
        }
    )


LAB = Lab(
    "D2", "crops",
    "Random crops of 224×224 pixels of 256×256, with mirror images, make 32·32·2 = 2,048 images "
    "of one.",
    "All crops of a random image and of its mirror image are cut out and counted.",
    measure,
    {
        "wrong": lambda f: f["crops of 224 in 256, with mirror images"] == 33 * 33 * 2
        and f["the deck's count"] == 2048
    },
    "crops of 224 in 256, with mirror images",
    "A window of 224 has 33 places in 256, not 32. (The crops overlap almost entirely, so they are "
    "far from 2,178 new images.)",
    "wrong",
    deck="2,048 = 32·32·2", truth="2,178 = 33·33·2", seeds=2,
)  # fmt: skip
