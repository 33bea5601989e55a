"""What can be done with a run: evaluate it on any data, predict with it, report on it."""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from striate.api.evaluating import Robustness
from striate.core.errors import RecipeError, RunError, perhaps
from striate.core.recipe import Recipe
from striate.core.records import Finished
from striate.core.run import ADOPTED, AVERAGES, RunDirectory
from striate.core.runtime import Runtime, usable_cores
from striate.data.augment import VIEWS
from striate.data.corruptions import CORRUPTIONS, STRENGTHS, Corrupted
from striate.data.dataset import Dataset
from striate.data.loader import Store, SubStore, spread
from striate.explain.sample import Sample, sample_of
from striate.plan.keep import CALIBRATION, write_calibration
from striate.plan.predictor import Predictor, runtime_of, trained_network
from striate.plan.recall import settled_recipe
from striate.plan.reopen import Accepting, Reopening
from striate.plan.settled import Settled, settled_of, task_of
from striate.plan.tiles import found_in_tiles
from striate.report.facts import FORMS, REPORTED, ReportInputs, facts_of
from striate.tasks.classify.answer import Prediction
from striate.tasks.detect.answer import SURE, answer_of, answers_of
from striate.tasks.detect.task import DetectTask
from striate.tasks.evaluation import Evaluation
from striate.tasks.task import Scored, Task
from striate.training.inference import traits_of

__all__ = ["Prediction", "Run"]


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
    def settled(self) -> Settled:
        """The settled recipe as plain values."""
        return settled_of(self.recipe)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class map, fixed by the training split."""
        return self._reopening.classes

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
    def task(self) -> Task:
        return task_of(self.recipe, self._reopening.kind)

    @cached_property
    def network(self) -> nn.Module:
        """The network with the best validation score: uint8 (N, H, W, C) → logits.

        Raises RunError if no checkpoint is sound.
        """
        net = trained_network(self, self.settled, self.task, len(self.classes))
        return net.to(self._runtime.device)

    @property
    def predictor(self) -> Predictor:
        """The network with what its outputs mean, as `predict` uses it."""
        return Predictor(
            self.network, self.task, self.classes, self.size, self._runtime,
            self.settled.test_views, self.temperature,
        )  # fmt: skip

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
        chosen = self._views(views)
        opened = self._reopening.split(data, split, accepting=Accepting(skip_bad, allow))
        notes = tuple(f.text for f in opened.dataset.findings if f.verdict != "pass")
        if data is not None:
            notes += _leaked(self._reopening.trained_on(opened.survey), len(opened.survey))
        known = traits_of(opened.store, opened.survey.sides, usable_cores()) if traits else {}
        found = self.predictor.with_views(chosen).evaluate(
            opened.store, opened.split.targets, opened.scored
        )
        return found.with_notes(notes, known)

    def robustness(
        self,
        data: Any = None,
        *,
        split: str | None = None,
        images: int = 1000,
        skip_bad: bool = False,
        allow: tuple[str, ...] = (),
    ) -> Robustness:
        """Scores of corrupted images: each corruption at each strength, on at most `images` images
        from all over the split, in a single view. Raises what `evaluate` raises, and RunError where
        the task's score is not a mean over images."""
        opened = self._reopening.split(data, split, accepting=Accepting(skip_bad, allow))
        ids = spread(len(opened.split), images)
        some, targets = SubStore(opened.store, ids), opened.split.targets.take(ids)
        predictor = self.predictor.with_views("single")
        scored = Scored(opened.name, self.classes, tuple(map(str, ids.tolist())))

        def right(store: Store) -> NDArray[np.float64]:
            each = predictor.evaluate(store, targets, scored).contributions()
            if each is None:
                raise RunError(f"{self.task.main_score} is not a mean over images: no robustness")
            return each

        each = {
            (corruption, strength): right(Corrupted(some, corruption, strength))
            for corruption in CORRUPTIONS
            for strength in STRENGTHS
        }
        return Robustness(opened.name, right(some), each)

    def sample(
        self,
        data: Any = None,
        *,
        split: str | None = None,
        images: int | None = None,
        skip_bad: bool = False,
        allow: tuple[str, ...] = (),
    ) -> Sample:
        """At most `images` images from all over a split, as the network sees them, with their
        classes. Raises what `evaluate` raises."""
        opened = self._reopening.split(data, split, images, Accepting(skip_bad, allow))
        return sample_of(opened.name, opened.split, opened.store, self.size, images)

    def pictures(self, paths: Any) -> Sample:
        """Images as `predict` takes them, as the network sees them; their classes are not known."""
        opened = self._reopening.pictures(paths)
        return Sample("images", opened.scored.names, None, opened.store, self.size)

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
        write_calibration(self, after.calibrated(after.fitted_temperature()))
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
        inputs = ReportInputs(found, self.sample(split=found.split), train, self.predictor)
        return FORMS[form](facts_of(self, self.recipe, inputs))

    @property
    def shown_split(self) -> str | None:
        """What reports and explanations look at: the split that was scored at the end; before it,
        and where test is kept for later (`data.score_test`), validation."""
        if (self.path / "scores.json").is_file():
            return str(self.read_json("scores.json").get("split", "test"))
        return "val" if self.finished is None or not self.recipe.data.score_test else None

    def predict(
        self, paths: Any, *, top: int = 1, skip_bad: bool = False, allow: tuple[str, ...] = (),
        least: float | None = None, tiles: int | None = None,
    ) -> list[Any]:  # fmt: skip
        """What the network says of images: paths of files, folders and archives, or arrays
        (H, W[, C]) uint8. Of classification a `Prediction` each, of detection a `BoxAnswer`.

        least, tiles: of detection, the score from which on objects are named (0.3), and in how many
        parts each way large pictures are looked at beside the whole (1: only that).
        Raises DataError that names every image that cannot be used; with `skip_bad` they are left
        out with a warning. Raises RunError where `least` or `tiles` is given and the run finds no
        boxes.
        """
        boxes = isinstance(self.task, DetectTask)
        if not boxes and (least is not None or tiles is not None):
            raise RunError(
                f"{self.path} was trained to {self.task.name}: there are no boxes, so no tiles and "
                "no least score of one",
                "--top N names more classes.",
            )
        opened = self._reopening.pictures(paths, Accepting(skip_bad, allow))
        for finding in opened.dataset.findings:
            warnings.warn(finding.text, stacklevel=2)
        if not boxes:
            return list(self.predictor.answers(opened.store, opened.scored.names, top))
        names, score = opened.scored.names, SURE if least is None else least
        if tiles is None or tiles < 2:
            scored = Scored("images", self.classes, names)
            return list(answers_of(self.predictor.predictions(opened.store), scored, score))
        images = opened.dataset.splits[opened.name].images
        found = found_in_tiles(self.predictor, images, self.settled.shape, tiles)
        return [
            answer_of(name, each, self.classes, score)
            for name, each in zip(names, found, strict=True)
        ]

    def own_data(self) -> Dataset:
        """The run's own data as it was used, with its splits. Raises RunError and DataError."""
        return self._reopening.own_data()

    @property
    def size(self) -> int:
        """The side of the network's input in pixels."""
        return self.settled.image_size

    @property
    def _reopening(self) -> Reopening:
        return Reopening(self, self.recipe, self.data)

    @cached_property
    def _runtime(self) -> Runtime:
        return runtime_of(self.settled)

    def _views(self, wanted: str) -> str:
        """What was asked for, or the recipe's. Raises RecipeError for what cannot be had."""
        if not wanted:
            return self.settled.test_views
        if wanted not in VIEWS:
            raise RecipeError(f"no test views '{wanted}'", perhaps(wanted, VIEWS))
        if wanted == "ten_crop" and self.settled.stored_size <= self.size:
            raise RecipeError(
                f"ten_crop needs images larger than the network's {self.size} pixels",
                "This run was trained on images of just that size: try flip_shift.",
            )
        return wanted


def _leaked(seen: int, images: int) -> tuple[str, ...]:
    """A warning if images of other data are training images of the run."""
    if not seen:
        return ()
    return (
        f"warning: {seen:,} of these {images:,} images were trained on, so the scores are too "
        "good. If these are the run's own data, moved: name them with --moved instead.",
    )
