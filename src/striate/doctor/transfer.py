"""A start from trained weights: what fine-tuning made of them (M3)."""

from __future__ import annotations

import math

import numpy as np

from striate.doctor.history import History
from striate.doctor.saying import Answer, Lacking, flag, found, picture, sure

_LEAST_EPOCHS = 2
_FEWEST = 20
"""Validation images that are assumed where their number is not known."""


def forgetting(h: History) -> Answer:
    """The features were better before they learnt: a linear classifier on the weights that the
    training started from did better in cross-validation than the trained network on validation
    images.

    Confounders: few validation images, so the difference must be larger than its standard error;
    validation images of another kind, which the classifier never saw (unlike_splits has its own
    evidence).
    """
    if h.plan is None or h.knob("model.weights", "none") in ("none", "auto"):
        return None
    probe, scores = h.plan.probe, h.epochs.val_score[np.isfinite(h.epochs.val_score)]
    if probe is None or len(scores) < _LEAST_EPOCHS:
        return Lacking("the score of the weights' features before the training, and two epochs")
    best, images = float(scores.max()), h.measured[-1].val_images if h.measured else _FEWEST
    spread = probe * (1 - probe) / max(h.plan.images, 1) + best * (1 - best) / max(images, 1)
    error = math.sqrt(max(spread, 1 / max(images, 1) ** 2))
    name = h.plan.score.replace("_", " ")
    return found(
        "forgetting",
        f"a linear classifier on the features of {h.knob('model.weights')} had {name} {probe:.3f} "
        f"before the training; the best epoch has {best:.3f}: what the weights knew was lost",
        sure((probe - best) / error, 1.5, 4.0),
        evidence={
            "before": probe, "best": best, "error": error,
            "curves": {"validation score": picture(h.epochs.val_score)},
        },
        remedies=[
            flag("model.freeze", "backbone"),
            flag("optim.backbone_rate", 0.1),
            flag("model.freeze_norm", True),
        ],
        source="M3; Kumar et al. 2022",
        anew=True,
    )  # fmt: skip
