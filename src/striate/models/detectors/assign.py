"""Which prediction answers for which object (E3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from striate.models.detectors.coding import overlaps

IGNORED, BACKGROUND = -2, -1


class Assigned(NamedTuple):
    """objects: int64 (…, P), the object that each prediction answers for, BACKGROUND or IGNORED;
    quality: float32 (…, P), what its score should be, 0 for those without an object."""

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

    points (P, 2); scores (…, P, C), probabilities; boxes (…, P, 4), as predicted; truth (…, G, 4);
    numbers (…, G), below 0 where there is no object. How well a prediction suits is
    t = score^α · IoU^β; its quality is t, scaled so that the best of each object has its own
    overlap. An object that holds no point gets the one nearest to its centre.
    """
    said, real = scores.shape[:-1], numbers >= 0
    nothing = torch.full(said, BACKGROUND, device=points.device)
    if not truth.shape[-2]:
        return Assigned(nothing, torch.zeros(said, device=points.device))
    inside = _inside(points, truth) & real[..., None]  # (…, G, P)
    shared = overlaps(truth, boxes)
    wanted = numbers.clamp(min=0)[..., None].expand(shared.shape)
    own = scores.transpose(-1, -2).gather(-2, wanted).clamp(min=0)
    suits = own**alpha * shared**beta * inside
    chosen = suits.topk(min(most, len(points)), dim=-1).indices
    candidate = torch.zeros_like(inside).scatter_(-1, chosen, value=True) & inside
    which = torch.where(candidate, shared, -torch.ones_like(shared)).argmax(dim=-2)
    taken = candidate.any(dim=-2)
    answers = torch.zeros_like(candidate).scatter_(-2, which[..., None, :], taken[..., None, :])
    suits, shared = suits * answers, shared * answers
    top = suits.amax(dim=-1)
    best = torch.where(top > 0, shared.amax(dim=-1) / top, torch.zeros_like(top))
    quality = (suits * best[..., None]).amax(dim=-2).float()
    return Assigned(torch.where(taken, which, nothing), quality)


def _inside(points: Tensor, truth: Tensor) -> Tensor:
    """Whether a point is in an object: (…, G, P); of an object without any the nearest one is."""
    after = points - truth[..., None, :2]
    before = truth[..., None, 2:] - points
    inside = torch.minimum(after, before).amin(dim=-1) > 0
    centre = (truth[..., :2] + truth[..., 2:]) / 2
    nearest = (points - centre[..., None, :]).square().sum(dim=-1).argmin(dim=-1)
    empty = ~inside.any(dim=-1)
    return inside.scatter(-1, nearest[..., None], inside.gather(-1, nearest[..., None])
                          | empty[..., None])  # fmt: skip
