"""Update rules (O3–O5); torch.optim does the work. The table needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from striate.core.errors import RecipeError, perhaps

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Rule:
    """A torch.optim class, the recipe knobs that it uses with their defaults, and its rates.

    `lr` suits batches of 256 and a network with normalisation, `lr_plain` one without.
    """

    optimiser: str
    lr: float
    lr_plain: float
    knobs: dict[str, float] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)


UPDATE_RULES: dict[str, Rule] = {
    "sgd": Rule("SGD", 1.0, 0.2),
    "momentum": Rule("SGD", 0.4, 0.04, {"momentum": 0.9}),
    "nesterov": Rule("SGD", 0.4, 0.04, {"momentum": 0.9}, {"nesterov": True}),
    "adagrad": Rule("Adagrad", 0.02, 0.01, {"eps": 1e-10}),
    "rmsprop": Rule("RMSprop", 2e-3, 5e-4, {"rho": 0.99, "eps": 1e-8}),
    "adam": Rule("Adam", 4e-3, 1e-3, {"momentum": 0.9, "rho": 0.999, "eps": 1e-8}),
    "adamw": Rule("AdamW", 4e-3, 1e-3, {"momentum": 0.9, "rho": 0.999, "eps": 1e-8}),
}

ADAPTIVE = frozenset({"adagrad", "rmsprop", "adam", "adamw"})
"""Rules whose step does not shrink with the gradient: their rate grows with √batch, not batch."""


def find_rule(name: str) -> Rule:
    """The map's entry. Raises RecipeError for an unknown name."""
    if name not in UPDATE_RULES:
        raise RecipeError(f"optim.rule: unknown '{name}'", perhaps(name, UPDATE_RULES))
    return UPDATE_RULES[name]


def default_rate(name: str, batch_size: int, *, normalised: bool) -> float:
    """Peak rate for a rule, batch size and kind of network: a start, not an optimum."""
    rule = find_rule(name)
    base = rule.lr if normalised else rule.lr_plain
    growth = batch_size / 256
    return float(f"{base * (growth**0.5 if name in ADAPTIVE else growth):.3g}")


def make_optimiser(
    net: nn.Module, name: str, *, lr: float, l2: float, knobs: dict[str, float]
) -> torch.optim.Optimizer:
    """The torch optimiser; weight decay reaches weights only, not biases and norm layers."""
    import torch

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
    weights = [p for p in net.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in net.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": l2}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    optimiser: torch.optim.Optimizer = getattr(torch.optim, rule.optimiser)(
        groups, lr=lr, foreach=True, **options
    )
    return optimiser
