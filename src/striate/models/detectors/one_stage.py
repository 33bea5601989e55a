"""One stage: every cell of a pyramid of maps says where an object's sides are and what it is (E3).

The body is any network whose stages follow one another. Its maps at strides 8, 16 and 32, and one
more at 64, are brought to one width; each gets what the coarser one has seen (a feature pyramid; Lin
et al. 2017); two towers read them: one says classes, one the distances to the four sides.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.core.errors import ModelError
from striate.models.detectors.coding import cells
from striate.models.stages import Stage, stages_of

STRIDES = (8, 16, 32, 64)
"""Pixels of the image for each step on a level's maps."""
WIDTH, DEPTH = 64, 2
"""Channels of the pyramid, layers of a tower."""
RARE = -4.6
"""The logit of a hundredth: at first nearly all places are background, so the classifier starts
there (Lin et al. 2017)."""
SIDES = 4
_TRIED = 128


class OneStage(nn.Module):
    """Images (N, C, S, S) → float (N, P, 4 + classes): of each point of `coding.points(S, STRIDES)`
    the distances to the left, upper, right and lower side, in strides, and the classes' logits."""

    def __init__(self, body: nn.Module, classes: int) -> None:
        super().__init__()
        channels = next(m.in_channels for m in body.modules() if isinstance(m, nn.Conv2d))
        *parts, head = stages_of(body, channels, _TRIED)
        _refuse_others(body, parts, channels)
        for name in head.modules:
            parent, _, last = name.rpartition(".")
            setattr(body.get_submodule(parent), last, nn.Identity())
        self.body, self.classes, self.own = body, classes, tuple(parts)
        wide = {stage.stride: stage.channels for stage in parts}
        self.neck = Pyramid([wide[stride] for stride in STRIDES[:-1]])
        self.said = Heads(classes)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.said(self.neck(self.features(images)))
        return found

    def features(self, x: Tensor) -> list[Tensor]:
        """The maps of the body at the strides of the pyramid."""
        found = []
        for stage in self.own:
            for name in stage.modules:
                x = self.body.get_submodule(name)(x)
            if stage.stride in STRIDES[:-1]:
                found.append(x)
        return found

    def stages(self) -> list[Stage]:
        """Those of the body, and the rest as the head (`striate.models.stages`)."""
        body = [
            Stage(s.name, tuple(f"body.{name}" for name in s.modules), s.stride, s.channels)
            for s in self.own
        ]
        return [*body, Stage("head", ("neck", "said"), 0, 0)]


class Pyramid(nn.Module):
    """Maps of rising stride → maps of one width, and one more of twice the last stride."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_plain(wide, WIDTH) for wide in channels)
        self.smooth = nn.ModuleList(_separable(WIDTH) for _ in channels)
        self.further = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, 2, 1, groups=WIDTH, bias=False), _plain(WIDTH, WIDTH)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        found = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for fine, coarse in pairwise(reversed(range(len(found)))):
            larger = F.interpolate(found[fine], size=found[coarse].shape[2:])
            found[coarse] = found[coarse] + larger
        found = [smooth(x) for smooth, x in zip(self.smooth, found, strict=True)]
        return [*found, self.further(found[-1])]


class Heads(nn.Module):
    """The maps of all levels → what `OneStage` gives."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes, self.sides = Tower(classes), Tower(SIDES)
        self.scales = nn.Parameter(torch.ones(len(STRIDES)))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        rows = []
        for level, x in enumerate(maps):
            logits = self.classes(x).float() + RARE
            sides = F.softplus(self.sides(x).float() * self.scales[level])
            rows.append(torch.cat([sides, logits], dim=1).flatten(2))
        return torch.cat(rows, dim=2).transpose(1, 2)


class Tower(nn.Module):
    """The same layers on the maps of every level."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(_separable(WIDTH) for _ in range(DEPTH)))
        self.last = nn.Conv2d(WIDTH, outputs, 1)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.layers(x))
        return found


def points_in(outputs: int) -> int:
    """The side of the images of which a network gave this number of points. Raises ValueError."""
    for size in range(STRIDES[0], 4096, STRIDES[0]):
        if sum(count * count for count in cells(size, STRIDES)) == outputs:
            return size
    raise ValueError(f"{outputs} points belong to no square image")


def _plain(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _separable(wide: int) -> nn.Module:
    """A 3×3 convolution in two parts: each channel by itself, then across channels."""
    return nn.Sequential(
        nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False), nn.BatchNorm2d(wide),
        *_plain(wide, wide),  # type: ignore[misc]
    )  # fmt: skip


def _refuse_others(body: nn.Module, parts: Sequence[Stage], channels: int) -> None:
    """Raises ModelError for a network whose stages do not follow one another, or have no maps at
    the strides of the pyramid."""
    found = [stage.stride for stage in parts]
    wanted = [stride for stride in STRIDES[:-1] if stride not in found]
    if wanted:
        raise ModelError(
            f"the network's maps have strides {', '.join(map(str, found)) or 'none'}; a detector "
            f"needs {', '.join(map(str, STRIDES[:-1]))}",
            "Leave --model out, or name a network such as resnet18.",
        )
    x = torch.zeros(1, channels, _TRIED, _TRIED, device="meta")
    try:
        shadow = copy.deepcopy(body).to("meta").eval()
        for stage in parts:
            for name in stage.modules:
                x = shadow.get_submodule(name)(x)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"the network's parts do not follow one another: {str(error).splitlines()[0]}",
            "Leave --model out, or name a network such as resnet18.",
        ) from None
