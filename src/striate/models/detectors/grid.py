"""Deck E's picture of one-stage detection as it is: 3×3 cells, each says one object (YOLO; Redmon
et al. 2016, E3).

The flaw of the picture is kept, to be seen: an object belongs to the cell that holds its centre,
and of two objects in one cell the smaller one is lost. `crowded` counts them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.models.detectors.coding import areas
from striate.models.detectors.detector import SIDES, Detector, Objects
from striate.models.detectors.pyramid import WIDTH, pointwise, three_by_three

CELLS = 3
OF_BOXES, OF_EMPTY = 5.0, 0.5
"""The paper's weights of boxes, and of cells without an object."""


class Grid(Detector):
    """Images → (N, CELLS², 5 + classes): the logit of an object, its centre in the cell and its
    sides as logits (of the cell, of the image), the classes' logits; and the images' side."""

    STRIDES = (8, 16, 32)
    class_layer = "last"
    parts = ("neck", "last")

    def __init__(self, body: nn.Module, classes: int) -> None:
        super().__init__(body, classes)
        self.neck = nn.Sequential(
            pointwise(self.channels[max(self.channels)], WIDTH), three_by_three(WIDTH),
            nn.AdaptiveAvgPool2d(2 * CELLS),
            nn.Conv2d(WIDTH, WIDTH, 2, 2), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.last = nn.Conv2d(WIDTH, 1 + SIDES + classes, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        coarse = self.maps(images)[-1]
        size = coarse.shape[-1] * max(self.channels)
        rows = self.last(self.neck(coarse)).flatten(2).transpose(1, 2)
        return rows.float(), torch.tensor(float(size), device=rows.device)

    def losses(
        self, outputs: tuple[Tensor, Tensor], objects: Sequence[Objects]
    ) -> dict[str, Tensor]:
        found: dict[str, list[Tensor]] = {"objects": [], "boxes": [], "classes": []}
        rows, size = outputs
        for row, own in zip(rows, objects, strict=True):
            cells, chosen = cell_of(own.places, float(size))
            there = torch.zeros(len(row), device=row.device)
            there[cells] = 1.0
            said = F.binary_cross_entropy_with_logits(row[:, 0], there, reduction="none")
            found["objects"].append((said * torch.where(there > 0, 1.0, OF_EMPTY)).sum())
            wanted = _coded(own.places[chosen], cells, float(size))
            apart = (row[cells, 1 : 1 + SIDES].sigmoid() - wanted).square().sum()
            found["boxes"].append(OF_BOXES * apart)
            kinds = row[cells, 1 + SIDES :]
            found["classes"].append(
                F.cross_entropy(kinds, own.numbers[chosen], reduction="sum")
                if len(cells) else row.sum() * 0
            )  # fmt: skip
        return {name: torch.stack(each) for name, each in found.items()}

    def all_candidates(self, outputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        rows, size = outputs
        number = torch.arange(CELLS**2, device=rows.device)
        corner = torch.stack([number % CELLS, number // CELLS], dim=1)
        said = rows[..., 1 : 1 + SIDES].sigmoid()
        centre = (corner + said[..., :2]) * (size / CELLS)
        half = said[..., 2:].square() * size / 2
        scores = rows[..., :1].sigmoid() * rows[..., 1 + SIDES :].softmax(dim=-1)
        return torch.cat([centre - half, centre + half], dim=-1), scores

    def answering(
        self, outputs: tuple[Tensor, Tensor], index: int, own: Objects
    ) -> tuple[Tensor, Tensor]:
        """Cells."""
        cells, chosen = cell_of(own.places, float(outputs[1]))
        corner = torch.stack([cells % CELLS, cells // CELLS], dim=1)
        return torch.cat([corner, corner + 1], dim=1) * (outputs[1] / CELLS), chosen


def cell_of(places: Tensor, size: float) -> tuple[Tensor, Tensor]:
    """(the cells that hold an object's centre, which object each of them says: the largest)."""
    centre = (places[:, :2] + places[:, 2:]) / 2
    place = (centre * CELLS / size).long().clamp(0, CELLS - 1)
    cells = place[:, 1] * CELLS + place[:, 0]
    order = torch.argsort(areas(places), descending=True, stable=True)
    chosen: dict[int, int] = {}
    for i in order.tolist():
        chosen.setdefault(int(cells[i]), i)
    device = places.device
    return torch.tensor([*chosen], device=device, dtype=torch.long), torch.tensor(
        [*chosen.values()], device=device, dtype=torch.long
    )


def crowded(places: Tensor, size: float) -> int:
    """How many of these objects share their cell with a larger one: the network cannot say them."""
    return len(places) - len(cell_of(places, size)[0])


def _coded(places: Tensor, cells: Tensor, size: float) -> Tensor:
    """Centre in the cell, and the root of the sides' share of the image, as the paper has them."""
    centre = (places[:, :2] + places[:, 2:]) / 2
    corner = torch.stack([cells % CELLS, cells // CELLS], dim=1)
    inside = centre * CELLS / size - corner
    sides = ((places[:, 2:] - places[:, :2]) / size).clamp(0, 1).sqrt()
    return torch.cat([inside, sides], dim=1)
