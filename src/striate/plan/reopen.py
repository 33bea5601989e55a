"""Opening images for a run that was trained: its own splits as they were, other data, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from striate.core.errors import DataError, RunError, perhaps
from striate.core.recipe import Recipe
from striate.core.recipe_io import set_knob
from striate.core.run import RunDirectory
from striate.core.runtime import free_memory
from striate.data.cache import open_cache
from striate.data.check.changes import read_registered
from striate.data.check.survey import Survey, fingerprint
from striate.data.dataset import Dataset, Split, open_for_evaluation
from striate.data.loader import Store, spread
from striate.data.read import SplitDecoder, positions_without, refuse_or_drop
from striate.data.sources.pictures import open_pictures
from striate.data.targets import Labels, blank, kind_in
from striate.plan.data import UNKNOWN, open_as, options_of
from striate.plan.prepare import IN_MEMORY
from striate.plan.recall import keep_place, refuse_lost_data
from striate.plan.settled import or_else, shape_of
from striate.tasks.task import Scored

_IMAGES = "images.csv.gz"


@dataclass(frozen=True)
class Opened:
    """One split, ready to be read: its data set (of this split only), store and survey."""

    dataset: Dataset
    name: str
    store: Store
    survey: Survey

    @property
    def split(self) -> Split:
        return self.dataset.splits[self.name]

    @property
    def scored(self) -> Scored:
        """Which images an evaluation of it is of."""
        images = self.split.images
        names = tuple(images.name(i) for i in range(len(images)))
        return Scored(self.name, self.dataset.classes, names)


@dataclass(frozen=True)
class Accepting:
    """What is accepted of images that are opened: bad ones (left out), named faults."""

    skip_bad: bool = False
    allow: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reopening:
    """A run as far as opening images for it goes.

    data: what it was trained on: Python objects, which a run cannot keep, or the place of data that
    were moved since; None: where its recipe says.
    """

    directory: RunDirectory
    recipe: Recipe
    data: Any = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The class map, fixed by the training split."""
        return tuple(self.directory.read_json("dataset.json")["classes"])

    @property
    def kind(self) -> str:
        """The kind of targets that it was trained on."""
        return kind_in(self.directory.read_json("dataset.json"))

    def split(
        self,
        data: Any = None,
        split: str | None = None,
        images: int | None = None,
        accepting: Accepting = Accepting(),
    ) -> Opened:
        """A split of the run's own or of other data, or `images` images from all over it; a whole
        split of its own must be what it was. Raises DataError, RunError."""
        dataset = self.own_data() if data is None else self.other_data(data)
        if split is None:
            split = "test" if "test" in dataset.splits else next(iter(dataset.splits))
        if split not in dataset.splits:
            raise DataError(
                f"{dataset.source} has no {split} split", perhaps(split, dataset.splits)
            )
        whole = dataset.splits[split]
        few = images is not None and images < len(whole)
        part = whole.take(spread(len(whole), images or 0)) if few else whole
        opened = self._read(replace(dataset, splits={split: part}), split, accepting)
        if data is None and not few:
            self._refuse_changed(opened)
            if isinstance(self.data, str | Path):
                keep_place(self.directory, self.data)
        return opened

    def pictures(self, paths: Any, accepting: Accepting = Accepting()) -> Opened:
        """Images of which nothing else is known: paths of files, folders and archives, or arrays
        (H, W[, C]) uint8. Raises DataError."""
        several = isinstance(paths, Sequence) and not isinstance(paths, str)
        images = open_pictures(list(paths) if several else [paths])
        unlabelled = Split(images, blank(len(images)))
        dataset = Dataset(
            "prediction", self.classes, Labels.kind, {"all": unlabelled}, {"all": "given"}
        )
        return self._read(dataset, "all", accepting)

    def own_data(self) -> Dataset:
        """The run's own data as it was used, with its splits. Raises RunError and DataError."""
        source = self.recipe.data.source if self.data is None else self.data
        path = self.directory.path
        if self.recipe.data.source == IN_MEMORY and self.data is None:
            raise RunError(
                f"{path} was trained on Python objects, which a run cannot keep",
                "Give the data to evaluate on, or those objects: striate.Run(path, data).",
            )
        how = f"--moved DATA, or in Python striate.Run({path}, data)"
        refuse_lost_data(self.directory, source, how)
        return self._as_used(open_as(set_knob(self.recipe, "data.exclude", ""), source))

    def other_data(self, data: Any) -> Dataset:
        """Other data under the run's class map. Raises DataError."""
        return open_for_evaluation(data, self.classes, self.kind, options_of(self.recipe))

    def trained_on(self, found: Survey) -> int:
        """How many of these images are training images of the run."""
        path = self.directory.path / _IMAGES
        if not path.is_file():
            return 0
        rows = read_registered(path.read_bytes(), str(path))
        known = {row.content for row in rows if row.split == "train" and row.content}
        return sum(content.tobytes().hex() in known for content in found.contents)

    def _as_used(self, dataset: Dataset) -> Dataset:
        """Only the images that the run used: others were bad, excluded, or copies."""
        path = self.directory.path / _IMAGES
        try:
            rows = read_registered(path.read_bytes(), str(path))
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}") from None
        used = {(row.split, row.key) for row in rows}
        splits = {}
        for name, split in dataset.splits.items():
            keys = (split.images.key(i) for i in range(len(split)))
            kept = [i for i, key in enumerate(keys) if (name, key) in used]
            splits[name] = split if len(kept) == len(split) else split.take(kept)
        return replace(dataset, splits=splits)

    def _refuse_changed(self, opened: Opened) -> None:
        """Other images in a split would be scored under a false name, training images even."""
        splits = self.directory.read_json("dataset.json")["splits"]
        known = splits.get(opened.name, {}).get("fingerprint")
        if known == UNKNOWN:
            return
        same = opened.dataset.classes == self.classes
        now = fingerprint(opened.survey.contents, opened.split.targets, opened.name)
        if not same or now != known:
            path = self.directory.path
            raise RunError(
                f"the {opened.name} images of {opened.dataset.source} changed since {path} was "
                "trained",
                f"Restore them, or name the data to evaluate on: striate evaluate {path} DATA",
            )

    def _read(self, dataset: Dataset, name: str, accepting: Accepting) -> Opened:
        """Decode one split by the run's policy; unusable images are refused or dropped."""
        data, images, shape = self.recipe.data, dataset.splits[name].images, shape_of(self.recipe)
        fits = len(images) * shape.size**2 * shape.channels <= free_memory() // 4
        cache = open_cache(or_else(data.cache_mb, None))
        decoder = SplitDecoder(shape, cache, fits, "full", (*data.allow, *accepting.allow))
        found, pixels = decoder.read(images)
        skip, faults = accepting.skip_bad or data.skip_bad, {name: found.faults}
        kept, bad = refuse_or_drop(dataset, faults, skip_bad=skip, whole=False)
        if bad:
            kept = replace(kept, findings=(*kept.findings, bad))
        places = positions_without(len(images), found.faults)
        if not len(places):
            raise DataError(f"{dataset.source}: no image is left in its {name} split")
        store = decoder.store(images, (found, pixels), places, again=False)
        return Opened(kept, name, store, found.take(places))
