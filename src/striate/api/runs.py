"""What can be done with a run: evaluate it on any data, predict with it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from striate.api.evaluating import Robustness
from striate.api.keeping import CALIBRATION, write_calibration
from striate.api.looking import Asked
from striate.api.preparing import IN_MEMORY
from striate.api.reporting import FORMS, REPORTED, Looked, facts_of
from striate.api.sample import Sample, sample_of
from striate.api.session import keep_place, refuse_lost_data, settled_recipe, stream
from striate.api.session import resume as resume_stream
from striate.api.stopping import graceful_stop
from striate.core.errors import DataError, RecipeError, RunError, listing, perhaps
from striate.core.recipe import Recipe
from striate.core.recipe_io import set_knob
from striate.core.records import Finished, Record
from striate.core.run import ADOPTED, AVERAGES, RunDirectory
from striate.core.runtime import Runtime, choose_device, free_memory, usable_cores
from striate.data.augment import VIEWS
from striate.data.cache import open_cache
from striate.data.check.changes import read_registered
from striate.data.check.survey import Survey, fingerprint
from striate.data.corruptions import CORRUPTIONS, STRENGTHS, Corrupted
from striate.data.dataset import Dataset, Split, open_for_evaluation
from striate.data.loader import Store, SubStore, spread
from striate.data.read import Reader, positions_without, refuse_or_drop
from striate.data.sources.pictures import open_pictures
from striate.tasks.task import Task
from striate.training import checkpoints
from striate.training.averages import adopt
from striate.training.evaluate import (
    Evaluation,
    evaluate,
    fitted_temperature,
    outputs,
    right_answers,
    traits_of,
)
from striate.training.materials import (
    UNKNOWN,
    how_to_read,
    network_of,
    open_as,
    options_of,
    task_of,
)
from striate.training.resolve import store_size
from striate.training.state import load_weights


@dataclass(frozen=True)
class Prediction:
    """One image: its likeliest class with probability, and the `top` few.

    With several labels an image, `labels` are those above one half.
    """

    image: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    labels: tuple[str, ...] = ()
    scores: tuple[tuple[str, float], ...] = ()
    """Of all classes, the likeliest first."""


class Run(RunDirectory):
    """A training whole: its recipe, records and best network.

    `data`: what it was trained on, to evaluate it on its own splits: Python objects, which a run
    cannot keep, or the place of data that were moved since.
    """

    def __init__(self, path: str | Path, data: Any = None) -> None:
        super().__init__(path)
        self.data = data

    @cached_property
    def recipe(self) -> Recipe:
        """The settled recipe."""
        return settled_recipe(self)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class map, fixed by the training split."""
        return tuple(self.read_json("dataset.json")["classes"])

    @cached_property
    def multi_label(self) -> bool:
        return bool(self.read_json("dataset.json")["multi_label"])

    @cached_property
    def finished(self) -> Finished | None:
        """The last record with the scores, None while the training is not done."""
        found = [record for record in self.records() if isinstance(record, Finished)]
        return found[-1] if found else None

    @cached_property
    def temperature(self) -> float:
        """What logits are divided by, chosen on validation images; 1 where a run has none."""
        known = (self.path / CALIBRATION).exists()
        return float(self.read_json(CALIBRATION)["temperature"]) if known else 1.0

    @cached_property
    def network(self) -> nn.Module:
        """The network with the best validation score: uint8 (N, H, W, C) → logits.

        Raises RunError if no checkpoint is sound.
        """
        chosen, faults = checkpoints.best(self.checkpoints)
        if chosen is None:
            reasons = "\n" + listing(faults) if faults else ""
            raise RunError(
                f"{self.path} has no usable checkpoint{reasons}",
                f"`striate resume {self.path}` continues a training that was cut off early.",
            )
        net = network_of(self.recipe, len(self.classes), None)
        load_weights(net, chosen.model())
        if (self.path / ADOPTED).is_file():
            adopt(net, checkpoints.read_tensors(self.path / ADOPTED))
        return net.to(self._runtime.device).eval()

    def evaluate(
        self,
        data: Any = None,
        *,
        split: str | None = None,
        skip_bad: bool = False,
        allow: tuple[str, ...] = (),
        traits: bool = False,
        views: str = "",
    ) -> Evaluation:
        """Scores on a split of the run's own data or of other data (its test split by default).

        views: average the outputs of these views of each image, `single`, `flip`, `shift`,
        `flip_shift` or `ten_crop`, instead of the recipe's (D2).
        Other data may have fewer classes than the run, never unknown ones. `traits`: also measure
        the images (size, brightness, contrast), for `striate.slices`. Raises DataError; and
        RunError if the run's own data is not what it was when training began.
        """
        self._views(views)
        chosen, store, found = self._opened(data, split, skip_bad=skip_bad, allow=allow)
        split, part = next(iter(chosen.splits.items()))
        scores, logits, losses = evaluate(
            self.network, store, part, self.task, size=self.size,
            runtime=self._runtime, views=self._views(views), threads=usable_cores(),
        )  # fmt: skip
        names = tuple(part.images.name(i) for i in range(len(part)))
        notes = tuple(f.text for f in chosen.findings if f.verdict != "pass")
        if data is not None:
            notes += self._trained_on(found)
        known = traits_of(store, found.sides, usable_cores()) if traits else {}
        return Evaluation(
            split, scores, self.classes, names, part.targets, logits, losses, self.task,
            1.0, notes, known,
        ).calibrated(self.temperature)  # fmt: skip

    def _trained_on(self, found: Survey) -> tuple[str, ...]:
        """A warning if images of other data are training images of this run."""
        path = self.path / "images.csv.gz"
        if not path.is_file():
            return ()
        rows = read_registered(path.read_bytes(), str(path))
        known = {row.content for row in rows if row.split == "train" and row.content}
        seen = sum(content.tobytes().hex() in known for content in found.contents)
        if not seen:
            return ()
        where = "If these are the run's own data, moved: name them with --moved instead."
        return (
            f"warning: {seen:,} of these {len(found):,} images were trained on, so the scores are "
            f"too good. {where}",
        )

    def robustness(
        self,
        data: Any = None,
        *,
        split: str | None = None,
        images: int = 1000,
        skip_bad: bool = False,
        allow: tuple[str, ...] = (),
    ) -> Robustness:
        """Scores of corrupted images: each corruption at each strength, on at most so many images
        from all over the split, in a single view. Raises what `evaluate` raises."""
        chosen, store, _ = self._opened(data, split, skip_bad=skip_bad, allow=allow)
        name, part = next(iter(chosen.splits.items()))
        ids = spread(len(part), images)
        some, targets = SubStore(store, ids), part.targets[ids]
        net, size, threads = self.network, self.size, usable_cores()

        def right(from_store: Store) -> NDArray[np.float64]:
            logits, _ = outputs(net, from_store, size=size, runtime=self._runtime, threads=threads)
            return right_answers(logits, targets)

        each = {
            (corruption, strength): right(Corrupted(some, corruption, strength))
            for corruption in CORRUPTIONS
            for strength in STRENGTHS
        }
        return Robustness(name, right(some), each)

    def sample(
        self,
        data: Any = None,
        *,
        split: str | None = None,
        images: int | None = None,
        skip_bad: bool = False,
        allow: tuple[str, ...] = (),
    ) -> Sample:
        """At most so many images from all over a split, as the network sees them, with their
        classes. Raises what `evaluate` raises."""
        chosen, store, _ = self._opened(data, split, images, skip_bad=skip_bad, allow=allow)
        name, part = next(iter(chosen.splits.items()))
        return sample_of(name, part, store, self.size, images)

    def pictures(self, paths: Any) -> Sample:
        """Images as `predict` takes them, as the network sees them; their classes are not known."""
        kept, store = self._pictures(paths, skip_bad=False, allow=())
        images = kept.splits["all"].images
        names = tuple(images.name(i) for i in range(len(images)))
        return Sample("images", names, None, store, self.size)

    @property
    def asked(self) -> Asked:
        """The network with what its logits mean, to look inside."""
        return Asked(
            self.network, self.classes, lambda x: self.task.probabilities(x / self.temperature)
        )

    def adopt_averages(self) -> tuple[float, float]:
        """Answer from now on with the averages of batch norm that were estimated anew at the end of
        the training; returns the main validation score before and after. Raises RunError where
        none were offered."""
        offered = self.path / AVERAGES
        if not offered.is_file():
            raise RunError(
                f"{self.path} has no averages that were estimated anew",
                "A training makes them where its running averages of batch norm do not fit.",
            )
        before = self.evaluate(split="val")
        offered.replace(self.path / ADOPTED)
        self.__dict__.pop("network", None)
        after = self.evaluate(split="val")
        write_calibration(self, after.calibrated(fitted_temperature(after)))
        self.__dict__.pop("temperature", None)
        main = self.task.main_score
        return before.scores[main], after.scores[main]

    def report(
        self, form: str = "html", *, split: str | None = None, files_only: bool = False
    ) -> str:
        """What was trained on what, how, how good it is, where it fails, and what it learnt.

        form: `html`, one page with all its pictures inside; `md`, a model card; `json`, plain
        values. split: the one that the training scored last by default. files_only: without
        images, what the run's own files know. Raises DataError and RunError where the data cannot
        be read.
        """
        if form not in FORMS:
            raise RunError(f"no form of report '{form}'", perhaps(form, FORMS))
        if files_only:
            why = "only the files of the run were read"
            return FORMS[form](facts_of(self, self.recipe, None, why=why))
        found = self.evaluate(split=split or self.shown_split)
        train = self.sample(split="train", images=REPORTED)
        looked = Looked(found, self.sample(split=found.split), train, self.asked)
        return FORMS[form](facts_of(self, self.recipe, looked))

    @property
    def shown_split(self) -> str | None:
        """What reports and explanations look at: the split that was scored at the end; before it,
        and where test is kept for later (`data.score_test`), validation."""
        if (self.path / "scores.json").is_file():
            return str(self.read_json("scores.json").get("split", "test"))
        return "val" if self.finished is None or not self.recipe.data.score_test else None

    def predict(
        self, paths: Any, *, top: int = 1, skip_bad: bool = False, allow: tuple[str, ...] = ()
    ) -> list[Prediction]:
        """Classes of images: paths of files, folders and archives, or arrays (H, W[, C]) uint8.

        Raises DataError that names every image that cannot be used; with `skip_bad` they are left
        out with a warning.
        """
        kept, store = self._pictures(paths, skip_bad=skip_bad, allow=allow)
        for finding in kept.findings:
            warnings.warn(finding.text, stacklevel=2)
        logits, _ = outputs(
            self.network, store, size=self.size, runtime=self._runtime,
            views=self.recipe.augment.test_views, threads=usable_cores(),
        )  # fmt: skip
        shares = self.task.probabilities(logits / np.float32(self.temperature))
        images = kept.splits["all"].images
        return [self._prediction(images.name(i), row, top) for i, row in enumerate(shares)]

    def _pictures(
        self, paths: Any, *, skip_bad: bool, allow: tuple[str, ...]
    ) -> tuple[Dataset, Store]:
        several = isinstance(paths, Sequence) and not isinstance(paths, str)
        images = open_pictures(list(paths) if several else [paths])
        empty = Split(images, np.zeros(len(images), dtype=np.int64))
        dataset = Dataset("prediction", self.classes, False, {"all": empty}, {"all": "given"})
        kept, store, _ = self._read(dataset, "all", skip_bad=skip_bad, allow=allow)
        return kept, store

    def _prediction(self, name: str, shares: Any, top: int) -> Prediction:
        order = np.argsort(-shares, kind="stable")
        scores = tuple((self.classes[i], float(shares[i])) for i in order)
        above = np.flatnonzero(shares > 0.5) if self.multi_label else order[:1]
        labels = tuple(self.classes[i] for i in above)
        ranked = scores[: max(1, top)]
        return Prediction(name, ranked[0][0], ranked[0][1], ranked, labels, scores)

    def _opened(
        self,
        data: Any,
        split: str | None,
        images: int | None = None,
        *,
        skip_bad: bool,
        allow: tuple[str, ...],
    ) -> tuple[Dataset, Store, Survey]:
        """One split of the run's own or of other data, or so many images from all over it; a whole
        split of its own must be what it was."""
        dataset = self.own_data() if data is None else self._other_data(data)
        if split is None:
            split = "test" if "test" in dataset.splits else next(iter(dataset.splits))
        if split not in dataset.splits:
            raise DataError(
                f"{dataset.source} has no {split} split", perhaps(split, dataset.splits)
            )
        whole = dataset.splits[split]
        few = images is not None and images < len(whole)
        part = whole.take(spread(len(whole), images or 0)) if few else whole
        chosen = replace(dataset, splits={split: part})
        chosen, store, found = self._read(chosen, split, skip_bad=skip_bad, allow=allow)
        if data is None and not few:
            self._refuse_changed(chosen, split, found)
            if isinstance(self.data, str | Path):
                keep_place(self, self.data)
        return chosen, store, found

    def own_data(self) -> Dataset:
        """The run's own data as it was used, with its splits. Raises RunError and DataError."""
        data = self.recipe.data
        if data.source == IN_MEMORY and self.data is None:
            raise RunError(
                f"{self.path} was trained on Python objects, which a run cannot keep",
                "Give the data to evaluate on, or those objects: striate.Run(path, data).",
            )
        source = data.source if self.data is None else self.data
        refuse_lost_data(self, source, f"--moved DATA, or in Python striate.Run({self.path}, data)")
        return self._as_used(open_as(set_knob(self.recipe, "data.exclude", ""), source))

    def _as_used(self, dataset: Dataset) -> Dataset:
        """Only the images that the run used: others were bad, excluded, or copies."""
        path = self.path / "images.csv.gz"
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

    def _other_data(self, data: Any) -> Dataset:
        options = options_of(self.recipe)
        return open_for_evaluation(data, self.classes, self.multi_label, options)

    def _refuse_changed(self, dataset: Dataset, split: str, found: Survey) -> None:
        """Other images in a split would be scored under a false name, training images even."""
        known = self.read_json("dataset.json")["splits"].get(split, {}).get("fingerprint")
        if known == UNKNOWN:
            return
        same = dataset.classes == self.classes
        targets = dataset.splits[split].targets
        if not same or fingerprint(found.contents, targets, split) != known:
            raise RunError(
                f"the {split} images of {dataset.source} changed since {self.path} was trained",
                f"Restore them, or name the data to evaluate on: striate evaluate {self.path} DATA",
            )

    def _read(
        self, dataset: Dataset, name: str, *, skip_bad: bool, allow: tuple[str, ...]
    ) -> tuple[Dataset, Store, Survey]:
        """Decode one split by the run's policy; unusable images are refused or dropped."""
        data, images = self.recipe.data, dataset.splits[name].images
        how = how_to_read(self.recipe)
        fits = len(images) * how.size**2 * how.channels <= free_memory() // 4
        cache = open_cache(None if data.cache_mb == "auto" else data.cache_mb)
        reader = Reader(how, cache, fits, "full", (*data.allow, *allow))
        found, pixels = reader.read(images)
        skip, faults = skip_bad or data.skip_bad, {name: found.faults}
        kept, bad = refuse_or_drop(dataset, faults, skip_bad=skip, whole=False)
        if bad:
            kept = replace(kept, findings=(*kept.findings, bad))
        places = positions_without(len(images), found.faults)
        if not len(places):
            raise DataError(f"{dataset.source}: no image is left in its {name} split")
        return kept, reader.store(images, pixels, places, again=False), found.take(places)

    def _views(self, asked: str) -> str:
        """What was asked, or the recipe's. Raises RecipeError early for what cannot be had."""
        if not asked:
            return self.recipe.augment.test_views
        if asked not in VIEWS:
            raise RecipeError(f"no test views '{asked}'", perhaps(asked, VIEWS))
        if asked == "ten_crop" and store_size(self.recipe) <= self.size:
            raise RecipeError(
                f"ten_crop needs images larger than the network's {self.size} pixels",
                "This run was trained on images of just that size: try flip_shift.",
            )
        return asked

    @cached_property
    def _runtime(self) -> Runtime:
        """The precision of the training where it ran on such a device, else float32."""
        device = choose_device("auto")
        same = self.recipe.device.device.partition(":")[0] == device.type
        return Runtime(device, self.recipe.device.precision if same else "float32")

    @cached_property
    def task(self) -> Task:
        return task_of(self.recipe, multi_label=self.multi_label)

    @property
    def size(self) -> int:
        """The side of the network's input in pixels."""
        size = self.recipe.data.image_size
        assert size != "auto"
        return size


def train(data: Any = None, **settings: Any) -> Run:
    """Train to the end and return the run; takes what `stream` takes.

    Ctrl-C finishes the step, saves, and raises KeyboardInterrupt; the run can be resumed.
    """
    with graceful_stop() as stop:
        return _drained(stream(data, stop=stop, **settings), data)


def resume(run: str | Path, **settings: Any) -> Run:
    """Continue a run to the end; takes what `striate.api.session.resume` takes."""
    with graceful_stop() as stop:
        return _drained(resume_stream(run, stop=stop, **settings), settings.get("data"))


def _drained(records: Iterator[Record], data: Any = None) -> Run:
    path, last = "", None
    for record in records:
        path, last = path or getattr(record, "run", ""), record
    if not isinstance(last, Finished):
        raise KeyboardInterrupt(f"stopped; continue with striate.resume({path!r})")
    return Run(path, None if isinstance(data, str | Path) else data)
