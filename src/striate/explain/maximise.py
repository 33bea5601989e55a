"""Images that a unit likes best: activation maximisation, regularised to show shapes (M5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.core.uncompiled import uncompiled
from striate.models.hooks import evaluating, maps_of

_VIEWS = 4
_SHIFT, _TURN, _ZOOM = 0.1, 0.17, 0.15
"""Each step sees four views: moved by a tenth of the side, turned by 10°, enlarged by 15 %."""
_DECAY, _RATE, _SMOOTH = 2.0, 0.05, 2.0
"""Amplitudes of waves start as 1 / frequency²; the learning rate; the weight of total variation
over the width against answers in deviations over the data."""


def maximised(
    net: nn.Module,
    units: Tensor,
    like: Tensor,
    *,
    layer: nn.Module | None = None,
    steps: int = 160,
    seed: int = 0,
) -> Tensor:
    """For each unit (K,) an image (K, H, W, C) of 0 to 255 that it answers strongly to.

    like: some images of the data (N, H, W, C), of which size and colours are taken. layer: its
    maps' channels are the units, at the middle of the map; None: the classes' logits, less the mean
    of all classes'. The images are sums of waves, the low frequencies first, in the data's colours,
    with little variation between neighbours, and answered to also when they are moved and turned:
    so they become shapes, not noise (Erhan et al. 2009; Olah et al. 2017). They show what a unit
    can answer to, not what it answers to in the data.
    """
    height, width, channels = like.shape[1:]
    generator = torch.Generator().manual_seed(seed)
    spectrum = 0.01 * torch.randn(
        len(units), channels, height, width // 2 + 1, 2, generator=generator
    )
    spectrum = spectrum.to(like.device).requires_grad_()
    waves, colours = _amplitudes(height, width).to(like.device), _colours(like)
    optimiser = uncompiled(torch.optim.Adam)([spectrum], lr=_RATE)
    with torch.no_grad(), evaluating(net):
        spread = _answers(net, like, layer)[:, units].std(dim=0, correction=0)
        spread = torch.where(spread > 0, spread, 1.0)
    with evaluating(net), torch.enable_grad():
        for _ in range(steps):
            images = _drawn(spectrum, waves, colours, (height, width))
            views = torch.cat([_moved(images, generator) for _ in range(_VIEWS)])
            answers = _answers(net, views, layer)[:, units] / spread
            own = answers[torch.arange(len(views)), torch.arange(len(units)).repeat(_VIEWS)]
            loss = _SMOOTH * _variation(images) - own.sum() / _VIEWS
            (spectrum.grad,) = torch.autograd.grad(loss, spectrum)
            optimiser.step()
    return _drawn(spectrum.detach(), waves, colours, (height, width))


def _answers(net: nn.Module, x: Tensor, layer: nn.Module | None) -> Tensor:
    """What all units answer to the images: (N, units)."""
    if layer is None:
        logits: Tensor = net(x.float())
        return logits - logits.mean(dim=1, keepdim=True)
    maps = maps_of(net, x, layer)
    return maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]


def _amplitudes(height: int, width: int) -> Tensor:
    """The amplitude of each wave (H, W // 2 + 1)."""
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    frequency = (down**2 + across**2).sqrt().clamp(min=1 / max(height, width))
    falling = frequency**-_DECAY
    return falling / falling.max() * height * width / 8


def _colours(like: Tensor) -> tuple[Tensor, Tensor]:
    """The data's mean colour (C,), and the root of its covariance (C, C)."""
    flat = like.float().flatten(0, 2)
    centred = flat - flat.mean(dim=0)
    values, axes = torch.linalg.eigh(centred.T @ centred / len(flat))
    return flat.mean(dim=0), axes @ values.clamp(min=0).sqrt().diag() @ axes.T


def _drawn(
    spectrum: Tensor, waves: Tensor, colours: tuple[Tensor, Tensor], sides: tuple[int, int]
) -> Tensor:
    """Waves → images (N, H, W, C) between 0 and 255."""
    mean, root = colours
    complex_waves = torch.view_as_complex(spectrum.contiguous()) * waves
    plain = torch.fft.irfft2(complex_waves, s=sides)
    coloured = plain.permute(0, 2, 3, 1) @ root + mean
    return 127.5 + 127.5 * torch.tanh((coloured - 127.5) / 127.5)


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """All images after the same small random movement, mirrored at the border."""
    shares = (torch.rand(4, generator=generator) * 2 - 1).tolist()
    angle, zoom = _TURN * shares[0], 1 + _ZOOM * shares[1]
    across, down = (2 * _SHIFT * share for share in shares[2:])
    turn = torch.tensor([
        [zoom * math.cos(angle), -zoom * math.sin(angle), across],
        [zoom * math.sin(angle), zoom * math.cos(angle), down],
    ], device=images.device)  # fmt: skip
    x = images.permute(0, 3, 1, 2)
    grid = F.affine_grid(turn.expand(len(x), -1, -1), list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    return moved.permute(0, 2, 3, 1)


def _variation(images: Tensor) -> Tensor:
    """How much the images change over a 32nd of their side, in halves of the range, summed."""
    down = (images[:, 1:] - images[:, :-1]).abs().mean()
    across = (images[:, :, 1:] - images[:, :, :-1]).abs().mean()
    return (down * images.shape[1] + across * images.shape[2]) / 32 * len(images) / 127.5
