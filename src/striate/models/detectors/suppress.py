"""Of boxes around one object one remains (E1)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from striate.models.detectors.coding import areas, overlaps


def suppress(boxes: Tensor, scores: Tensor, numbers: Tensor, most: float = 0.6) -> Tensor:
    """Positions of the boxes (N, 4) that remain, by falling score: one goes where a box of its own
    class (`numbers` (N,)) with a higher score overlaps it by more than `most`. Exact: each class is
    asked by itself. Of equal scores the first remains."""
    order = torch.sort(scores, descending=True, stable=True).indices
    boxes, numbers = boxes[order].float(), numbers[order]
    rivals = (overlaps(boxes, boxes) > most) & (numbers[:, None] == numbers)
    spared = (~rivals).cpu().numpy()  # NumPy asks for a row in a tenth of torch's time
    alive = np.ones(len(order), dtype=np.bool_)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= spared[i, i + 1 :]
    return order[torch.from_numpy(alive).to(order.device)]


def voted(
    boxes: Tensor, scores: Tensor, numbers: Tensor, kept: Tensor, width: float = 0.05
) -> Tensor:
    """The places (K, 4) of the boxes that remain: means over the boxes of their class that overlap
    them by a half or more, weighted by score · exp(−(1 − IoU)²/width) (He et al. 2019)."""
    shared = overlaps(boxes[kept].float(), boxes.float())
    near = (shared >= 0.5) & (numbers[kept][:, None] == numbers[None])
    weights = scores.float() * torch.exp(-((1 - shared) ** 2) / width) * near
    return (weights @ boxes.float()) / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)


def soften(boxes: Tensor, scores: Tensor, numbers: Tensor, width: float = 0.5) -> Tensor:
    """New scores (N,): each box in turn, the best first, lowers those of its class by
    exp(−IoU²/width) instead of dropping them (Bodla et al. 2017)."""
    found = scores.float().clone()
    waiting = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    shared = overlaps(boxes.float(), boxes.float()) * (numbers[:, None] == numbers)
    for _ in range(len(scores)):
        best = int(torch.where(waiting, found, -torch.inf).argmax())
        waiting[best] = False
        found = torch.where(waiting, found * torch.exp(-shared[best].square() / width), found)
    return found


def usable(boxes: Tensor, least: float = 1.0) -> Tensor:
    """Which boxes (N, 4) have sides of at least `least` pixels: (N,)."""
    return ((boxes[:, 2:] - boxes[:, :2]) >= least).all(dim=1) & torch.isfinite(areas(boxes))
