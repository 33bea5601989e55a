"""Live changes of training images and averaged views of test images (D2)."""

from striate.data.augment.common import About, Moved
from striate.data.augment.family import (
    AUGMENTATIONS,
    Augmentation,
    Pipeline,
    centre,
    centring,
    variants,
)
from striate.data.augment.views import VIEWS, views_of

__all__ = [
    "AUGMENTATIONS",
    "VIEWS",
    "About",
    "Augmentation",
    "Moved",
    "Pipeline",
    "centre",
    "centring",
    "variants",
    "views_of",
]
