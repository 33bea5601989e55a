"""Update rules (O3–O5); torch.optim does the work. The table needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from striate.core.errors import RecipeError, perhaps
from striate.optim.groups import Kind, parameter_groups

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Rule:
    """A torch.optim class, the recipe knobs that it uses with their defaults, and its rates.

    `lr` suits batches of 256 and a network with normalisation, `lr_plain` a deep one without.
    `bias_rate` and `head_rate`: times the rate that biases and the last layer get.
    `orthogonalises`:
    the steps of all other weights are made orthogonal (see muon.py).
    """

    optimiser: str
    lr: float
    lr_plain: float
    knobs: dict[str, float] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    bias_rate: float = 1.0
    head_rate: float = 1.0
    orthogonalises: bool = False


UPDATE_RULES: dict[str, Rule] = {
    "sgd": Rule("SGD", 1.0, 0.2),
    "momentum": Rule("SGD", 0.4, 0.04, {"momentum": 0.9}),
    "nesterov": Rule("SGD", 0.4, 0.04, {"momentum": 0.9}, {"nesterov": True}),
    "adagrad": Rule("Adagrad", 0.02, 0.01, {"eps": 1e-10}),
    "rmsprop": Rule("RMSprop", 2e-3, 5e-4, {"rho": 0.99, "eps": 1e-8}),
    "adam": Rule("Adam", 4e-3, 1e-3, {"momentum": 0.9, "rho": 0.999, "eps": 1e-8}),
    "adamw": Rule("AdamW", 4e-3, 1e-3, {"momentum": 0.9, "rho": 0.999, "eps": 1e-8}),
    "muon": Rule("Muon", 0.11, 0.02, {"momentum": 0.6}, {}, 33.0, 4.5, orthogonalises=True),
}

_FUSED = ("SGD", "Adam", "AdamW")
"""Rules that torch has as one kernel for a GPU."""

SHALLOW = 5
"""Layers with weights up to which a network counts as shallow, such as LeNet."""

ADAPTIVE = frozenset({"adagrad", "rmsprop", "adam", "adamw", "muon"})
"""Rules whose step does not shrink with the gradient: their rate grows with √batch, not batch."""


def find_rule(name: str) -> Rule:
    """The map's entry. Raises RecipeError for an unknown name."""
    if name not in UPDATE_RULES:
        raise RecipeError(f"optim.rule: unknown '{name}'", perhaps(name, UPDATE_RULES))
    return UPDATE_RULES[name]


def default_rate(
    name: str, batch_size: int, *, normalised: bool, layers: int = SHALLOW + 1
) -> float:
    """Peak rate for a rule, batch size and kind of network: a start, not an optimum.

    layers: that have weights. Few of them bear higher rates without normalisation than many.
    """
    rule = find_rule(name)
    base = rule.lr if normalised else rule.lr_plain
    if not normalised and layers <= SHALLOW:
        base = (rule.lr * rule.lr_plain) ** 0.5
    growth = batch_size / 256
    return float(f"{base * (growth**0.5 if name in ADAPTIVE else growth):.3g}")


def make_optimiser(
    net: nn.Module,
    name: str,
    *,
    lr: float,
    l2: float,
    knobs: dict[str, float],
    bfloat16: bool = False,
    factors: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """The optimiser of all parameters that learn, in the groups of `parameter_groups`.

    factors: parameter → factor of its rate; 0: it is left out.
    """
    import torch

    from striate.core.uncompiled import uncompiled
    from striate.optim.muon import Muon

    rule = find_rule(name)
    options: dict[str, Any] = dict(rule.fixed)
    if "eps" in knobs:
        options["eps"] = knobs["eps"]
    if rule.optimiser in ("Adam", "AdamW"):
        options["betas"] = (knobs["momentum"], knobs["rho"])
    elif rule.optimiser == "RMSprop":
        options["alpha"] = knobs["rho"]
    elif "momentum" in knobs:
        options["momentum"] = knobs["momentum"]
    scales: dict[Kind, float] = {
        "weights": 1.0, "output": rule.head_rate, "others": rule.bias_rate,
    }  # fmt: skip
    groups = parameter_groups(net, l2, scales, factors or {}, orthogonalise=rule.orthogonalises)
    if rule.orthogonalises:
        return uncompiled(Muon)(
            groups, lr, dtype=torch.bfloat16 if bfloat16 else torch.float32, **options
        )
    fused = rule.optimiser in _FUSED and next(net.parameters()).is_cuda
    options["fused" if fused else "foreach"] = True
    kind: type[torch.optim.Optimizer] = uncompiled(getattr(torch.optim, rule.optimiser))
    return kind(groups, lr=lr, **options)  # type: ignore[call-arg]
