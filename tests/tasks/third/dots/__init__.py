"""A task that Striate does not have: how many dots does an image show, and where is the first?

It proves the seam: this folder and one line in `striate.tasks.TASKS` are all that it takes.
"""

from dots.targets import Dots
from dots.task import ENTRY

__all__ = ["ENTRY", "Dots"]
