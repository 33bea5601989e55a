"""Networks that start from weights learnt on other images, for healthy fine-tuning."""

from __future__ import annotations

from functools import cache

import torch
from corpus import BASE, NETS, splits
from torch import nn

import striate
from striate.models.zoo import build

OTHER = {"mnist": "fashion-mnist", "fashion-mnist": "mnist"}


@cache
def _learnt(net: str, data: str) -> dict[str, torch.Tensor]:
    """Weights of a network that was trained on `data`, without its last layer."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        knobs = {**BASE, "model.name": NETS[net], "epochs": 6, "data.channels": 3}
        run = striate.train(splits(data), run=f"{place}/run", **knobs)
        weights = run.network.state_dict()
    own = {k.removeprefix("backbone."): v for k, v in weights.items() if k.startswith("backbone.")}
    head = max(int(k.partition(".")[0]) for k in own)
    return {k: v for k, v in own.items() if not k.startswith(f"{head}.")}


def _tuned(net: str, data: str, num_classes: int, channels: int, image_size: int) -> nn.Module:
    fresh = build(NETS[net], num_classes=num_classes, channels=channels, image_size=image_size)
    fresh.load_state_dict(_learnt(net, OTHER[data]), strict=False)
    return fresh


def plain_of_mnist(num_classes: int, channels: int, image_size: int) -> nn.Module:
    return _tuned("plain", "mnist", num_classes, channels, image_size)


def plain_of_fashion_mnist(num_classes: int, channels: int, image_size: int) -> nn.Module:
    return _tuned("plain", "fashion-mnist", num_classes, channels, image_size)


def norm_of_mnist(num_classes: int, channels: int, image_size: int) -> nn.Module:
    return _tuned("norm", "mnist", num_classes, channels, image_size)


def norm_of_fashion_mnist(num_classes: int, channels: int, image_size: int) -> nn.Module:
    return _tuned("norm", "fashion-mnist", num_classes, channels, image_size)
