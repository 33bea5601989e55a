"""Faster R-CNN: a network proposes regions, and a second stage looks at each (E3; Ren et al. 2015).

First stage: anchors on the maps at stride 16 say whether there is something, and where. Second
stage: the best proposals' features are pooled, classified and moved once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.core.anchors import anchor_shapes
from striate.models.detectors.assign import BACKGROUND, by_overlap
from striate.models.detectors.coding import (
    anchors,
    from_offsets,
    overlaps,
    to_offsets,
)
from striate.models.detectors.detector import SIDES, Detector, Objects, within
from striate.models.detectors.losses import smooth_l1
from striate.models.detectors.pooling import pool_regions
from striate.models.detectors.pyramid import WIDTH, Pyramid, Tower
from striate.models.detectors.suppress import suppress, usable

EACH, STRIDE = 9, 16
"""Anchors of a cell; the stride of the maps that both stages read."""
CONSIDERED, PROPOSED, ALIKE = 300, 60, 0.7
"""Proposals before and after suppression, and the overlap above which the worse one goes."""
DRAWN, OBJECT_SHARE = 64, 0.25
"""Anchors and proposals that are asked for each image, and the share of them on objects."""
FROM, POOLED, HIDDEN = 0.5, 7, 128
"""The overlap from which on a proposal is an object; the pooled maps' side; the second stage's
width."""
SCALE = (0.1, 0.1, 0.2, 0.2)
"""Deviations of the second stage's offsets."""


class Stage1(NamedTuple):
    """The maps (N, WIDTH, H, W), and of each anchor (A, 4) offsets and a logit (N, A, 5)."""

    maps: Tensor
    rows: Tensor
    anchors: Tensor


class FasterRCNN(Detector):
    """Two stages on shared features."""

    class_layer = "kinds"
    parts: ClassVar[tuple[str, ...]] = ("neck", "proposing", "hidden", "kinds", "moving")
    shapes: Tensor
    """(EACH, 2): widths and heights of the anchors."""

    def __init__(self, body: nn.Module, classes: int) -> None:
        super().__init__(body, classes)
        strides = [s for s in (16, 32) if s in self.channels]
        self.used = [s in strides for s in sorted(self.channels)]
        self.neck = Pyramid([self.channels[s] for s in strides], further=0, finest=1)
        self.proposing = Tower(EACH * (1 + SIDES), 1, depth=1)
        sides = [
            (side * wide, side / wide) for side in (48.0, 96.0, 192.0) for wide in (0.7, 1, 1.4)
        ]
        self.register_buffer("shapes", torch.tensor(sides))
        self.hidden = nn.Sequential(
            nn.Linear(WIDTH * POOLED**2, HIDDEN), nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, HIDDEN), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.kinds, self.moving = nn.Linear(HIDDEN, classes + 1), nn.Linear(HIDDEN, SIDES)
        for layer in (self.kinds, self.moving):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def fit(self, sides: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """Anchors of the shapes of the training's objects, by k-means."""
        if len(sides) >= EACH:
            self.shapes.copy_(torch.from_numpy(anchor_shapes(sides, EACH)))

    def shared_maps(self, images: Tensor) -> Tensor:
        """The maps at STRIDE that both stages read."""
        chosen = [x for x, used in zip(self.maps(images), self.used, strict=True) if used]
        found: Tensor = self.neck(chosen)[0]
        return found

    def forward(self, images: Tensor) -> Stage1:
        maps = self.shared_maps(images)
        count, _, high, wide = maps.shape
        rows = self.proposing(maps, 0).float().view(count, EACH, 1 + SIDES, high * wide)
        rows = rows.permute(0, 3, 1, 2).reshape(count, -1, 1 + SIDES)
        placed = anchors(wide * STRIDE, STRIDE, self.shapes.cpu()).to(maps.device)
        return Stage1(maps, rows, placed)

    def losses(self, outputs: Stage1, objects: Sequence[Objects]) -> dict[str, Tensor]:
        """Of both stages: is there something, or what is it, and where. Of each image a sample of
        anchors and proposals is asked."""
        first = [
            _first_losses(rows, outputs.anchors, own)
            for rows, own in zip(outputs.rows, objects, strict=True)
        ]
        regions = [
            drawn(torch.cat([boxes, own.places]), own)
            for boxes, own in zip(self.proposals(outputs), objects, strict=True)
        ]
        something, where = (torch.stack(part) for part in zip(*first, strict=True))
        second = self.second_losses(outputs.maps, regions, objects)
        return {"proposals": something, "their_boxes": where, **second}

    def second_losses(
        self, maps: Tensor, regions: Sequence[tuple[Tensor, Tensor]], objects: Sequence[Objects]
    ) -> dict[str, Tensor]:
        """Of the second stage, for regions and the object of each (see `drawn`)."""
        kinds, moves = self.second(maps, [boxes for boxes, _ in regions])
        each = [
            self._of_regions(kind, move, boxes, found, own)
            for kind, move, (boxes, found), own in zip(kinds, moves, regions, objects, strict=True)
        ]
        classes, boxes = (torch.stack(part) for part in zip(*each, strict=True))
        return {"classes": classes, "boxes": boxes}

    def proposals(self, outputs: Stage1) -> list[Tensor]:
        """The regions (≤ PROPOSED, 4) of each image in which something is, the surest first."""
        side = outputs.maps.shape[-1] * STRIDE
        found = []
        for rows in outputs.rows.detach():
            best = rows[:, 0].topk(min(CONSIDERED, len(rows))).indices
            boxes = from_offsets(rows[best, 1:], outputs.anchors[best]).clamp(0, side)
            fits = usable(boxes)
            boxes, scores = boxes[fits], rows[best, 0][fits]
            kept = suppress(boxes, scores, torch.zeros_like(scores).long(), ALIKE)
            found.append(boxes[kept[:PROPOSED]])
        return found

    def second(self, maps: Tensor, regions: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Of the regions of each image: logits (R, classes + 1), the last that of nothing, and
        offsets (R, 4)."""
        counts = [len(boxes) for boxes in regions]
        images = torch.repeat_interleave(
            torch.arange(len(counts), device=maps.device), torch.tensor(counts, device=maps.device)
        )
        pooled = pool_regions(maps, torch.cat(list(regions)), images, STRIDE, POOLED)
        hidden = self.hidden(pooled.flatten(1).to(maps.dtype))
        kinds, moves = self.kinds(hidden).float(), self.moving(hidden).float()
        return list(kinds.split(counts)), list(moves.split(counts))

    def _of_regions(
        self, kinds: Tensor, moves: Tensor, boxes: Tensor, found: Tensor, own: Objects
    ) -> tuple[Tensor, Tensor]:
        taken = found >= 0
        wanted = torch.full((len(found),), self.classes, device=kinds.device)
        wanted[taken] = own.numbers[found[taken]]
        of_class = F.cross_entropy(kinds, wanted, reduction="sum") / DRAWN
        if not taken.any():
            return of_class, moves.sum() * 0
        offsets = to_offsets(own.places[found[taken]], boxes[taken]) / _scale(moves)
        return of_class, smooth_l1(moves[taken], offsets).sum() / DRAWN

    def candidates(self, outputs: Stage1) -> list[tuple[Tensor, Tensor]]:
        regions = self.proposals(outputs)
        kinds, moves = self.second(outputs.maps, regions)
        return [
            (from_offsets(move * _scale(move), boxes), kind.softmax(dim=1)[:, :-1])
            for kind, move, boxes in zip(kinds, moves, regions, strict=True)
        ]

    def answering(self, outputs: Stage1, index: int, own: Objects) -> tuple[Tensor, Tensor]:
        """Regions that were proposed."""
        regions = self.proposals(outputs)[index]
        if not len(own.places):
            return regions[:0], torch.zeros(0, dtype=torch.long, device=regions.device)
        most, which = overlaps(regions, own.places).max(dim=1)
        return regions[most >= FROM], which[most >= FROM]


def _scale(like: Tensor) -> Tensor:
    return torch.tensor(SCALE, device=like.device)


def _first_losses(rows: Tensor, placed: Tensor, own: Objects) -> tuple[Tensor, Tensor]:
    """Is there something at these anchors, and where? Half of those that are asked are on objects,
    as far as there are any."""
    found = by_overlap(placed, own.places).objects
    empty = (found == BACKGROUND) & ~within((placed[:, :2] + placed[:, 2:]) / 2, own.aside)
    there = torch.nonzero(found >= 0)[:, 0]
    there = _some(there, DRAWN // 2)
    nothing = _some(torch.nonzero(empty)[:, 0], DRAWN - len(there))
    asked = torch.cat([there, nothing])
    truth = (found[asked] >= 0).float()
    of_class = F.binary_cross_entropy_with_logits(rows[asked, 0], truth, reduction="sum") / DRAWN
    if not len(there):
        return of_class, rows.sum() * 0
    offsets = to_offsets(own.places[found[there]], placed[there])
    return of_class, smooth_l1(rows[there, 1:], offsets, beta=1 / 9).sum() / DRAWN


def drawn(boxes: Tensor, own: Objects) -> tuple[Tensor, Tensor]:
    """(regions, the object of each or BACKGROUND): a sample of proposals, a quarter on objects as
    far as there are any."""
    if not len(own.places):
        chosen = _some(torch.arange(len(boxes), device=boxes.device), DRAWN)
        return boxes[chosen], torch.full((len(chosen),), BACKGROUND, device=boxes.device)
    most, which = overlaps(boxes, own.places).max(dim=1)
    aside = within((boxes[:, :2] + boxes[:, 2:]) / 2, own.aside)
    there = _some(torch.nonzero(most >= FROM)[:, 0], int(DRAWN * OBJECT_SHARE))
    nothing = _some(torch.nonzero((most < FROM) & ~aside)[:, 0], DRAWN - len(there))
    chosen = torch.cat([there, nothing])
    return boxes[chosen], torch.where(most[chosen] >= FROM, which[chosen], BACKGROUND)


def _some(places: Tensor, most: int) -> Tensor:
    """At most this number of them, drawn by torch's generator, which training seeds each step."""
    if len(places) <= most:
        return places
    return places[torch.randperm(len(places), device=places.device)[:most]]
