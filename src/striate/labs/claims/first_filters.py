"""M5: filters of the first layer, by the data and by the depth of the network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from striate.core.arrays import Pixels
from striate.labs.bench import Share
from striate.labs.lab import Figures, Lab, Picture, Trial
from striate.labs.scenes import draw, every_triple
from striate.report.pictures import block, signed, tile

_IMAGES, _FILTERS, _SIDE = 2000, 16, 5
_KINDS = {"colour": 2, "colour again": 2, "colour, deeper": 6, "grey": 2, "noise": 2}
"""Images to learn from → convolutions of the network."""


def _scenes(seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, H, W), and which of four colours and four shapes each shows (N, 8)."""
    rng = np.random.default_rng(seed)
    first = every_triple()[rng.integers(0, len(every_triple()), _IMAGES)]
    facts = np.concatenate([first, rng.integers(0, 4, (_IMAGES, 2))], axis=1)
    shown = np.zeros((_IMAGES, 8), dtype=np.float32)
    rows = np.arange(_IMAGES)
    for colour, shape in ((0, 1), (3, 4)):
        shown[rows, facts[:, colour]] = 1
        shown[rows, 4 + facts[:, shape]] = 1
    return torch.from_numpy(draw(facts, rng).images) - 0.45, torch.from_numpy(shown)


def _net(convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, _FILTERS, _SIDE, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    inputs = _FILTERS
    for number in range(convolutions - 1):
        layers += [nn.Conv2d(inputs, 32, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number == 0 else []
        inputs = 32
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(inputs, 8))


def _filters(x: Tensor, y: Tensor, convolutions: int, seed: int, steps: int) -> Tensor:
    torch.manual_seed(seed)
    net = _net(convolutions).to(memory_format=torch.channels_last)
    rule = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.3)
    x = x.contiguous(memory_format=torch.channels_last)
    for _ in range(steps):
        chosen = torch.randint(len(x), (64,))
        loss = binary_cross_entropy_with_logits(net(x[chosen]), y[chosen])
        rule.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        rule.step()
    return next(net.parameters()).detach().contiguous()


def _directed(filters: Tensor) -> Share:
    """How much filters rise and fall along one line, as an edge does, and not along the other:
    (λ₁ − λ₂) / (λ₁ + λ₂) of the structure tensor over all colours, on average."""
    down, right = torch.gradient(filters, dim=(2, 3))
    a, b, c = ((p * q).sum(dim=(1, 2, 3)) for p, q in
               ((down, down), (right, right), (down, right)))  # fmt: skip
    return Share((((a - b) ** 2 + 4 * c**2).sqrt() / (a + b)).mean())


def _coloured(filters: Tensor) -> Share:
    """The share of a filter's energy that a grey image does not meet."""
    colour = filters - filters.mean(dim=1, keepdim=True)
    return Share((colour**2).sum() / (filters**2).sum())


def _smooth(filters: Tensor) -> Share:
    """The share of energy in the waves of five pixels and longer."""
    power = torch.fft.fft2(filters).abs() ** 2
    return Share(power[..., _slow()].sum() / power.sum())


def _slow() -> Tensor:
    """Which waves these are, (5, 5)."""
    slow = torch.fft.fftfreq(_SIDE).abs() <= 1 / _SIDE
    return slow[:, None] & slow


def _smoothed(smooth: float, coloured: float) -> Tensor:
    """Random filters with these shares of energy in smooth waves and in colour."""
    filters = torch.randn(20 * _FILTERS, 3, _SIDE, _SIDE)
    slow, waves = _slow(), torch.fft.fft2(filters)
    weight = torch.where(slow, (smooth / slow.sum()).sqrt(), ((1 - smooth) / (~slow).sum()).sqrt())
    filters = torch.fft.ifft2(waves * weight).real
    grey = filters.mean(dim=1, keepdim=True)
    # a third of the energy of random colours is grey
    return (grey * (3 * (1 - coloured)) ** 0.5) + (filters - grey) * (1.5 * coloured) ** 0.5


def _alike(filters: Tensor, others: Tensor) -> Share:
    """How like each filter is to the likest of the others: |cosine|, on average."""
    one, other = (normalize(f.flatten(1)) for f in (filters, others))
    return Share((one @ other.T).abs().amax(dim=1).mean())


def _shown(filters: Tensor) -> Pixels:
    tiles = [tile(signed(f), 40) for f in filters.permute(0, 2, 3, 1).numpy()]
    return np.asarray(block(tiles, _FILTERS))


def measure(seed: int, full: bool) -> Trial:
    x, y = _scenes(seed)
    images = {
        "colour": x, "colour again": x, "colour, deeper": x,
        "grey": x.mean(dim=1, keepdim=True).expand_as(x),
        "noise": 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)),
    }  # fmt: skip
    steps = 750 if full else 100  # a deeper network needs more of them
    found = {
        name: _filters(
            images[name],
            y,
            convolutions,
            10 * seed + number,
            (5 if convolutions > 2 else 2) * steps,
        )
        for number, (name, convolutions) in enumerate(_KINDS.items())
    }
    torch.manual_seed(10 * seed + len(_KINDS))
    found["untrained"] = next(_net(2).parameters()).detach()
    found["smooth by chance"] = _smoothed(_smooth(found["colour"]), _coloured(found["colour"]))
    figures = {f"{name}: energy in smooth waves": _smooth(f) for name, f in found.items()}
    figures |= {f"{name}: in one direction": _directed(f) for name, f in found.items()}
    figures |= {f"{name}: energy in colour": _coloured(f) for name, f in found.items()}
    others = [name for name in found if name not in ("colour", "smooth by chance")]
    figures |= {f"colour and {n}: likeness": _alike(found[n], found["colour"]) for n in others}
    pictures = [Picture(f"Filters of the first layer: {name}.", _shown(f[:_FILTERS]))
                for name, f in found.items()]  # fmt: skip
    return Trial(figures, pictures=pictures)


def _made_by_the_images(figures: Figures) -> bool:
    def most(figure: str, *names: str) -> float:
        return max(figures[f"{name}: {figure}"] for name in names)

    def least(figure: str, *names: str) -> float:
        return min(figures[f"{name}: {figure}"] for name in names)

    def alike(name: str) -> float:
        return figures[f"colour and {name}: likeness"]

    rough, learned = ("noise", "untrained"), ("colour", "colour, deeper", "grey")
    return (
        least("energy in smooth waves", *learned) > 1.5 * most("energy in smooth waves", *rough)
        and least("in one direction", *learned) > most("in one direction", *rough)
        and figures["grey: energy in colour"] < 0.2 < figures["colour: energy in colour"]
        and alike("colour again") > alike("colour, deeper") > max(map(alike, rough))
        and figures["colour: in one direction"]
        < 1.5 * figures["smooth by chance: in one direction"]
    )


LAB = Lab(
    "M5", "first-filters",
    "Filters of the first layer show edges and colours, in networks of very different depth.",
    "Networks of two and of six convolutions learn which colours and shapes a scene shows, the "
    "former twice from other first weights; others the same from grey scenes, and from noise, "
    "which shows nothing. The deeper one takes two and a half times the steps. 'In one direction' "
    "is 1 for an edge and 0 for a spot; filters drawn by chance and made as smooth stand beside "
    "it.",
    measure,
    {"conditional": _made_by_the_images},
    "colour and colour, deeper: likeness",
    "First filters are made by the images more than by the network: smooth and coloured from "
    "coloured scenes at either depth, grey from grey ones, and from noise as rough as at the "
    "start. Edges these small networks do not show: their filters rise in one direction hardly "
    "more than smooth filters drawn by chance do. Rough filters in a trained network are a bad "
    "sign; `striate explain` shows yours.",
    "conditional", seeds=3,
)  # fmt: skip
