"""What augmentation makes of a data set's own images (D2)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from striate.core.arrays import Pixels
from striate.core.errors import DataError
from striate.core.randomness import permutation
from striate.core.recipe import Recipe
from striate.core.recipe_io import set_knob
from striate.data.augment import AUGMENTATIONS, PARTNERS, Pipeline, variants
from striate.data.dataset import Split
from striate.data.loader import FileStore
from striate.data.prepare import measure
from striate.data.sheet import Row, write_sheet
from striate.plan.auto import settle_augmentation, settle_network, settle_shape, settle_weights
from striate.plan.data import open_data
from striate.plan.decisions import Decisions
from striate.plan.job import about_of
from striate.plan.refuse import check_used
from striate.plan.settled import shape_of, stored_size, strengths_of
from striate.plan.weights import wanted_weights
from striate.training.log import drained

TYPICAL = {
    "window": 1, "pad": 4, "resized": 0.65, "rotate": 15, "affine": 0.1, "flip": 0.5,
    "vertical_flip": 0.5, "trivial": 1, "rand": 0.3, "brightness": 0.4, "contrast": 0.4,
    "saturation": 0.4, "hue": 0.1, "principal_colours": 0.1, "greyscale": 0.2, "blur": 2,
    "random_erasing": 0.5, "mixup": 0.4, "cutmix": 1.0, "mosaic": 1,
}  # fmt: skip
"""Strengths to show each member by; cutout's is a quarter of the side."""


@dataclass(frozen=True)
class Preview:
    """Strengths and numbers of variants by member, and of all together."""

    strengths: dict[str, float]
    counts: dict[str, float]
    total: float


def preview(recipe: Recipe, path: Path, *, each: bool, rows: int, columns: int) -> Preview:
    """Write the sheet: a row for each of some training images, the original first; with `each` a
    row for each member of the family. Flips left open count as chosen."""
    check_used(recipe)
    decisions = Decisions(recipe)
    dataset, headers = drained(open_data(decisions, recipe.data.source))
    settle_weights(decisions, headers, len(dataset.splits["train"]))
    weights = wanted_weights(decisions.recipe)
    card = None if weights is None else weights.card
    settle_network(decisions, card)
    settle_shape(decisions, headers, card)
    size = decisions.recipe.data.image_size
    if size == "auto":
        raise DataError(f"{dataset.source}: no image can be read", "`striate data check` says why.")
    settle_augmentation(decisions, lambda: (True, "not asked: shown"))
    strengths = strengths_of(decisions.recipe)
    if each:
        strengths = {n: TYPICAL.get(n, size // 4) for n in AUGMENTATIONS}
        decisions.recipe = set_knob(decisions.recipe, "augment.crop", "window")  # stored larger
    how, train = shape_of(decisions.recipe), dataset.splits["train"]
    store = FileStore(train.images, how)
    ids = permutation(recipe.seed, 0, "preview", len(train))[: max(rows, columns) * 20]
    about = about_of(size, measure([store.load(ids[:200])]))
    active = {name: float(strength) for name, strength in strengths.items() if strength > 0}
    draw = _by_member if each else _by_image
    sheet = draw(store, train, ids, Pipeline(recipe.seed, active, about), (rows, columns))
    write_sheet(path, sheet)
    stored = stored_size(decisions.recipe)
    counts = {name: variants({name: s}, stored, size) for name, s in active.items()}
    return Preview(active, counts, variants(active, stored, size))


def _by_image(
    store: FileStore, train: Split, ids: Any, pipe: Pipeline, shape: tuple[int, int]
) -> list[Row]:
    rows = []
    for i, partner in pairwise(ids[: shape[0] + 1]):
        tiles = [store.load(np.array([i]))[0]]
        tiles += [_once(store, pipe, int(i), int(partner), epoch) for epoch in range(shape[1])]
        rows.append(Row(Path(train.images.key(int(i))).name, "original, then variants", tiles))
    return rows


def _by_member(
    store: FileStore, _: Split, ids: Any, pipe: Pipeline, shape: tuple[int, int]
) -> list[Row]:
    rows, (i, partner) = [], (int(ids[0]), int(ids[1]))
    for name, strength in pipe.strengths.items():
        alone = Pipeline(pipe.seed, {name: strength}, pipe.about)
        tiles = [store.load(np.array([i]))[0]]
        tiles += [_once(store, alone, i, partner, epoch) for epoch in range(shape[1])]
        rows.append(Row(name, f"strength {strength:g}", tiles))
    return rows


def _once(store: FileStore, pipe: Pipeline, i: int, partner: int, epoch: int) -> Pixels:
    pair = np.array([partner, i])
    images = pipe(store.load(pair), pair, epoch)
    if pipe.strengths.get("mosaic", 0) > 0:
        others = np.repeat(images[None, :1], PARTNERS, axis=1)
        together: Pixels = pipe.joined(images[1:], pair[1:], others, epoch).images[0]
        return together
    if pipe.mixes:
        mixed: Pixels = pipe.mixed(images[1:], pair[1:], images[:1], epoch)[0][0]
        return mixed
    changed: Pixels = images[1]
    return changed
