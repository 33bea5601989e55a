"""Can an attribution be trusted? Does the score fall when its pixels go, and does it need the
trained weights at all?"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.models.hooks import evaluating

STEPS = 20


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


def deletion(
    net: nn.Module,
    images: Tensor,
    classes: Tensor,
    maps: Tensor,
    *,
    insert: bool = False,
    probabilities: Callable[[Tensor], Tensor] = _softmax,
) -> NDArray[np.float64]:
    """Mean probability of the class (STEPS + 1,) while the most important pixels are covered, one
    twentieth at a time, with the image's mean colour; with `insert` they are uncovered instead
    (Petsiuk et al. 2018, arXiv:1806.07421). A good map falls quickly, or rises quickly.

    probabilities: logits → probabilities.
    """
    x = images.float()
    count = x.shape[1] * x.shape[2]
    order = maps.reshape(len(x), -1).argsort(dim=1, descending=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(count, device=order.device).expand_as(order)
    )
    rank = rank.reshape(x.shape[0], x.shape[1], x.shape[2], 1)
    colour = x.mean(dim=(1, 2), keepdim=True)
    found = []
    with evaluating(net), torch.inference_mode():
        for step in range(STEPS + 1):
            first = rank < count * step / STEPS
            shown = torch.where(first if insert else ~first, x, colour)
            found.append(float(probabilities(net(shown)).gather(1, classes[:, None]).mean()))
    return np.array(found)


def area(curve: NDArray[np.float64]) -> float:
    """Mean height of a deletion or insertion curve."""
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def randomised(net: nn.Module, seed: int = 0) -> nn.Module:
    """A copy with first weights of its own: what explains it explains nothing that was learnt."""
    fresh = copy.deepcopy(net)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            reset: Any = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return fresh


def likeness(
    method: Callable[[nn.Module, Tensor, Tensor], Tensor],
    net: nn.Module,
    images: Tensor,
    classes: Tensor,
) -> float | None:
    """Mean rank correlation of an attribution with that of the network with random weights
    (Adebayo et al. 2018, arXiv:1810.03292). Near 1 it shows the images' edges, not the network.
    None where one of the two is the same everywhere, for all images."""
    from scipy.stats import rankdata

    ours = method(net, images, classes).abs().flatten(1).cpu().numpy()
    theirs = method(randomised(net), images, classes).abs().flatten(1).cpu().numpy()
    each = []
    for a, b in zip(ours, theirs, strict=True):
        if a.std() and b.std():
            each.append(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
    return float(np.mean(each)) if each else None
