"""One stage with anchors: boxes of several shapes around every cell, which are moved and judged
(SSD, Liu et al. 2016; RetinaNet, Lin et al. 2017; the last rung of deck E).

The shapes come from the training's own objects by k-means (YOLO 9000; Redmon and Farhadi 2017);
each belongs to the level whose cells it spans about four of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from striate.core.anchors import anchor_shapes
from striate.models.detectors.assign import BACKGROUND, IGNORED, by_overlap
from striate.models.detectors.coding import anchors, from_offsets, to_offsets
from striate.models.detectors.detector import SIDES, Detector, Objects, within
from striate.models.detectors.losses import focal, smooth_l1
from striate.models.detectors.one_stage import RARE, STRIDES
from striate.models.detectors.pyramid import Pyramid, Tower

EACH = 3
"""Anchors of a cell."""
SPANNED = 4
"""An anchor is as wide as about this number of its level's cells."""
HIGH, LOW = 0.5, 0.4
"""Overlaps from which on an anchor answers for an object, and below which it is background."""
OF_BOXES = 2.0


class Rows(NamedTuple):
    """Of each anchor (P, 4): offsets and the classes' logits (N, P, 4 + classes)."""

    rows: Tensor
    anchors: Tensor


class Anchored(Detector):
    """Anchor boxes on the levels of a pyramid."""

    class_layer = "kinds.last"
    parts = ("neck", "kinds", "sides")
    shapes: Tensor
    """(levels, EACH, 2): widths and heights."""

    def __init__(self, body: nn.Module, classes: int) -> None:
        super().__init__(body, classes)
        wide = [self.channels[s] for s in STRIDES if s in self.channels]
        self.neck = Pyramid(wide, further=len(STRIDES) - len(wide))
        count = len(STRIDES)
        self.kinds, self.sides = Tower(EACH * classes, count), Tower(EACH * SIDES, count)
        usual = [(0.7, 1.4), (1.0, 1.0), (1.4, 0.7)]
        sides = torch.tensor(usual)[None] * torch.tensor(STRIDES)[:, None, None] * SPANNED
        self.register_buffer("shapes", sides)

    def fit(self, sides: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """EACH shapes for each level, by k-means on those boxes that suit it best; a level that
        suits none keeps its usual ones."""
        if not len(sides):
            return
        side = np.sqrt(sides.prod(axis=1))
        steps = np.log2(np.maximum(side, 1) / SPANNED / STRIDES[0]).round()
        level = np.clip(steps, 0, len(STRIDES) - 1).astype(int)
        for number in range(len(STRIDES)):
            own = sides[level == number]
            if len(own) >= EACH:
                self.shapes[number] = torch.from_numpy(anchor_shapes(own, EACH)).float()

    def forward(self, images: Tensor) -> Rows:
        rows, boxes = [], []
        for level, x in enumerate(self.neck(self.maps(images))):
            sides = _by_anchor(self.sides(x, level), SIDES)
            kinds = _by_anchor(self.kinds(x, level), self.classes) + RARE
            rows.append(torch.cat([sides, kinds], dim=2))
            stride = STRIDES[level]
            shapes = self.shapes[level].cpu()
            boxes.append(anchors(x.shape[-1] * stride, stride, shapes).to(x.device))
        return Rows(torch.cat(rows, dim=1), torch.cat(boxes))

    def losses(self, outputs: Rows, objects: Sequence[Objects]) -> dict[str, Tensor]:
        """Focal loss of the classes and smooth L1 of the offsets, over the anchors that answer for
        an object."""
        each = [self._of_image(rows, outputs.anchors, own)
                for rows, own in zip(outputs.rows, objects, strict=True)]  # fmt: skip
        classes, boxes = (torch.stack(part) for part in zip(*each, strict=True))
        return {"classes": classes, "boxes": OF_BOXES * boxes}

    def _of_image(self, rows: Tensor, placed: Tensor, own: Objects) -> tuple[Tensor, Tensor]:
        logits = rows[:, SIDES:]
        found = by_overlap(placed, own.places, HIGH, LOW).objects
        found = torch.where(
            (found == BACKGROUND) & within((placed[:, :2] + placed[:, 2:]) / 2, own.aside),
            IGNORED, found,
        )  # fmt: skip
        taken = found >= 0
        wanted = torch.zeros_like(logits)
        wanted[taken, own.numbers[found[taken]]] = 1.0
        count = taken.sum().clamp(min=1)
        of_class = focal(logits, wanted)[found != IGNORED].sum() / count
        if not len(own.places):
            return of_class, rows.sum() * 0
        offsets = to_offsets(own.places[found[taken]], placed[taken])
        return of_class, smooth_l1(rows[taken, :SIDES], offsets, beta=0.1).sum() / count

    def all_candidates(self, outputs: Rows) -> tuple[Tensor, Tensor]:
        rows = outputs.rows.float()
        return from_offsets(rows[..., :SIDES], outputs.anchors), rows[..., SIDES:].sigmoid()

    def answering(self, outputs: Rows, index: int, own: Objects) -> tuple[Tensor, Tensor]:
        """Anchors."""
        found = by_overlap(outputs.anchors, own.places, HIGH, LOW).objects
        return outputs.anchors[found >= 0], found[found >= 0]


def _by_anchor(maps: Tensor, numbers: int) -> Tensor:
    """(N, EACH · numbers, H, W) → (N, H · W · EACH, numbers), in the order of `anchors`."""
    count, _, high, wide = maps.shape
    apart = maps.float().view(count, EACH, numbers, high * wide)
    return apart.permute(0, 3, 1, 2).reshape(count, -1, numbers)
