"""Names of the arrays that every floor passes on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""Images: (N, H, W, C), or one image (H, W, C)."""
Ids = NDArray[np.int64]
"""Numbers of images in a split, or other whole numbers."""
Floats = NDArray[np.float64]
AnyArray = NDArray[Any]
