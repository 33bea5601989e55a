"""Initialisers (T2): how convolution and linear weights start."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from striate.core.errors import RecipeError, perhaps

INITIALISERS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "gaussian": lambda weight, std: nn.init.normal_(weight, 0.0, std),
    "xavier": lambda weight, _: nn.init.xavier_uniform_(weight),
    "he": lambda weight, _: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "orthogonal": lambda weight, _: nn.init.orthogonal_(weight),
}
"""name → function(weight, std); only gaussian uses std.

gaussian: N(0, std²); xavier: U(±√(6/(fan_in+fan_out))) (Glorot 2010); he: N(0, 2/fan_in) (He 2015);
orthogonal: random orthogonal rows (Saxe 2014).
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
