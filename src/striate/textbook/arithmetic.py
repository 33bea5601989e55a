"""What a layer costs and a unit sees (L4, L5, L8, L13); `convolution` has the output size."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from striate.textbook.arrays import Pair


def dropped(n: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Pixels at the far border that no window sees, because the stride leaves them over (L4)."""
    return max(0, (n + 2 * padding - dilation * (kernel - 1) - 1) % stride - padding)


def conv_cost(
    inputs: int, outputs: int, kernel: Pair, positions: int, groups: int = 1, bias: bool = True
) -> tuple[int, int]:
    """(parameters, multiply–adds an image) with `positions` outputs a map; 1 if fully connected."""
    weights = outputs * (inputs // groups) * prod(kernel)
    return weights + outputs * bias, weights * positions


@dataclass(frozen=True)
class Field:
    """What a unit sees, in input pixels (height, width): the receptive field's size, the stride to
    the next unit's field, and how far the first one reaches beyond the border."""

    size: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    def through(self, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Field:
        """After a window: it is `stride` times sparser and sees dilation·(K − 1) units more."""
        size, step, pad = (np.array(pair) for pair in (self.size, self.stride, self.padding))
        k, s, p, d = (np.array(pair) for pair in (kernel, stride, padding, dilation))
        after = (size + step * d * (k - 1), step * s, pad + step * p)
        return Field(*((int(high), int(wide)) for high, wide in after))
