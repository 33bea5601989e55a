"""Training images held out for a trial: the validation split of small sets is too small to choose
by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from striate.core.arrays import Ids
from striate.data.loader import SubStore
from striate.data.splits import stratified_folds
from striate.plan.data import PreparedData
from striate.plan.prepare import Prepared

FOLDS = 3
ENOUGH = 300
"""With this number of validation images these are used, and nothing is held out."""


def held_out(prepared: Prepared) -> list[Prepared]:
    """The same training on parts of its training images, each time with another third as validation
    images; the training itself where it has ENOUGH of these. The head that was fitted to all
    training images is forgotten."""
    start = prepared.start and replace(prepared.start, heads={}, kept={})
    whole = replace(prepared, start=start)
    if len(prepared.data.stores["val"]) >= ENOUGH:
        return [whole]
    train = prepared.data.dataset.splits["train"]
    folds = stratified_folds(train.targets.strata(), FOLDS, prepared.settled.seed)
    return [
        replace(
            whole,
            data=_divided(prepared.data, np.flatnonzero(folds == number)),
            start=start and replace(start, heads={}, kept={}),
        )
        for number in range(FOLDS)
    ]


def _divided(data: PreparedData, held: Ids) -> PreparedData:
    """The data with some training images as validation images."""
    train, store = data.dataset.splits["train"], data.stores["train"]
    rest = np.setdiff1d(np.arange(len(train)), held)
    splits = {**data.dataset.splits, "train": train.take(rest), "val": train.take(held)}
    stores = {**data.stores, "train": SubStore(store, rest), "val": SubStore(store, held)}
    return replace(data, dataset=replace(data.dataset, splits=splits), stores=stores)
