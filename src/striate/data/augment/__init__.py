"""Live changes of training images and averaged views of test images (D2)."""

from striate.data.augment.common import About, Moved, move_boxes, move_points
from striate.data.augment.family import (
    AUGMENTATIONS,
    Augmentation,
    Batch,
    Pipeline,
    centre,
    variants,
)
from striate.data.augment.views import VIEWS, views_of

__all__ = [
    "AUGMENTATIONS",
    "VIEWS",
    "About",
    "Augmentation",
    "Batch",
    "Moved",
    "Pipeline",
    "centre",
    "move_boxes",
    "move_points",
    "variants",
    "views_of",
]
