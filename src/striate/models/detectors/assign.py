"""Which prediction answers for which object (E3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from striate.models.detectors.coding import overlaps

IGNORED, BACKGROUND = -2, -1


class Assigned(NamedTuple):
    """objects: int64 (P,), the object that each prediction answers for, BACKGROUND or IGNORED;
    quality: float32 (P,), what its score should be, 0 for those without an object."""

    objects: Tensor
    quality: Tensor


def by_overlap(anchors: Tensor, truth: Tensor, high: float = 0.7, low: float = 0.3) -> Assigned:
    """The lecture's rule (E3), that of Faster R-CNN: an anchor (P, 4) that overlaps an object
    (G, 4) by `high` or more answers for the one that it overlaps most, one that overlaps none by
    `low` is background, those between are ignored; and the best anchors of each object answer for
    it, however little they overlap it, so that none is without."""
    objects = torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    if not len(truth):
        return Assigned(objects, torch.zeros(len(anchors), device=anchors.device))
    shared = overlaps(anchors, truth)
    most, which = shared.max(dim=1)
    objects[most >= low] = IGNORED
    objects = torch.where(most >= high, which, objects)
    best = shared.max(dim=0).values
    rows, columns = torch.nonzero((shared == best) & (best > 0), as_tuple=True)
    objects[rows] = columns
    return Assigned(objects, (objects >= 0).float())


def task_aligned(
    points: Tensor,
    scores: Tensor,
    boxes: Tensor,
    truth: Tensor,
    numbers: Tensor,
    *,
    most: int = 10,
    alpha: float = 1.0,
    beta: float = 6.0,
) -> Assigned:
    """Of the points inside an object the `most` whose prediction suits it best answer for it; a
    point in several objects for the one that its box overlaps most (TOOD; Feng et al. 2021).

    points (P, 2); scores (P, C), probabilities; boxes (P, 4), as predicted; truth (G, 4); numbers
    (G,). How well a prediction suits is t = score^α · IoU^β; its quality is t, scaled so that the
    best of each object has its own overlap. An object that holds no point gets the one nearest to
    its centre.
    """
    count, objects = len(points), len(truth)
    nothing = torch.full((count,), BACKGROUND, device=points.device)
    if not objects:
        return Assigned(nothing, torch.zeros(count, device=points.device))
    inside = _inside(points, truth)  # (G, P)
    shared = overlaps(truth, boxes)
    suits = scores[:, numbers].T.clamp(min=0) ** alpha * shared**beta * inside
    chosen = suits.topk(min(most, count), dim=1).indices
    candidate = torch.zeros_like(inside).scatter_(1, chosen, value=True) & inside
    which = torch.where(candidate, shared, -torch.ones_like(shared)).argmax(dim=0)
    taken = candidate.any(dim=0)
    found = torch.where(taken, which, nothing)
    own = torch.arange(count, device=points.device)
    answers = torch.zeros_like(candidate)
    answers[which[taken], own[taken]] = True
    suits, shared = suits * answers, shared * answers
    top = suits.amax(dim=1)
    best = torch.where(top > 0, shared.amax(dim=1) / top, torch.zeros_like(top))
    return Assigned(found, (suits * best[:, None]).amax(dim=0).float())


def _inside(points: Tensor, truth: Tensor) -> Tensor:
    """Whether a point is in an object: (G, P); of an object without any the nearest one is."""
    after = points[None] - truth[:, None, :2]
    before = truth[:, None, 2:] - points[None]
    inside = torch.cat([after, before], dim=2).amin(dim=2) > 0
    centre = (truth[:, :2] + truth[:, 2:]) / 2
    nearest = (points[None] - centre[:, None]).square().sum(dim=2).argmin(dim=1)
    empty = ~inside.any(dim=1)
    inside[empty, nearest[empty]] = True
    return inside
