"""Which pixels speak for a class: gradients, their refinements, and covering parts up (M5).

`net` is any module: images float (N, H, W, C) → scores (N, classes), as every network of the zoo
takes them; `classes`: the class asked about, int64 (N,). Each method gives float (N, H, W), larger
where the pixel matters more; the network is left as it was, also on an error.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from striate.explain.backwards import Guided
from striate.models.hooks import evaluating, kept_output, last_maps

STEPS = 32
"""Points of the path of integrated gradients."""
_COVER = 4
"""Covers are a quarter of the image's side."""


def gradient(net: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """∂ score / ∂ pixels, (N, H, W, C)."""
    with evaluating(net), torch.enable_grad():
        x = images.detach().float().requires_grad_()
        own = net(x).gather(1, classes[:, None])
        (found,) = torch.autograd.grad(own.sum(), x)
    return found


def saliency(net: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """The largest |gradient| of the channels (Simonyan et al. 2014, arXiv:1312.6034)."""
    return gradient(net, images, classes).abs().amax(dim=3)


def integrated_gradients(
    net: nn.Module, images: Tensor, classes: Tensor, *, baseline: Tensor | None = None
) -> Tensor:
    """(x − x′)·(mean gradient on the way from x′ to x), summed over channels: the parts add up to
    the difference of the scores (Sundararajan et al. 2017, arXiv:1703.01365).

    baseline: x′, broadcast to the images; black by default.
    """
    x = images.float()
    start = torch.zeros_like(x) if baseline is None else baseline.float().expand_as(x)
    total = torch.zeros_like(x)
    for step in range(STEPS):  # the midpoint rule
        share = (step + 0.5) / STEPS
        total += gradient(net, start + share * (x - start), classes)
    return ((x - start) * total / STEPS).sum(dim=3)


def guided_backpropagation(net: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """The gradient, but at every activation only what is positive goes on, and only where the
    activation's output is (Springenberg et al. 2015, arXiv:1412.6806); the largest of the channels.

    It shows edges of what excites the network, and depends little on the class: compare
    `randomised` before believing it.
    """
    with Guided():
        return gradient(net, images, classes).clamp(min=0).amax(dim=3)


def grad_cam(
    net: nn.Module, images: Tensor, classes: Tensor, *, layer: nn.Module | None = None
) -> Tensor:
    """Maps of a layer weighted with their mean gradients, rectified, enlarged to the image
    (Selvaraju et al. 2017, arXiv:1610.02391). layer: the last with maps by default."""
    chosen = layer or last_maps(net, images[:1])
    with evaluating(net), torch.enable_grad(), kept_output(chosen) as kept:
        own = net(images.detach().float().requires_grad_()).gather(1, classes[:, None])
        (slopes,) = torch.autograd.grad(own.sum(), kept[0])
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    maps = (weights * kept[0].detach()).sum(dim=1, keepdim=True).relu().float()
    side = images.shape[1:3]
    large = nn.functional.interpolate(maps, size=side, mode="bilinear", align_corners=False)
    return large[:, 0]


def occlusion(
    net: nn.Module, images: Tensor, classes: Tensor, *, side: int = 0, stride: int = 0
) -> Tensor:
    """By how much the score falls where a square is covered with the image's mean colour, the mean
    over all squares that cover a pixel (Zeiler and Fergus 2014, arXiv:1311.2901)."""
    x = images.float()
    height, width = x.shape[1:3]
    side = min(side or max(2, min(height, width) // _COVER), height, width)
    stride = stride or max(1, side // 2)
    colour = x.mean(dim=(1, 2), keepdim=True)
    fall = torch.zeros(x.shape[:3], device=x.device)
    covers = torch.zeros(height, width, device=x.device)
    with evaluating(net), torch.inference_mode():
        before = net(x).gather(1, classes[:, None])[:, 0]
        for top in _starts(height, side, stride):
            for left in _starts(width, side, stride):
                covered = x.clone()
                covered[:, top : top + side, left : left + side] = colour
                after = net(covered).gather(1, classes[:, None])[:, 0]
                fall[:, top : top + side, left : left + side] += (before - after)[:, None, None]
                covers[top : top + side, left : left + side] += 1
    return fall / covers


ATTRIBUTIONS: dict[str, Callable[..., Tensor]] = {
    f.__name__: f
    for f in (saliency, integrated_gradients, guided_backpropagation, grad_cam, occlusion)
}


def _starts(length: int, side: int, stride: int) -> list[int]:
    """Places of covers that reach both ends."""
    return sorted({*range(0, length - side + 1, stride), length - side})
