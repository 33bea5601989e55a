"""The points of a map: places, names, and what is known of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MapPoints:
    """Places (N, 2), the images' names, and what is known of each by column: "label", "split" …

    `thumbnails`: uint8 (K, H, W, C) of the images at `shown` (K,), which may be fewer than all.
    """

    places: NDArray[np.floating[Any]]
    names: Sequence[str]
    columns: dict[str, list[str]]
    thumbnails: NDArray[np.uint8]
    shown: NDArray[np.int64]
