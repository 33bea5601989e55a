"""Laws that parts of your own must keep, each checked with one call (floor 8).

    from striate.testing import check_network
    check_network("mynets:tiny", image_size=16)

Every function raises AssertionError that says which law is broken and by how much, and returns the
laws that it checked. The members of Striate's own families are checked by the same functions.
"""

from striate.testing.augmentations import check_augmentation
from striate.testing.networks import check_network
from striate.testing.rules import check_schedule, check_update_rule
from striate.testing.targets import check_targets
from striate.testing.tasks import check_task
from striate.testing.trainings import check_resume

__all__ = [
    "check_augmentation",
    "check_network",
    "check_resume",
    "check_schedule",
    "check_targets",
    "check_task",
    "check_update_rule",
]
