"""One stage: every cell of a pyramid of maps says where an object's sides are and what it is (E3).

There are no anchors: a cell gives the distances from its centre to the four sides (FCOS; Tian et
al. 2019). Which cells answer for an object follows from what they say of it (`task_aligned`), and
the score that they learn is the overlap that their box has (varifocal loss).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.models.detectors.assign import task_aligned
from striate.models.detectors.coding import from_distances, points_on
from striate.models.detectors.detector import SIDES, Detector, Objects, padded, within
from striate.models.detectors.losses import giou_loss, varifocal
from striate.models.detectors.pyramid import Pyramid, Tower, in_rows

STRIDES = (8, 16, 32, 64)
"""Pixels of the image for each step on a level's maps."""
RARE = -4.6
"""The logit of a hundredth: at first nearly all places are background, so the classifier starts
there (Lin et al. 2017)."""
WIDE = 1.5
"""softplus(1.5) = 1.7: at first a cell's box is 3.4 strides wide."""
OF_BOXES = 2.0
"""The weight of the boxes' loss beside that of the classes."""


class Rows(NamedTuple):
    """Of each point (P, 2), with its stride (P,): distances to the left, upper, right and lower
    side, in strides, and the classes' logits: (N, P, 4 + classes)."""

    rows: Tensor
    points: Tensor
    strides: Tensor


class OneStage(Detector):
    """The default detector."""

    class_layer = "kinds.last"
    parts = ("neck", "kinds", "sides", "scales")

    def __init__(self, body: nn.Module, classes: int) -> None:
        super().__init__(body, classes)
        wide = [self.channels[s] for s in STRIDES if s in self.channels]
        self.neck = Pyramid(wide, further=len(STRIDES) - len(wide))
        self.kinds, self.sides = Tower(classes, len(STRIDES)), Tower(SIDES, len(STRIDES))
        nn.init.constant_(self.sides.last.bias, WIDE)  # type: ignore[arg-type]
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in STRIDES)

    def forward(self, images: Tensor) -> Rows:
        levels, rows = self.neck(self.maps(images)), []
        for level, (scale, x) in enumerate(zip(self.scales, levels, strict=True)):
            sides = F.softplus(self.sides(x, level).float() * scale)
            rows.append(torch.cat([sides, self.kinds(x, level).float() + RARE], dim=1))
        return Rows(in_rows(rows), *points_on(levels, STRIDES))

    def losses(self, outputs: Rows, objects: Sequence[Objects]) -> dict[str, Tensor]:
        """Σ varifocal + OF_BOXES · Σ q (1 − GIoU), over Σ q: q is how good a point is for its
        object."""
        rows, points = outputs.rows.float(), outputs.points
        logits, own = rows[..., SIDES:], padded(objects)
        boxes = from_distances(points, outputs.strides, rows[..., :SIDES])
        with torch.no_grad():
            found, quality = task_aligned(points, logits.sigmoid(), boxes, own.places, own.numbers)
        taken, which = found >= 0, found.clamp(min=0)
        wanted = torch.zeros_like(logits)
        total = quality.sum(dim=1).clamp(min=1.0)
        apart = torch.zeros_like(quality)
        if own.numbers.shape[1]:
            number = own.numbers.gather(1, which).clamp(min=0)
            wanted.scatter_(2, number[..., None], quality[..., None])
            truth = own.places.gather(1, which[..., None].expand(boxes.shape))
            apart = quality * giou_loss(boxes, truth)
        counted = torch.ones_like(quality)
        for i, one in enumerate(objects):
            if len(one.aside):
                counted[i, within(points, one.aside) & ~taken[i]] = 0.0
        of_class = (counted[..., None] * varifocal(logits, wanted)).sum(dim=(1, 2)) / total
        return {"classes": of_class, "boxes": OF_BOXES * apart.sum(dim=1) / total}

    def all_candidates(self, outputs: Rows) -> tuple[Tensor, Tensor]:
        rows = outputs.rows.float()
        boxes = from_distances(outputs.points, outputs.strides, rows[..., :SIDES])
        return boxes, rows[..., SIDES:].sigmoid()

    def answering(self, outputs: Rows, index: int, own: Objects) -> tuple[Tensor, Tensor]:
        """Cells."""
        boxes, scores = self.candidates(outputs)[index]
        found = task_aligned(outputs.points, scores, boxes, own.places, own.numbers).objects
        taken, half = found >= 0, outputs.strides[:, None] / 2
        return torch.cat([outputs.points - half, outputs.points + half], 1)[taken], found[taken]
