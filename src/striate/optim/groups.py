"""Parameter groups: each parameter's rate and weight decay follow from its stage and its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

Kind = Literal["weights", "output", "others"]
"""Weights of layers (more than one dimension), those of the layer that gives the outputs, and the
rest: biases, and gains of norm layers."""
_OTHERS_MOMENTUM = 0.85
"""Of the parameters that muon does not orthogonalise."""


def kinds_of(net: nn.Module) -> dict[str, Kind]:
    """Parameter that learns → its kind."""
    learning = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    weights = [name for name, p in learning if p.dim() > 1]
    kinds: dict[str, Kind] = {name: "others" for name, _ in learning}
    kinds |= dict.fromkeys(weights, "weights")
    kinds |= dict.fromkeys(weights[-1:], "output")
    return kinds


def parameter_groups(
    net: nn.Module,
    l2: float,
    scales: Mapping[Kind, float],
    factors: Mapping[str, float],
    *,
    orthogonalise: bool = False,
) -> list[dict[str, Any]]:
    """Groups for torch.optim, in the order of `scales`: parameters with equal settings are one.

    scales: kind → times the rate that it gets. factors: parameter → factor of its rate, 1 where it
    is not named; what has the factor 0 is in no group. orthogonalise: whether the steps of weights
    (those of the output layer excepted) are made orthogonal. A group's rate is that of the training
    times its `lr_scale`. Weight decay reaches weights only, and not those that are orthogonalised,
    whose length means nothing.
    """
    parameters, groups = dict(net.named_parameters()), dict[tuple[Any, ...], dict[str, Any]]()
    ordered = sorted(kinds_of(net).items(), key=lambda pair: list(scales).index(pair[1]))
    for name, kind in ordered:
        factor = factors.get(name, 1.0)
        if not factor:
            continue
        special = orthogonalise and kind == "weights"
        settings: dict[str, Any] = {
            "weight_decay": l2 if kind != "others" and not special else 0.0,
            "lr_scale": scales[kind] * factor,
        }
        if special:
            settings["orthogonalise"] = True
        elif orthogonalise:
            settings["momentum"] = _OTHERS_MOMENTUM
        group = groups.setdefault((kind, *settings.items()), {"params": [], **settings})
        group["params"].append(parameters[name])
    return list(groups.values())
