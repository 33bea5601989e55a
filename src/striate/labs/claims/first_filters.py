"""M5: filters of the first layer, by the data and by the depth of the network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from striate.core.arrays import Pixels
from striate.labs.lab import Lab, Picture, Trial
from striate.labs.scenes import draw, every_triple
from striate.report.pictures import block, signed, tile

_IMAGES, _FILTERS, _SIDE = 2000, 16, 5
_KINDS = {"colour": 2, "colour, deeper": 4, "grey": 2, "noise": 2}
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


def _coloured(filters: Tensor) -> float:
    """The share of a filter's energy that a grey image does not meet."""
    colour = filters - filters.mean(dim=1, keepdim=True)
    return float((colour**2).sum() / (filters**2).sum())


def _smooth(filters: Tensor) -> float:
    """The share of energy in the waves of five pixels and longer."""
    power = torch.fft.fft2(filters).abs() ** 2
    slow = torch.fft.fftfreq(_SIDE).abs() <= 1 / _SIDE
    return float(power[..., slow[:, None] & slow].sum() / power.sum())


def _alike(filters: Tensor, others: Tensor) -> float:
    """How like each filter is to the likest of the others: |cosine|, on average."""
    one, other = (normalize(f.flatten(1)) for f in (filters, others))
    return float((one @ other.T).abs().amax(dim=1).mean())


def _shown(filters: Tensor) -> Pixels:
    tiles = [tile(signed(f), 40) for f in filters.permute(0, 2, 3, 1).numpy()]
    return np.asarray(block(tiles, _FILTERS))


def measure(seed: int, full: bool) -> Trial:
    x, y = _scenes(seed)
    images = {
        "colour": x, "colour, deeper": x, "grey": x.mean(dim=1, keepdim=True).expand_as(x),
        "noise": 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)),
    }  # fmt: skip
    steps = 1500 if full else 200
    found = {
        name: _filters(images[name], y, convolutions, 10 * seed + number, steps)
        for number, (name, convolutions) in enumerate(_KINDS.items())
    }
    torch.manual_seed(seed)
    found["untrained"] = next(_net(2).parameters()).detach()
    figures = {f"{name}: energy in smooth waves": _smooth(f) for name, f in found.items()}
    figures |= {f"{name}: energy in colour": _coloured(f) for name, f in found.items()}
    others = [name for name in found if name != "colour"]
    figures |= {f"colour and {n}: likeness": _alike(found[n], found["colour"]) for n in others}
    pictures = [Picture(f"Filters of the first layer: {name}.", _shown(f))
                for name, f in found.items()]  # fmt: skip
    return Trial(figures, pictures=pictures)


LAB = Lab(
    "M5", "first-filters",
    "Filters of the first layer show edges and colours, in networks of very different depth.",
    "Networks of two and of four convolutions learn which colours and shapes a scene shows; others "
    "the same from grey scenes, and from noise, which shows nothing.",
    measure,
    {
        "confirmed": lambda f: min(
            f[f"{n}: energy in smooth waves"] for n in ("colour", "colour, deeper", "grey")
        )
        > 1.5 * max(f[f"{n}: energy in smooth waves"] for n in ("noise", "untrained"))
        and f["grey: energy in colour"] < 0.2 < f["colour: energy in colour"]
        and f["colour and colour, deeper: likeness"]
        > max(f[f"colour and {n}: likeness"] for n in ("grey", "noise", "untrained"))
    },
    "colour and colour, deeper: likeness",
    "First filters are made by the images, not by the network: smooth and coloured from coloured "
    "scenes at any depth, grey from grey ones, and from noise as rough as at the start. Rough "
    "filters in a trained network are a bad sign; `striate explain` shows yours.",
    "confirmed", seeds=3,
)  # fmt: skip
