"""Initialisers (T2): how convolution and linear weights start."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.errors import ModelError, RecipeError, perhaps

_SMALLEST = 5e-4
"""Added to the eigenvalues of whitening: directions nearly without variance are not blown up."""

INITIALISERS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "gaussian": lambda weight, std: nn.init.normal_(weight, 0.0, std),
    "xavier": lambda weight, _: nn.init.xavier_uniform_(weight),
    "he": lambda weight, _: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "orthogonal": lambda weight, _: nn.init.orthogonal_(weight),
    "dirac": lambda weight, _: _dirac(weight),
}
"""name → function(weight, std); only gaussian uses std.

gaussian: N(0, std²); xavier: U(±√(6/(fan_in+fan_out))) (Glorot 2010); he: N(0, 2/fan_in) (He 2015);
orthogonal: random orthogonal rows (Saxe 2014); dirac: a convolution's first filters pass their
channel on (Zagoruyko and Komodakis 2017), the rest as he.
"""


def initialise(net: nn.Module, name: str, std: float = 0.001, bias: float | None = None) -> None:
    """Start all convolution and linear layers anew; "auto" keeps the network's own weights.

    With an initialiser, biases become `bias` (0 if None); with "auto" only if `bias` is given.
    """
    if name != "auto" and name not in INITIALISERS:
        raise RecipeError(
            f"model.initialiser: unknown '{name}'", perhaps(name, [*INITIALISERS, "auto"])
        )
    for module in net.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        if name != "auto":
            INITIALISERS[name](module.weight, std)
        if module.bias is not None and (name != "auto" or bias is not None):
            nn.init.constant_(module.bias, bias or 0.0)


def whiten_first(net: nn.Module, covariance: NDArray[np.floating]) -> None:
    """Start the first convolution with the principal directions of its input patches, and fix them.

    Filters are ±(eigenvector / √eigenvalue): its outputs are uncorrelated and of one size (Coates
    and Ng 2012; Jordan 2024). covariance: of prepared patches (C·3·3, C·3·3) in the order channel,
    row, column; that of a smaller kernel is a part of it. Raises ModelError where the layer does
    not have two filters for each number of a patch, of at most 3×3.
    """
    first = next((m for m in net.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        raise ModelError("model.whiten: the network has no convolution")
    outputs, channels, height, width = first.weight.shape
    if max(height, width) > 3 or outputs != 2 * channels * height * width:
        raise ModelError(
            f"model.whiten: the first convolution has {outputs} filters of "
            f"{channels}×{height}×{width}; whitening needs two for each number of a patch of at "
            "most 3×3",
            "Leave model.whiten out.",
        )
    grid = covariance.reshape(channels, 3, 3, channels, 3, 3)
    part = grid[:, :height, :width, :, :height, :width].reshape(outputs // 2, -1)
    values, vectors = np.linalg.eigh(part)
    directions = (vectors / np.sqrt(np.maximum(values, 0) + _SMALLEST)).T
    filters = np.concatenate([directions, -directions]).reshape(first.weight.shape)
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(filters))
        if first.bias is not None:
            first.bias.zero_()
    first.weight.requires_grad = False


def _dirac(weight: Tensor) -> Tensor:
    nn.init.kaiming_normal_(weight, nonlinearity="relu")
    if weight.dim() == 4:
        nn.init.dirac_(weight[: min(weight.shape[:2])])
    return weight
