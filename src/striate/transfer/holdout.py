"""Training images held out for a trial: the validation split of small sets is too small to choose
by."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from striate.core.arrays import Floats, Ids, Pixels
from striate.core.randomness import permutation
from striate.data.loader import Store
from striate.data.targets import Targets
from striate.plan.data import PreparedData
from striate.plan.prepare import Prepared

FOLDS = 3
ENOUGH = 300
"""With this number of validation images these are used, and nothing is held out."""


@dataclass(frozen=True)
class Selected:
    """Some rows of a store, as a store."""

    store: Store
    rows: Ids

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def threads(self) -> int | None:
        return self.store.threads

    def load(self, ids: Ids) -> Pixels:
        return self.store.load(self.rows[ids])

    def matrices(self, ids: Ids) -> Floats:
        return self.store.matrices(self.rows[ids])


def held_out(prepared: Prepared) -> list[Prepared]:
    """The same training on parts of its training images, each time with another third as validation
    images; the training itself where it has ENOUGH of these. The head that was fitted to all
    training images is forgotten."""
    start = prepared.start and replace(prepared.start, heads={}, kept={})
    whole = replace(prepared, start=start)
    if len(prepared.data.stores["val"]) >= ENOUGH:
        return [whole]
    train = prepared.data.dataset.splits["train"]
    folds = thirds(train.targets, prepared.settled.seed)
    return [
        replace(
            whole,
            data=_divided(prepared.data, fold),
            start=start and replace(start, heads={}, kept={}),
        )
        for fold in folds
    ]


def thirds(targets: Targets, seed: int) -> list[Ids]:
    """FOLDS parts of the images, each with its share of every class."""
    order = permutation(seed, 0, "held out", len(targets))
    order = order[np.argsort(targets.strata()[order], kind="stable")]
    return [np.sort(order[first::FOLDS]) for first in range(FOLDS)]


def _divided(data: PreparedData, held: Ids) -> PreparedData:
    """The data with some training images as validation images."""
    train, store = data.dataset.splits["train"], data.stores["train"]
    rest = np.setdiff1d(np.arange(len(train)), held)
    splits = {**data.dataset.splits, "train": train.take(rest), "val": train.take(held)}
    stores = {**data.stores, "train": Selected(store, rest), "val": Selected(store, held)}
    return replace(data, dataset=replace(data.dataset, splits=splits), stores=stores)
