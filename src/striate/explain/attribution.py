"""Which pixels speak for a class: gradients, their refinements, and covering parts up (M5).

`net` is any module: images float (N, H, W, C) → scores (N, classes), as every network of the zoo
takes them; `classes`: the class asked about, int64 (N,). Each method gives float (N, H, W), larger
where the pixel matters more; the network is left as it was, also on an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

STEPS = 32
"""Points of the path of integrated gradients."""
_COVER = 4
"""Covers are a quarter of the image's side."""
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.ELU, nn.Hardswish)


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
    with rectified(net):
        return gradient(net, images, classes).clamp(min=0).amax(dim=3)


def grad_cam(
    net: nn.Module, images: Tensor, classes: Tensor, *, layer: nn.Module | None = None
) -> Tensor:
    """Maps of a layer weighted with their mean gradients, rectified, enlarged to the image
    (Selvaraju et al. 2017, arXiv:1610.02391). layer: the last with maps by default."""
    chosen = layer or last_maps(net, images[:1])
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what follows may work in place

    handle = chosen.register_forward_hook(keep)
    try:
        with evaluating(net), torch.enable_grad():
            own = net(images.detach().float().requires_grad_()).gather(1, classes[:, None])
            (slopes,) = torch.autograd.grad(own.sum(), kept[-1])
    finally:
        handle.remove()
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    maps = (weights * kept[-1].detach()).sum(dim=1, keepdim=True).relu().float()
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
    fall, covers = torch.zeros(x.shape[:3]), torch.zeros(height, width)
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


def last_maps(net: nn.Module, images: Tensor) -> nn.Module:
    """The last module whose output has more than one place, (N, C, H, W). Raises ValueError if
    there is none."""
    found: list[nn.Module] = []

    def see(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
            found.append(module)

    leaves = [m for m in net.modules() if not list(m.children())]
    handles = [m.register_forward_hook(see) for m in leaves]
    try:
        with evaluating(net), torch.inference_mode():
            net(images.float())
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ValueError("the network has no layer with maps")
    return found[-1]


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Within it the network is in evaluation mode and its weights collect no gradients."""
    was = [(m, m.training) for m in net.modules()]
    needs = [(p, p.requires_grad) for p in net.parameters()]
    net.eval()
    for p, _ in needs:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for m, training in was:
            m.training = training
        for p, needed in needs:
            p.requires_grad_(needed)


@contextlib.contextmanager
def rectified(net: nn.Module) -> Iterator[None]:
    """Within it every activation lets back only what is positive, where its output is positive."""
    handles = []
    inplace = [m for m in net.modules() if getattr(m, "inplace", False)]

    def rectify(_: nn.Module, __: object, output: Tensor) -> Tensor:
        return _Rectified.apply(output)

    try:
        for m in inplace:
            setattr(m, "inplace", False)  # noqa: B010 – a module's attribute is no bool to mypy
        for m in net.modules():
            if isinstance(m, ACTIVATIONS):
                handles.append(m.register_forward_hook(rectify))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for m in inplace:
            setattr(m, "inplace", True)  # noqa: B010


class _Rectified(torch.autograd.Function):
    """The identity, whose gradient is rectified by itself and by the value."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, value: Tensor) -> Tensor:
        ctx.save_for_backward(value > 0)
        return value.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, slope: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return slope.clamp(min=0) * positive


def _starts(length: int, side: int, stride: int) -> list[int]:
    """Places of covers that reach both ends."""
    return sorted({*range(0, length - side + 1, stride), length - side})
