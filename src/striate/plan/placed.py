"""What "auto" becomes where targets have places in the image, as boxes have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from striate.core.errors import RecipeError
from striate.core.recipe import Recipe
from striate.data.targets import Targets, joinable
from striate.models.detectors import USUAL
from striate.models.detectors.detector import detector_class
from striate.models.pretrained.card import Card
from striate.plan.auto import Headers
from striate.plan.decisions import Decisions

LARGEST, STEP = 320, 32
"""The side of the input that is enough for most objects and bearable on a CPU; a multiple of the
stride of the coarsest maps of most networks."""


VIEWS = 16
"""Views of an image of which a frozen part's outputs are kept: boxes are learnt by heart sooner
than labels."""
MOSAIC = 0.5
"""Share of mosaics."""
SHOWN, EPOCHS = 6_800, (6, 80)
"""About how many images a training from weights shows in all, and the bounds of its epochs; from
scratch twice as many."""


def refuse_unplaced(recipe: Recipe) -> None:
    """Raises RecipeError for knobs of detectors where targets have no places."""
    for knob, asked in (
        ("model.detector", recipe.model.detector != "auto"),
        ("augment.mosaic", recipe.augment.mosaic not in ("auto", 0)),
    ):
        if asked:
            raise RecipeError(
                f"{knob}: these images have labels, and no boxes",
                "Leave it out, or give images with boxes (docs/data.md).",
            )


def refuse_mixing(recipe: Recipe, *, joins: bool) -> None:
    """Raises RecipeError for changes that blend two images' labels. joins: whether images may be
    put together with their targets."""
    augment = recipe.augment
    if augment.cutmix:
        raise RecipeError(
            "augment.cutmix: it blends the labels of two images, and these targets have places",
            "Leave it out; with boxes --augment.mosaic puts images together.",
        )
    for knob in ("mixup", "mosaic"):
        if not joins and getattr(augment, knob) not in ("auto", 0):
            raise RecipeError(
                f"augment.{knob}: only images with boxes can be put together", "Leave it out."
            )


def settle_placed(
    decisions: Decisions, headers: Headers, card: Card | None, targets: Targets
) -> None:
    """The knobs of a detector that the ways of classification would settle otherwise. targets: of
    the training images."""
    joins, images = joinable(targets), len(targets)
    refuse_mixing(decisions.recipe, joins=joins)
    decisions.default("model.detector", USUAL, "the best for few images on a CPU")
    decisions.default("data.resize", "pad", "objects at the border stay in the image")
    if len(headers["train"][0]):
        decisions.settle("data.image_size", lambda: _side(headers["train"][0]))
    if card is None:
        decisions.default("model.name", "resnet18", "its maps have the strides of a detector")
    else:
        decisions.default("model.freeze", 3, "what is seen up to stride 8 serves all objects")
        decisions.default("optim.lr", 0.002, "the head starts anew")
        decisions.default("model.freeze_norm", True, "small batches would blur the averages")
        decisions.default("optim.backbone_rate", 0.3, "the head starts anew, the rest does not")
    if detector_class(decisions.recipe.model.detector).from_pixels:
        decisions.default("augment.crop", "none", "regions are searched for once in each image")
        decisions.default("augment.mosaic", 0, "regions are searched for once in each image")
    if joins:
        decisions.default("augment.mosaic", MOSAIC, "objects are met in other surroundings")
    decisions.default("augment.crop", "zoom", "objects of all sizes are met at other sizes")
    decisions.default("augment.flip", True, "boxes are mirrored with their objects")
    decisions.default("augment.cutout", 0, "it would hide objects that are asked for")
    if decisions.recipe.budget.minutes is None:
        shown = SHOWN if card else 2 * SHOWN
        epochs = min(EPOCHS[1], max(EPOCHS[0], round(shown / max(images, 1))))
        decisions.default("budget.epochs", epochs, f"about {shown:,} images in all")
    decisions.default("schedule.warmup", 0.04, "the usual value for detectors")
    decisions.default("augment.test_views", "single", "boxes of several views are not averaged")


def _side(sides: Any) -> tuple[int, str]:
    longest = float(np.median(sides.max(axis=1)))
    size = min(LARGEST, STEP * math.ceil(longest / STEP))
    return size, f"the median longer side is {longest:g} pixels"
