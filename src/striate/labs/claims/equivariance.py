"""L8: when the image moves, the maps move along."""

from __future__ import annotations

import torch
from torch import nn

from striate.labs.lab import Lab, Trial


def _moved(x: torch.Tensor, by: int) -> torch.Tensor:
    return x.roll(by, dims=-1)


def _error(net: nn.Module, x: torch.Tensor, shift: int, stride: int) -> float:
    """How far the maps of a moved image are from the moved maps, relative, away from the border."""
    with torch.no_grad():
        one, other = _moved(net(x), shift // stride), net(_moved(x, shift))
    inner = (..., slice(8, -8), slice(8, -8))
    return float((one[inner] - other[inner]).norm() / one[inner].norm())


def measure(seed: int, _: bool) -> Trial:
    torch.manual_seed(seed)
    x = torch.rand(4, 1, 64, 64)
    plain = nn.Conv2d(1, 8, 3, padding=1)
    strided = nn.Conv2d(1, 8, 3, stride=2, padding=1)
    dense = nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 64 * 64), nn.Unflatten(1, (1, 64, 64)))
    return Trial(
        {
            "convolution, moved by 1: error": _error(plain, x, 1, 1),
            "stride 2, moved by 2: error": _error(strided, x, 2, 2),
            "stride 2, moved by 1: error": _error(strided, x, 1, 2),
            "fully connected, moved by 1: error": _error(dense, x, 1, 1),
            "parameters of a 3×3 kernel": 9,
            "parameters of the same map, fully connected": 64**4,
        }
    )


LAB = Lab(
    "L8", "equivariance",
    "A convolution is equivariant: when the image moves, the maps move along. A fully connected "
    "layer can represent the same map with far more parameters.",
    "Random images of 64×64 are moved, before and after layers with random weights; the border is "
    "left out.",
    measure,
    {
        "conditional": lambda f: max(
            f["convolution, moved by 1: error"], f["stride 2, moved by 2: error"]
        )
        < 1e-5
        and f["stride 2, moved by 1: error"] > 0.1
        and f["fully connected, moved by 1: error"] > 0.1
    },
    "stride 2, moved by 1: error",
    "True without a stride. With one it holds for shifts by multiples of the stride only, so a "
    "network with strides may answer otherwise when its image moves by a pixel.",
    "conditional",
)  # fmt: skip
