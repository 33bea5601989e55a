"""Parameter groups: each parameter's rate and weight decay follow from its stage and its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

    from striate.optim.rules import Rule

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
    net: nn.Module, rule: Rule, l2: float, factors: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Groups for torch.optim: those with equal settings are one.

    factors: parameter → factor of its rate, 1 where it is not named; what has the factor 0 is in no
    group. A group's rate is that of the training times its `lr_scale`. Weight decay reaches weights
    only, and not those that are orthogonalised, whose length means nothing.
    """
    scales = {"weights": 1.0, "output": rule.head_rate, "others": rule.bias_rate}
    parameters, groups = dict(net.named_parameters()), dict[tuple[Any, ...], dict[str, Any]]()
    ordered = sorted(kinds_of(net).items(), key=lambda pair: list(scales).index(pair[1]))
    for name, kind in ordered:
        factor = factors.get(name, 1.0)
        if not factor:
            continue
        special = rule.orthogonalises and kind == "weights"
        settings: dict[str, Any] = {
            "weight_decay": l2 if kind != "others" and not special else 0.0,
            "lr_scale": scales[kind] * factor,
        }
        if special:
            settings["orthogonalise"] = True
        elif rule.orthogonalises:
            settings["momentum"] = _OTHERS_MOMENTUM
        group = groups.setdefault((kind, *settings.items()), {"params": [], **settings})
        group["params"].append(parameters[name])
    return list(groups.values())
