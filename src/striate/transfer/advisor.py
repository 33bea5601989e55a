"""How should a network be transferred to these images? Measured on the images themselves.

Linear probes say what the weights' features are worth; short trainings say what learning more of
the network gains, which no probe foresees; a short training from scratch says whether the weights
are needed. The lectures' table (M3) is said beside it. "Undetermined" is one of the answers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from striate.core import recipe_io
from striate.core.findings import Finding
from striate.core.records import Note, Record
from striate.models.network import Network
from striate.models.stages import stages_of
from striate.plan.prepare import Prepared
from striate.transfer.probe import Probe, probe_stages
from striate.transfer.table import Advised, table_says
from striate.transfer.trial import Trial, try_training

SURE = 1.96
"""Standard errors of a paired difference from which on a choice is sure."""


class Way(NamedTuple):
    """A way to transfer: in words, and as knobs; `freeze` of the stages before the head."""

    words: str
    knobs: Mapping[str, Any]


USUAL = "last"
WAYS = {
    "last": Way("training the last stages", {"model.freeze": 2}),
    "head": Way("training the head only", {"model.freeze": "backbone"}),
    "all": Way("training all stages", {"model.freeze": 0}),
    "scratch": Way("training from scratch", {"model.weights": "none"}),
}
"""The ways that are compared. Where too little is known the first one is taken, which was the best
or next to it most often (docs/transfer.md); of fewer than FEW images a class that are like the
weights' own the head, as the lectures say."""
FEW = 30


@dataclass(frozen=True)
class Advice:
    """Which member of WAYS, and what it rests on.

    knobs: what to set for it; trials: by way; probes: of each stage; table: what M3 says, None
    where it says nothing; predicted, interval: the main score that the whole training should reach
    on new images; finding: the verdict, `pass` where it is sure.
    """

    way: str
    knobs: Mapping[str, Any]
    score_name: str
    predicted: float
    interval: tuple[float, float]
    trials: Mapping[str, Trial]
    probes: tuple[Probe, ...]
    table: Advised | None
    finding: Finding

    def to_json(self) -> dict[str, Any]:
        trials = {
            name: {k: v for k, v in asdict(trial).items() if k != "each"}
            for name, trial in self.trials.items()
        }
        return {
            "way": self.way, "knobs": dict(self.knobs), "score": self.score_name,
            "predicted": self.predicted, "interval": self.interval, "trials": trials,
            "probes": [probe.to_json() for probe in self.probes],
            "table": self.table and asdict(self.table), "finding": asdict(self.finding),
        }  # fmt: skip


def advise(
    started: Prepared, anew: Callable[[], Generator[Record, None, Prepared]], seconds: float
) -> Generator[Record, None, Advice]:
    """Measure within about `seconds`. started: the training from weights; anew: prepares the one
    from scratch."""
    until = time.perf_counter() + seconds
    task, name = started.task, started.task.main_score.replace("_", " ")
    net = started.fresh().net
    assert isinstance(net, Network)
    probes = []
    for probe in probe_stages(started, net, pairs=False):
        probes.append(probe)
        yield Note("info", said_of_probe(probe, name))
    trials: dict[str, Trial] = {}
    knobs = _knobs(started, net)
    for number, (key, way) in enumerate(WAYS.items()):
        left = until - time.perf_counter()
        if key == "scratch":
            prepared = yield from anew()
        else:
            prepared = _as(started, knobs[key])
        trials[key] = try_training(prepared, max(1.0, left / (len(WAYS) - number)))
        yield Note("info", said_of_trial(way, trials[key], name))
    targets = started.data.dataset.splits["train"].targets
    chance, classes = task.chance_score(targets), len(started.data.dataset.classes)
    table = None
    if probes and chance is not None:
        table = table_says(len(targets), classes, probes[-1].score, chance)
    few = table is not None and table.alike and len(targets) < FEW * classes
    usual = "head" if few and trials["head"].images else USUAL
    chosen, finding = _verdict(trials, name, table, usual)
    yield Note("info", finding.text)
    best = trials[chosen]
    return Advice(
        chosen, knobs[chosen], task.main_score, best.predicted, best.interval, trials,
        tuple(probes), table, finding,
    )  # fmt: skip


def said_of_probe(probe: Probe, name: str) -> str:
    """A line: what a stage's features are worth."""
    low, high = probe.interval
    stages = " and ".join(probe.stages)
    return (
        f"{stages}: a linear classifier has {name} {probe.score:.3f} ({low:.3f} to {high:.3f}), "
        f"nearest neighbours {probe.neighbours:.3f}"
    )


def said_of_trial(way: Way, trial: Trial, name: str) -> str:
    """A line: what a way would reach."""
    if not trial.images:
        return f"{way.words}: the loss was not finite"
    low, high = trial.interval
    share = "" if trial.done >= 1 else f", expected from {trial.done:.0%} of the training"
    return (
        f"{way.words}: {name} {trial.predicted:.3f} ({low:.3f} to {high:.3f}) on {trial.images} "
        f"held-out images{share}; {trial.seconds:.0f} s"
    )


def _knobs(started: Prepared, net: Network) -> dict[str, dict[str, Any]]:
    """What each way sets; of a network with few stages the last half is "the last stages"."""
    shape = started.settled.architecture
    count = len(stages_of(net.backbone, shape.channels, shape.image_size)) - 1
    weights = {"model.weights": started.recipe.model.weights}
    found = {key: {**weights, **way.knobs} for key, way in WAYS.items()}
    found["last"]["model.freeze"] = min(2, count // 2)
    return found


def _as(started: Prepared, knobs: Mapping[str, Any]) -> Prepared:
    """The same training with other parts frozen."""
    views = 0 if knobs.get("model.freeze") == 0 else started.recipe.model.kept_views
    recipe = recipe_io.with_overrides(started.recipe, {**knobs, "model.kept_views": views})
    return replace(started, recipe=recipe)


def _verdict(
    trials: Mapping[str, Trial], name: str, table: Advised | None, usual: str = USUAL
) -> tuple[str, Finding]:
    """The way to take, and how sure that is. usual: what is taken where nothing else is known."""
    ranked = sorted(trials, key=lambda key: -trials[key].predicted)
    best = ranked[0]
    rival = next(key for key in ranked if key != best)
    way = best
    if best != usual:
        gain, error = _difference(trials[best], trials[usual])
        if not gain > error:
            way = usual
    gain, error = _difference(trials[best], trials[rival])
    sure = way == best and gain > SURE * error
    words, other = WAYS[way].words, WAYS[rival if way == best else best].words
    if sure:
        text = f"{words} is best: {gain:+.3f} {name} over {other}, ± {SURE * error:.3f}"
    else:
        text = (
            f"undetermined: {words} and {other} differ by {abs(gain):.3f} ± {SURE * error:.3f} "
            f"{name}; {words} is taken"
        )
    if table is not None:
        agrees = "agrees" if table.way == way else "does not agree"
        text += f". The lectures' table (M3): {table.words}. The measurement {agrees}"
    evidence = {
        "predicted": {key: trial.predicted for key, trial in trials.items()},
        "gain": gain, "error": error, "rival": rival,
    }  # fmt: skip
    return way, Finding("transfer", "pass" if sure else "undetermined", text, evidence, source="M3")


def _difference(one: Trial, other: Trial) -> tuple[float, float]:
    """(by how much the first is expected to be better, the standard error of that) on the images
    that both judged."""
    gain = one.predicted - other.predicted
    if not one.images or not other.images:
        return gain, 0.0
    if one.each is None or other.each is None:
        halves = [(t.interval[1] - t.interval[0]) / 2 / SURE for t in (one, other)]
        return gain, math.hypot(*halves)
    count = min(len(one.each), len(other.each))
    apart = one.each[:count] - other.each[:count]
    # images that both judge alike say little: never less than for two images of difference
    spread = max(float(apart.std()), math.sqrt(2 / count))
    far = abs(one.predicted - one.score) + abs(other.predicted - other.score)
    return gain, math.hypot(spread / math.sqrt(count), far / 2)


__all__ = ["USUAL", "WAYS", "Advice", "Way", "advise", "said_of_probe", "said_of_trial"]
