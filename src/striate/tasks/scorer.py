"""The scorer of tasks whose predictions fit into memory: it keeps them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Ids
from striate.tasks.task import Predictions

if TYPE_CHECKING:
    from striate.tasks.evaluation import Evaluation

_IDS = "ids"


class Collector:
    """Keeps predictions; `evaluate` (positions, predictions) → Evaluation is asked at the end."""

    def __init__(self, evaluate: Callable[[Ids, Predictions], Evaluation]) -> None:
        self.evaluate = evaluate
        self.parts: list[Mapping[str, NDArray[Any]]] = []

    def add(self, ids: Ids, predictions: Predictions) -> None:
        self.parts.append({_IDS: ids, **predictions})

    def arrays(self) -> dict[str, NDArray[Any]]:
        whole = dict(joined(self.parts))
        order = np.argsort(whole[_IDS], kind="stable")
        return {name: rows[order] for name, rows in whole.items()}

    def merge(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.parts.append(arrays)

    def result(self) -> Evaluation:
        whole = self.arrays()
        return self.evaluate(whole.pop(_IDS), whole)


def joined(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several parts in one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
