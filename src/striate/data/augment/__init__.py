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
from striate.data.augment.join import PARTNERS, Joined
from striate.data.augment.views import VIEWS, views_of

__all__ = [
    "AUGMENTATIONS",
    "PARTNERS",
    "VIEWS",
    "About",
    "Augmentation",
    "Joined",
    "Moved",
    "Pipeline",
    "centre",
    "centring",
    "variants",
    "views_of",
]
