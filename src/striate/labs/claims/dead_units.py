"""L10: units that are never above 0."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from striate.labs.bench import accuracy_of, dense, digits, fit, share_of
from striate.labs.lab import Lab, Trial

_PUSHED = 56


def measure(seed: int, full: bool) -> Trial:
    data, figures = digits(seed), {}
    for name, activation in (("ReLU", nn.ReLU), ("leaky ReLU", partial(nn.LeakyReLU, 0.1))):
        torch.manual_seed(seed)
        net = dense([64, 64, 64, 10], activation)
        first = next(m for m in net.modules() if isinstance(m, nn.Linear))
        with torch.no_grad():  # as a step that is too long may leave them
            first.bias[:_PUSHED] -= _largest(first, data.x) + 0.5
        before = first.weight[:_PUSHED].detach().clone()
        fit(net, data.x, data.y, steps=3000 if full else 1000, lr=0.1, batch=64, seed=seed)
        moved = (first.weight[:_PUSHED].detach() - before).abs().amax(dim=1) > 0
        figures[f"{name}: units pushed below 0 that still learn"] = share_of(moved)
        back = _largest(first, data.x) > 0
        figures[f"{name}: units that are above 0 again for an image"] = share_of(back)
        figures[f"{name}: accuracy"] = accuracy_of(net, data.test_x, data.test_y)
    return Trial(figures)


@torch.no_grad()
def _largest(layer: nn.Linear, images: Tensor) -> Tensor:
    """Of each pushed unit, its largest sum for any image."""
    return layer(images.flatten(1))[:, :_PUSHED].amax(dim=0)


LAB = Lab(
    "L10", "dead-units",
    "ReLU has no gradient below 0, so a unit that is never above it stops learning; leaky ReLU "
    "avoids that.",
    "The biases of 56 of the first layer's 64 units are lowered until no training image brings "
    "them above 0; then the network learns digits for 1,000 steps.",
    measure,
    {
        "confirmed": lambda f: f["ReLU: units pushed below 0 that still learn"] == 0
        and f["leaky ReLU: units pushed below 0 that still learn"] == 1
    },
    "ReLU: units pushed below 0 that still learn",
    "A dead unit stays dead. One bad step can make many; Striate's doctor counts them, for the "
    "score may not show it: here the eight units that are left are enough. Those of leaky ReLU go "
    "on learning, but hardly one comes back above 0; down there they are only linear.",
    "confirmed",
)  # fmt: skip
