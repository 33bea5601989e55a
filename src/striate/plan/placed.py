"""What "auto" becomes where targets have places in the image, as boxes have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from striate.models.detectors import USUAL
from striate.models.pretrained.card import Card
from striate.plan.auto import Headers
from striate.plan.decisions import Decisions

LARGEST, STEP = 320, 32
"""The side of the input that is enough for most objects and bearable on a CPU; a multiple of the
stride of the coarsest maps of most networks."""


def settle_placed(decisions: Decisions, headers: Headers, card: Card | None) -> None:
    """The knobs of a detector that the ways of classification would settle otherwise."""
    decisions.default("model.detector", USUAL, "the best for few images on a CPU")
    decisions.default("data.resize", "pad", "objects at the border stay in the image")
    if len(headers["train"][0]):
        decisions.settle("data.image_size", lambda: _side(headers["train"][0]))
    if card is None:
        decisions.default("model.name", "resnet18", "its maps have the strides of a detector")
    else:
        decisions.default("model.freeze_norm", True, "small batches would blur the averages")
        decisions.default("optim.backbone_rate", 0.3, "the head starts anew, the rest does not")
    decisions.default("augment.crop", "zoom", "objects of all sizes are met at other sizes")
    decisions.default("augment.flip", True, "boxes are mirrored with their objects")
    decisions.default("augment.cutout", 0, "it would hide objects that are asked for")
    decisions.default("augment.test_views", "single", "boxes of several views are not averaged")


def _side(sides: Any) -> tuple[int, str]:
    longest = float(np.median(sides.max(axis=1)))
    size = min(LARGEST, STEP * math.ceil(longest / STEP))
    return size, f"the median longer side is {longest:g} pixels"
