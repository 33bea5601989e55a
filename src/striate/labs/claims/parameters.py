"""M1: how large the famous networks are, and residual blocks."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from striate.labs.lab import Lab, Trial
from striate.models.fit import parameter_count
from striate.models.zoo import build


def measure(seed: int, _: bool) -> Trial:
    torch.manual_seed(seed)
    sides = {"alexnet_grouped": 227, "vgg16": 224, "vgg19": 224}
    with torch.device("meta"):
        counts = {
            name: parameter_count(build(name, num_classes=1000, channels=3, image_size=side))
            for name, side in sides.items()
        }
    block = BasicBlock(8, 8).eval()
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
    x = torch.rand(2, 8, 6, 6)
    with torch.no_grad():
        unchanged = float((block(x) - x).abs().max())
        negative = float((block(-x) + x).abs().max())
    rows = [["network", "parameters"], *([name, f"{n:,}"] for name, n in counts.items())]
    return Trial(
        {
            "AlexNet, two groups: parameters": counts["alexnet_grouped"],
            "VGG-16: parameters": counts["vgg16"], "VGG-19: parameters": counts["vgg19"],
            "a residual block of zero weights changes a non-negative input by": unchanged,
            "… and a negative one by": negative,
        },
        rows=rows,
    )  # fmt: skip


LAB = Lab(
    "M1", "parameters",
    "Deck B: AlexNet has 6 million parameters. A residual block with zero weights passes its input "
    "through.",
    "The networks are built and counted; a block with zero weights looks at random maps.",
    measure,
    {
        "wrong": lambda f: f["AlexNet, two groups: parameters"] == 60_965_224
        and f["VGG-16: parameters"] == 138_357_544
        and f["VGG-19: parameters"] == 143_667_240
        and f["a residual block of zero weights changes a non-negative input by"] == 0
        and f["… and a negative one by"] > 0
    },
    "AlexNet, two groups: parameters",
    "60,965,224, of which 58.6 million are in three fully connected layers. The residual block is "
    "as the decks say, for inputs that are not negative, because ReLU follows the sum.",
    "wrong",
    deck="6 million", truth="60,965,224", seeds=1,
)  # fmt: skip
