"""T4: a multi-plane image against a small radiance field."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from striate.core.arrays import Pixels
from striate.labs.lab import Lab, Picture, Trial
from striate.labs.views import Array, Views, ring, views_from
from striate.models.fit import parameter_count

_SIDE, _RAYS = 40, 1024
_NEAR, _FAR = 0.9, 4.6
_SAMPLES = 40
STEPS = {False: 350, True: 3000}
"""Of the field, in the short and the long form."""


class Planes(nn.Module):
    """Planes of colour and opacity at fixed depths before a reference camera (Zhou et al. 2018)."""

    def __init__(self, planes: int, side: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(planes, 4, side, side))
        nn.init.constant_(self.values[:, 3].data, -2.0)
        nearness = torch.linspace(1 / _FAR, 1 / _NEAR, planes).flip(0)
        self.register_buffer("depths", 1 / nearness)

    def forward(self, origins: Tensor, directions: Tensor, _: torch.Generator) -> Tensor:
        """Colours (R, 3) of rays, from the nearest plane to the farthest."""
        z = self.depths[:, None]  # type: ignore[index]
        along = z - 2.0 - origins[None, :, 2]
        at = origins[None] + along[..., None] * directions[None]
        place = at[..., :2] / z[..., None]  # as the reference camera sees it
        seen = grid_sample(self.values, place[:, :, None], align_corners=False,
                           padding_mode="border")[..., 0].transpose(1, 2)  # fmt: skip
        return composed(seen[..., :3].sigmoid(), seen[..., 3].sigmoid())


class Field(nn.Module):
    """Place → colour and density, by a small network on sines of the place (Mildenhall et al.
    2020)."""

    def __init__(self, width: int, octaves: int = 5) -> None:
        super().__init__()
        self.octaves = octaves
        inputs = 3 + 6 * octaves
        self.net = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4),
        )  # fmt: skip

    def forward(self, origins: Tensor, directions: Tensor, draw: torch.Generator) -> Tensor:
        """Colours (R, 3) of rays: volume rendering of samples, one in each slice."""
        jitter = torch.rand(len(origins), _SAMPLES, generator=draw)
        step = (_FAR - _NEAR) / _SAMPLES
        depth = _NEAR + step * (torch.arange(_SAMPLES) + jitter)
        at = origins[:, None] + depth[..., None] * directions[:, None]
        found = self.net(self._encoded(at / 2))
        length = step * directions.norm(dim=-1, keepdim=True)
        opacity = 1 - torch.exp(-nn.functional.softplus(found[..., 3]) * length)
        return composed(found[..., :3].sigmoid().transpose(0, 1), opacity.transpose(0, 1))

    def _encoded(self, place: Tensor) -> Tensor:
        scaled = [math.pi * 2**k * place for k in range(self.octaves)]
        return torch.cat([place, *(f(s) for s in scaled for f in (torch.sin, torch.cos))], -1)


def composed(colours: Tensor, opacity: Tensor) -> Tensor:
    """Layers (L, R, 3) and their opacity (L, R), nearest first → (R, 3). What is left at the end is
    the last layer's."""
    opacity = torch.cat([opacity[:-1], torch.ones_like(opacity[-1:])])
    clear = torch.cumprod(torch.cat([torch.ones_like(opacity[:1]), 1 - opacity[:-1]]), dim=0)
    return ((clear * opacity)[..., None] * colours).sum(dim=0)


def _rays(views: Views) -> list[Tensor]:
    """Origins, directions and colours of all pixels, (R, 3) each."""
    every = (views.origins, views.directions, views.colours)
    return [torch.from_numpy(a.reshape(-1, 3)) for a in every]


def psnr(net: nn.Module, views: Views) -> float:
    """Peak signal-to-noise ratio in dB over all pixels."""
    rays, wrong = _rays(views), 0.0
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for start in range(0, len(rays[0]), 4096):
            part = [a[start : start + 4096] for a in rays]
            wrong += float(((net(part[0], part[1], draw) - part[2]) ** 2).sum())
    return -10 * math.log10(wrong / rays[2].numel())


@torch.no_grad()
def drawn(net: nn.Module, views: Views, which: Sequence[int]) -> Pixels:
    """Some views side by side, as a network sees them: uint8 (H, W, 3)."""
    draw, found = torch.Generator().manual_seed(0), []
    for i in which:
        rays = (torch.from_numpy(a[i]) for a in (views.origins, views.directions))
        found.append(net(*rays, draw).numpy())
    return _side_by_side(found, views.side)


def _side_by_side(colours: Sequence[Array], side: int) -> Pixels:
    images = [
        np.rint(255 * np.clip(c, 0, 1)).astype(np.uint8).reshape(side, side, 3) for c in colours
    ]
    return np.concatenate(images, axis=1)


def learn(
    net: nn.Module, views: Views, seed: int, *, steps: int, lr: float,
    enough: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Fit random rays; every 20 steps `enough` may end it."""
    rays = _rays(views)
    draw = torch.Generator().manual_seed(seed)
    rule = torch.optim.Adam(net.parameters(), lr=lr)
    for step in range(steps):
        if step % 20 == 0 and step and enough():
            return
        rule.param_groups[0]["lr"] = lr * min(1.0, 2 * (1 - step / steps) + 0.02)
        chosen = torch.randint(len(rays[0]), (_RAYS,), generator=draw)
        origins, directions, colours = (a[chosen] for a in rays)
        loss = ((net(origins, directions, draw) - colours) ** 2).mean()
        rule.zero_grad()
        loss.backward()
        rule.step()


def measure(seed: int, full: bool) -> Trial:
    torch.manual_seed(seed)
    inputs = views_from(np.concatenate([ring(6, 0.8), ring(2, 0.35, 0.25)]), _SIDE)
    held = views_from(np.concatenate([ring(6, 0.8, 0.5), ring(4, 0.4, 0.5, -1.7)]), _SIDE)
    field = Field(80 if full else 64)
    learn(field, inputs, seed, steps=STEPS[full], lr=4e-3)
    reached = psnr(field, inputs)
    planes = Planes(32, 48)
    learn(planes, inputs, seed, steps=4000 if full else 1500, lr=0.03,
          enough=lambda: psnr(planes, inputs) >= reached - 0.3)  # fmt: skip
    sizes = {name: parameter_count(net)
             for name, net in (("planes", planes), ("field", field))}  # fmt: skip
    figures = {
        "planes: parameters": sizes["planes"], "field: parameters": sizes["field"],
        "numbers in the views": int(inputs.colours.size),
        "planes: dB on the views that were fitted": psnr(planes, inputs),
        "field: dB on the views that were fitted": reached,
        "planes: dB on new views": psnr(planes, held), "field: dB on new views": psnr(field, held),
    }  # fmt: skip
    figures["field − planes on new views, dB"] = (
        figures["field: dB on new views"] - figures["planes: dB on new views"]
    )
    shown = [0, 2, 4, 7]
    rows = [_side_by_side([held.colours[i] for i in shown], _SIDE),
            drawn(planes, held, shown), drawn(field, held, shown)]  # fmt: skip
    caption = "Four new views, a column each. Rows: the truth, the planes, the field."
    return Trial(figures, pictures=[Picture(caption, np.concatenate(rows))])


LAB = Lab(
    "T4", "radiance",
    "A multi-plane image of far more numbers than the views it was fitted to reproduces these and "
    "fails on new ones; a radiance field of few parameters does not.",
    "Eight rendered views of spheres before a wall are fitted by 32 planes of colour and opacity "
    "and by a small network (positional encoding, volume rendering), until both reproduce them "
    "equally well; then ten new views are drawn.",
    measure,
    {
        "confirmed": lambda f: f["field − planes on new views, dB"] >= 5
        and f["planes: parameters"] >= 15 * f["field: parameters"]
        and abs(f["planes: dB on the views that were fitted"]
                - f["field: dB on the views that were fitted"]) <= 1
    },
    "field − planes on new views, dB",
    "Both know the fitted views equally well. The planes have a number for every place and nothing "
    "that ties them together; the network is one smooth function of place, and so a guess about "
    "what was not seen.",
    "confirmed", seeds=1, full_seeds=3,
)  # fmt: skip
