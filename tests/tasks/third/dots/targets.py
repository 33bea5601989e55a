"""The targets: a number of dots, and the place (x, y) of the first."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.core.geometry import move_points


@dataclass(frozen=True)
class Dots:
    """array: float64 (N, 3) of the number of dots, and x and y of the first in pixels."""

    kind: ClassVar[str] = "dots"
    described: ClassVar[str] = "a number of dots"
    fewest_classes: ClassVar[int] = 0
    placed: ClassVar[bool] = True

    array: np.ndarray

    def __len__(self):
        return len(self.array)

    def take(self, ids):
        return Dots(self.array[ids])

    def moved(self, matrices, size):
        places = move_points(self.array[:, None, 1:], matrices)[:, 0]
        return Dots(np.concatenate([self.array[:, :1], places], axis=1))

    def with_more(self, others):
        return Dots(np.concatenate([self.array, *(other.array for other in others)]))

    def renumbered(self, numbers, classes):
        return self

    def of(self, index):
        return ()

    def having(self, number):
        return np.zeros(len(self), dtype=np.bool_)

    def counts(self, classes):
        return np.zeros(classes, dtype=np.int64)

    def labelled(self):
        return len(self)

    def strata(self):
        return self.array[:, 0].astype(np.int64)

    def balanced(self):
        return np.ones(len(self))

    def digest(self, index):
        return self.array[index].tobytes()

    def facts(self):
        return {"targets": self.kind}
