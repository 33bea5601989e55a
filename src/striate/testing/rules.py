"""The laws of update rules and schedules (O3–O7)."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from striate.optim.rules import find_rule, make_optimiser
from striate.optim.schedules import find_schedule, make_schedule
from striate.testing.laws import Laws
from striate.training.state import Position, State

_STEPS = 40


def check_update_rule(name: str, *, lr: float | None = None) -> list[str]:
    """The laws of a name of UPDATE_RULES, at its usual rate or at `lr`."""
    laws, rule = Laws(f"the update rule {name}"), find_rule(name)
    rate = rule.lr_plain if lr is None else lr
    net, images, targets = _problem()
    still = copy.deepcopy(net)
    _train(still, name, 0.0, images, targets, 3)
    same = all(torch.equal(a, b) for a, b in zip(still.parameters(), net.parameters(), strict=True))
    laws.check("at rate 0 nothing moves", same)
    first = _loss(net, images, targets).item()
    learnt = copy.deepcopy(net)
    _train(learnt, name, rate, images, targets, _STEPS)
    last = _loss(learnt, images, targets).item()
    law = f"{_STEPS} steps lower the loss of a small problem"
    laws.check(law, last < 0.9 * first, f"{first:.3f} → {last:.3f} at rate {rate:g}")
    _resumed(laws, name, rate)
    return laws.kept


def check_schedule(name: str, *, total: int = 100, per_epoch: float = 10.0) -> list[str]:
    """The laws of a name of SCHEDULES: factors of the peak rate, by step."""
    laws, usual = Laws(f"the schedule {name}"), find_schedule(name).defaults
    knobs = {"warmup": 0.0, "gamma": 0.5, **usual, "step_epochs": 3.0}
    schedule = make_schedule(
        name, total=total, per_epoch=per_epoch, warmup=float(knobs["warmup"]),
        gamma=knobs["gamma"], step_epochs=knobs["step_epochs"],
    )  # fmt: skip
    factors = np.array([schedule(step) for step in range(total)])
    again = np.array([schedule(step) for step in reversed(range(total))])[::-1]
    laws.check("a factor follows from its step alone", np.array_equal(factors, again))
    laws.check("factors are finite and not negative", (np.isfinite(factors) & (factors >= 0)).all())
    highest = float(factors.max())
    laws.check("the highest factor is 1", 0.9 < highest <= 1.0 + 1e-9, f"{highest:.3f}")
    return laws.kept


def _problem() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
            nn.Linear(8 * 64, 4),
        )  # fmt: skip
        targets = torch.arange(32) % 4
        images = torch.randn(32, 1, 8, 8) + targets[:, None, None, None]
    return net, images, targets


def _loss(net: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(net(images), targets)


def _optimiser(net: nn.Module, name: str, lr: float) -> torch.optim.Optimizer:
    made = make_optimiser(net, name, lr=lr, l2=0.0, knobs=find_rule(name).knobs)
    for group in made.param_groups:
        group["lr"] = lr * group["lr_scale"]
    return made


def _steps(
    net: nn.Module, rule: torch.optim.Optimizer, images: torch.Tensor, targets: torch.Tensor,
    count: int,
) -> None:  # fmt: skip
    for _ in range(count):
        rule.zero_grad()
        _loss(net, images, targets).backward()  # type: ignore[no-untyped-call]
        rule.step()


def _train(
    net: nn.Module, name: str, lr: float, images: torch.Tensor, targets: torch.Tensor, count: int
) -> None:
    _steps(net, _optimiser(net, name, lr), images, targets, count)


def _resumed(laws: Laws, name: str, lr: float) -> None:
    """What the rule keeps survives a checkpoint."""
    net, images, targets = _problem()
    whole = State(net, _optimiser(net, name, lr), None, Position())
    _steps(net, whole.optimiser, images, targets, 3)
    model, state = whole.tensors()
    kept = [{k: v.clone() for k, v in part.items()} for part in (model, state)]
    other, _, _ = _problem()
    resumed = State(other, _optimiser(other, name, lr), None, Position())
    manifest = vars(Position())
    resumed.restore(kept[0], kept[1], manifest)
    _steps(net, whole.optimiser, images, targets, 3)
    _steps(other, resumed.optimiser, images, targets, 3)
    same = all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    laws.check("a training from a checkpoint is bit-equal to the uninterrupted one", same)
