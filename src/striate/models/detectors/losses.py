"""Losses of detectors, one value an element; who calls divides (E3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from striate.models.detectors.coding import generalised


def smooth_l1(found: Tensor, wanted: Tensor, beta: float = 1.0) -> Tensor:
    """d²/2β where |d| < β, else |d| − β/2 (Fast R-CNN; Girshick 2015)."""
    apart = (found - wanted).abs()
    return torch.where(apart < beta, apart.square() / (2 * beta), apart - beta / 2)


def giou_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """1 − GIoU of pairs of boxes (…, 4): (…,), from 0 to 2."""
    return 1 - generalised(found, wanted)


def focal(logits: Tensor, truth: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """α_t (1 − p_t)^γ · cross-entropy: examples that are easy count little (Lin et al. 2017).

    truth: 1 where the object is there, else 0, of the logits' shape.
    """
    probability = logits.sigmoid()
    right = probability * truth + (1 - probability) * (1 - truth)
    weight = alpha * truth + (1 - alpha) * (1 - truth)
    plain = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return weight * (1 - right) ** gamma * plain


def varifocal(logits: Tensor, quality: Tensor, alpha: float = 0.75, gamma: float = 2.0) -> Tensor:
    """Cross-entropy with a soft truth: objects weigh by their quality q (an overlap), background by
    α p^γ (Zhang et al. 2021)."""
    background = alpha * logits.detach().sigmoid() ** gamma
    weight = torch.where(quality > 0, quality, background)
    return weight * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
