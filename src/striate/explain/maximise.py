"""Images that a unit likes best: activation maximisation, regularised to show shapes (M5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from striate.explain.layers import evaluating, maps_of

_SHIFT = 8
"""Images are moved by up to an eighth of their side in each step: what it shows must not depend on
the pixel."""


def maximised(
    net: nn.Module,
    units: Tensor,
    shape: tuple[int, int, int],
    *,
    layer: nn.Module | None = None,
    steps: int = 128,
    seed: int = 0,
) -> Tensor:
    """For each unit (K,) an image (K, H, W, C) of 0 to 255 that it answers strongly to.

    layer: its maps' channels are the units, at the middle of the map; None: the classes' logits,
    less the mean of all classes'. Images are sums of waves whose low frequencies are learnt
    fastest, and are shifted at random in every step, so that they become shapes, not noise (Erhan
    et al. 2009; Olah et al. 2017). They show what a unit can answer to, not what it answers to in
    the data.
    """
    height, width, channels = shape
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.randn(
        len(units), channels, height, width // 2 + 1, 2, generator=generator
    ) * 0.01  # fmt: skip
    spectrum.requires_grad_()
    scale = _scales(height, width)
    optimiser = torch.optim.Adam([spectrum], lr=0.05)
    with evaluating(net), torch.enable_grad():
        for _ in range(steps):
            reach = max(1, min(height, width) // _SHIFT)
            moves = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
            x = _drawn(spectrum, scale, (height, width)).roll(moves, dims=(1, 2))
            loss = -_answers(net, x, units, layer).sum()
            optimiser.zero_grad()
            (spectrum.grad,) = torch.autograd.grad(loss, spectrum)
            optimiser.step()
    return _drawn(spectrum.detach(), scale, (height, width))


def _answers(net: nn.Module, x: Tensor, units: Tensor, layer: nn.Module | None) -> Tensor:
    rows = torch.arange(len(units))
    if layer is None:
        logits = net(x)
        return logits[rows, units] - logits.mean(dim=1)
    maps = maps_of(net, x, layer)
    middle = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
    return middle[rows, units]


def _scales(height: int, width: int) -> Tensor:
    """1 / frequency, (H, W // 2 + 1)."""
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    frequency = (down**2 + across**2).sqrt()
    return math.sqrt(height * width) / frequency.clamp(min=1 / max(height, width))


def _drawn(spectrum: Tensor, scale: Tensor, sides: tuple[int, int]) -> Tensor:
    """Waves → images (N, H, W, C) between 0 and 255."""
    waves = torch.view_as_complex(spectrum.contiguous()) * scale
    images = torch.fft.irfft2(waves, s=sides)
    return (images.sigmoid() * 255).permute(0, 2, 3, 1)
