"""What a layer costs and a unit sees (L4, L5, L8, L13); `convolution` has the output size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from striate.textbook.arrays import Array, Pair, TextbookError


def dropped(n: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Pixels at the far border that no window sees, because the stride leaves them over (L4)."""
    return max(0, (n + 2 * padding - dilation * (kernel - 1) - 1) % stride - padding)


def conv_cost(
    inputs: int, outputs: int, kernel: Pair, positions: int, groups: int = 1, bias: bool = True
) -> tuple[int, int]:
    """(parameters, multiply–adds of one image) of a convolution with `positions` outputs a map.

    A fully connected layer is one whose kernel and number of positions are 1 (L8).
    """
    weights = outputs * (inputs // groups) * prod(kernel)
    return weights + outputs * bias, weights * positions


@dataclass(frozen=True)
class Field:
    """What one unit sees of the input, along height and width.

    size: of the receptive field. stride: from a unit's field to the next one's. padding: how far
    the first unit's field reaches beyond the border. All in input pixels.
    """

    size: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    def through(self, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Field:
        """After a window: it is `stride` times sparser and sees dilation·(K − 1) units more."""
        size, step, pad = (np.array(pair) for pair in (self.size, self.stride, self.padding))
        k, s, p, d = (np.array(pair) for pair in (kernel, stride, padding, dilation))
        after = (size + step * d * (k - 1), step * s, pad + step * p)
        return Field(*((int(high), int(wide)) for high, wide in after))


def equivariance_error(
    function: Callable[[Array], Array], images: Array, shift: int, stride: int = 1, border: int = 0
) -> float:
    """L8: how far function(shifted images) is from shifted function(images), over its largest |y|.

    images (N, C, H, W) are shifted by `shift` pixels, a multiple of the function's stride; `border`
    units at each edge, where padding shows, are left out. 0 for a convolution.
    """
    units = shift // stride
    if units * stride != shift or shift < 1:
        raise TextbookError(f"a shift of {shift} is no positive multiple of the stride {stride}")
    here, there = function(images[:, :, :-shift, :-shift]), function(images[:, :, shift:, shift:])
    bottom, right = here.shape[2] - units - border, here.shape[3] - units - border
    if bottom <= border or right <= border:
        raise TextbookError(f"nothing is left of {here.shape} inside a border of {border}")
    moved = here[:, :, border + units : bottom + units, border + units : right + units]
    difference = np.abs(there[:, :, border:bottom, border:right] - moved)
    return float(difference.max() / max(np.abs(here).max(), 1e-30))
