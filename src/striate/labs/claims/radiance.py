"""T4: a multi-plane image against a small radiance field."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from striate.core.arrays import Pixels
from striate.labs.lab import Figures, Lab, Picture, Trial
from striate.labs.views import SPAN, Array, Views, ring, views_from
from striate.models.fit import parameter_count

_SIDE, _RAYS = 32, 512
_NEAR, _FAR = 0.9, 4.6
_SAMPLES, _APART = 32, 0.85
STEPS = {False: 450, True: 2000}
"""Of the field, in the short and the long form."""


class Planes(nn.Module):
    """Planes of colour and opacity at fixed depths before a reference camera (Zhou et al. 2018),
    each as wide as any camera within _APART of the reference sees."""

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
        place = at[..., :2] / (SPAN * z + _APART)[..., None]
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
    net: nn.Module, views: Views, seed: int, *, steps: int, lr: float, enough: float = math.inf
) -> None:  # fmt: skip
    """Fit random rays until the views are fitted to `enough` dB, which is tested every 20 steps."""
    rays = _rays(views)
    draw = torch.Generator().manual_seed(seed)
    rule = torch.optim.Adam(net.parameters(), lr=lr)
    for step in range(steps):
        if enough < math.inf and step % 20 == 0 and psnr(net, views) >= enough:
            return
        rule.param_groups[0]["lr"] = lr * min(1.0, 2 * (1 - step / steps) + 0.02)
        chosen = torch.randint(len(rays[0]), (_RAYS,), generator=draw)
        origins, directions, colours = (a[chosen] for a in rays)
        loss = ((net(origins, directions, draw) - colours) ** 2).mean()
        rule.zero_grad()
        loss.backward()
        rule.step()


_KINDS: dict[str, Callable[[], nn.Module]] = {
    "field": lambda: Field(56), "large field": lambda: Field(104),
    "planes": lambda: Planes(32, 48), "fewer planes": lambda: Planes(12, 23),
}  # fmt: skip


def measure(seed: int, full: bool) -> Trial:
    inputs = views_from(np.concatenate([ring(6, 0.8), ring(2, 0.35, 0.25)]), _SIDE)
    held = views_from(np.concatenate([ring(6, 0.8, 0.5), ring(4, 0.4, 0.5, -1.7)]), _SIDE)
    figures: dict[str, float] = {"numbers in the views": int(inputs.colours.size)}
    shown, reached = [0, 2, 4, 7], 0.0
    rows = [_side_by_side([held.colours[i] for i in shown], _SIDE)]
    for name, make in _KINDS.items():
        torch.manual_seed(seed)
        net = make()
        if isinstance(net, Field):
            learn(net, inputs, seed, steps=STEPS[full], lr=4e-3)
        else:
            steps = 2000 if full else 600
            learn(net, inputs, seed, steps=steps, lr=0.03, enough=reached - 0.3)
        figures[f"{name}: parameters"] = parameter_count(net)
        figures[f"{name}: dB on the views that were fitted"] = psnr(net, inputs)
        figures[f"{name}: dB on new views"] = psnr(net, held)
        reached = figures["field: dB on the views that were fitted"]
        rows.append(drawn(net, held, shown))
    figures["field − planes on new views, dB"] = (
        figures["field: dB on new views"] - figures["planes: dB on new views"]
    )
    caption = f"Four new views, a column each. Rows: the truth, {', '.join(_KINDS)}."
    return Trial(figures, pictures=[Picture(caption, np.concatenate(rows))])


def _by_form_not_by_number(figures: Figures) -> bool:
    size = {name: figures[f"{name}: parameters"] for name in _KINDS}
    old = {name: figures[f"{name}: dB on the views that were fitted"] for name in _KINDS}
    new = {name: figures[f"{name}: dB on new views"] for name in _KINDS}
    return (
        new["field"] - new["planes"] >= 5
        and abs(old["planes"] - old["field"]) <= 1
        and size["planes"] >= 15 * size["field"]
        and size["large field"] > figures["numbers in the views"]
        and new["large field"] > new["planes"] + 3
        and 0.9 < size["fewer planes"] / size["large field"] < 1.1
        and new["fewer planes"] < new["large field"] - 3
    )


LAB = Lab(
    "T4", "radiance",
    "A multi-plane image of far more numbers than the views it was fitted to reproduces these and "
    "fails on new ones; a radiance field of few parameters does not.",
    "Eight rendered views of spheres before a wall are fitted by 32 planes of colour and opacity "
    "and by a small network (positional encoding, volume rendering), until both reproduce them "
    "equally well; then ten new views are drawn. Then a network with a few more parameters than "
    "the views have numbers, and planes with as many as that network, try the same.",
    measure,
    {"conditional": _by_form_not_by_number},
    "field − planes on new views, dB",
    "Both know the fitted views equally well, and the planes fail on new ones. But it is not only "
    "the number of parameters: with as many as the field, planes are far behind it on new views, "
    "and on the fitted ones, too. Planes have a number for every place and nothing that ties them "
    "together; the network is one smooth function of place, and so a guess about what was not "
    "seen.",
    "conditional", seeds=1, full_seeds=3,
)  # fmt: skip
