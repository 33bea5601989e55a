"""`striate probe` and `striate transfer`: what trained weights are worth for a data set (M3)."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from striate.core import recipe_io
from striate.core.errors import RecipeError
from striate.core.files import write_json
from striate.core.recipe import Recipe
from striate.core.records import Note, Record
from striate.core.strict_json import finite
from striate.models.network import Network
from striate.models.pretrained.catalogue import IMAGENET_TAG, NONE
from striate.plan.keep import ADVICE
from striate.plan.prepare import Prepared, prepare, requested, source_of
from striate.plan.refuse import check_used
from striate.training.log import drained
from striate.transfer.advisor import Advice, advise
from striate.transfer.probe import Probe, leep_of, probe_stages

MINUTES = 3.0
"""What a run keeps of the advice that it followed."""


@dataclass(frozen=True)
class Probes:
    """Probes of all stages and pairs of stages of some weights. score: the name of the task's main
    score; leep: of the weights' own classes (`striate.transfer.scores.leep`), None where they have
    none."""

    weights: str
    score: str
    images: int
    classes: int
    probes: tuple[Probe, ...]
    leep: float | None

    @property
    def best(self) -> Probe:
        """The one with the highest score."""
        return max(self.probes, key=lambda probe: probe.score)


def probe(
    data: Any = None, *, recipe: Recipe | str | Path | None = None, pairs: bool = True, **knobs: Any
) -> Probes:
    """Fit linear classifiers to the features of every stage of trained weights (M3), judged by
    cross-validation on training images. Takes what `train` takes; writes nothing.

    pairs: also of each pair of stages. Raises ModelError for weights that are not here.
    """
    return drained(stream_probe(data, recipe=recipe, pairs=pairs, **knobs))


def stream_probe(
    data: Any = None, *, recipe: Recipe | str | Path | None = None, pairs: bool = True, **knobs: Any
) -> Generator[Note | Probe, None, Probes]:
    """`probe` as it goes: what preparing says, then each probe; returns all."""
    wanted = requested(data, recipe, knobs)
    source = source_of(data, wanted)
    plain = {
        "model.head": "random", "model.kept_views": 0, "data.workers": 1, "augment.flip": False,
        "augment.crop": "none", "budget.epochs": 1, "budget.minutes": None,
    }  # fmt: skip
    prepared = yield from _prepared(_weighted(wanted), source, plain)
    net = prepared.fresh().net
    assert isinstance(net, Network)
    found = []
    for one in probe_stages(prepared, net, pairs=pairs):
        found.append(one)
        yield one
    if not found:
        raise RecipeError(
            f"loss.name: {prepared.settled.loss} has no linear classifier",
            "Leave --loss out: the usual one has.",
        )
    dataset = prepared.data.dataset
    return Probes(
        weights=prepared.settled.weights,
        score=prepared.task.main_score,
        images=len(dataset.splits["train"]),
        classes=len(dataset.classes),
        probes=tuple(found),
        leep=leep_of(prepared),
    )


def advise_transfer(
    data: Any = None,
    *,
    recipe: Recipe | str | Path | None = None,
    minutes: float = MINUTES,
    **knobs: Any,
) -> Advice:
    """Measure on the images themselves how a network should be transferred to them: the head only,
    its last stages, all of it, or not at all (M3). Takes what `train` takes; writes nothing.

    minutes: about how long to measure. The advice's `knobs` are those to train with.
    """
    return drained(stream_advice(data, recipe=recipe, minutes=minutes, **knobs))


def stream_advice(
    data: Any = None,
    *,
    recipe: Recipe | str | Path | None = None,
    minutes: float = MINUTES,
    **knobs: Any,
) -> Generator[Record, None, Advice]:
    """`advise_transfer` as records; returns the advice."""
    began = time.perf_counter()
    wanted = requested(data, recipe, knobs)
    if wanted.model.freeze != "auto":
        raise RecipeError(
            "model.freeze: what is frozen is what the advisor finds out", "Leave --freeze out."
        )
    source = source_of(data, wanted)
    started = yield from _prepared(_weighted(wanted), source, {})

    def anew() -> Generator[Record, None, Prepared]:
        scratch = recipe_io.with_overrides(
            wanted,
            {
                "model.weights": NONE, "model.name": "auto", "model.head": "auto",
                "model.freeze_norm": "auto", "optim.backbone_rate": "auto",
                "optim.layer_decay": 1.0,
            },
        )  # fmt: skip
        return (yield from _prepared(scratch, source, {}))

    seconds = 60 * minutes - (time.perf_counter() - began)
    return (yield from advise(started, anew, max(10.0, seconds)))


def keep_advice(run: Path, advice: Advice) -> None:
    """Write advice.json into a run directory."""
    write_json(run / ADVICE, finite(advice.to_json()))


def _weighted(wanted: Recipe) -> Recipe:
    """The recipe with weights to start from: ImageNet's where it names none."""
    if wanted.model.weights in ("auto", NONE):
        return recipe_io.set_knob(wanted, "model.weights", IMAGENET_TAG)
    return wanted


def _prepared(wanted: Recipe, source: Any, knobs: dict[str, Any]) -> Generator[Any, None, Prepared]:
    recipe = recipe_io.with_overrides(wanted, knobs)
    check_used(recipe)
    prepared, _ = yield from prepare(recipe, source, time.perf_counter())
    return prepared
