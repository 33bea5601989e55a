"""A lab: a claim of the lectures, an experiment that can refute it, and what came out.

A lab measures figures for a seed. Its rules say which figures lead to which verdict, and a verdict
stands only if its rule holds for every seed; where none does, nothing is determined.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import StriateError, perhaps
from striate.labs.bench import Images, Share, Size, own_images
from striate.metrics.intervals import mean_interval
from striate.report.charts import Line

Verdict = Literal["confirmed", "conditional", "outdated", "wrong", "undetermined"]
VERDICTS: dict[Verdict, str] = {
    "confirmed": "it is as the lectures say",
    "conditional": "it is so under a condition that the lectures do not name",
    "outdated": "it was so; today's methods do better",
    "wrong": "it is not so",
    "undetermined": "the figures of the seeds meet no rule",
}
MOST_SEED = 2**32
"""Some labs draw from multiples of it."""
Figures = Mapping[str, float]
Rule = Callable[[Figures], bool]


@dataclass(frozen=True)
class Chart:
    """Curves with their axes. logarithmic: the vertical axis shows powers of ten."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    logarithmic: bool = False


class Picture(NamedTuple):
    """Pixels uint8 (H, W, 3) and what they show."""

    caption: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Trial:
    """What one seed gave. rows: a table, its heads first; charts and pictures are shown for the
    first seed."""

    figures: Figures
    charts: Sequence[Chart] = ()
    rows: Sequence[Sequence[str]] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Lab:
    """A claim and its experiment.

    id: of docs/sources.md; claim: what the lectures say, in a sentence; done: what is measured;
    measure(seed, full) → a Trial; rules: verdict → what the figures of every seed must satisfy, the
    first that holds counts; headline: the figure of the table; lesson: what to take from it;
    verdict: what it found when it was last written down; deck, truth: the deck's figure and the
    true one, where they differ. seeds: how many are tried, 1 where nothing is drawn; full_seeds: of
    the long form, where these are more. on: the experiment on given images, where it can be done on
    any.
    """

    id: str
    name: str
    claim: str
    done: str
    measure: Callable[[int, bool], Trial]
    rules: Mapping[Verdict, Rule]
    headline: str
    lesson: str
    verdict: Verdict
    deck: str = ""
    truth: str = ""
    seeds: int = 5
    full_seeds: int = 0
    on: Callable[[Images, int, bool], Trial] | None = None

    @property
    def key(self) -> str:
        """`O3-momentum`."""
        return f"{self.id}-{self.name}"


@dataclass(frozen=True)
class Figure:
    """A figure over seeds: mean, 95 % interval of the mean (Student's), least, largest."""

    name: str
    mean: float
    interval: tuple[float, float] | None
    least: float
    largest: float

    @property
    def between(self) -> str:
        """`0.931 to 0.953`; empty where all values are equal."""
        if self.interval is None or self.least == self.largest:
            return ""
        return " to ".join(short(end) for end in self.interval)

    def line(self) -> str:
        """`0.942 (0.931 to 0.953)`."""
        return short(self.mean) + (f" ({self.between})" if self.between else "")


@dataclass(frozen=True)
class Finding:
    """What a lab found. seconds: of all seeds; data: the source of one's own images, if any."""

    lab: Lab
    verdict: Verdict
    figures: Mapping[str, Figure]
    trials: Sequence[Trial] = field(repr=False)
    seconds: float
    seed: int
    data: str = ""

    @property
    def on(self) -> str:
        """What it ran on, where these were not the lab's own images."""
        return f"Here it ran on {self.data} instead." if self.data else ""

    @property
    def surprise(self) -> str:
        """What is said where the verdict is not the known one."""
        known, where = self.lab.verdict, "its own images" if self.data else "the seeds of the book"
        return "" if self.verdict == known else f"On {where} the lab found {known}:"

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        return {
            "id": self.lab.id, "name": self.lab.name, "claim": self.lab.claim,
            "verdict": self.verdict, "data": self.data, "seconds": round(self.seconds, 1),
            "seed": self.seed, "seeds": len(self.trials),
            "figures": {
                f.name: {"mean": f.mean, "interval": f.interval} for f in self.figures.values()
            },
        }  # fmt: skip


def run_lab(
    lab: Lab, *, seed: int = 0, seeds: int | None = None, full: bool = False, data: str = ""
) -> Iterator[Trial | Finding]:
    """The trials of a lab, then its finding. seeds: at most so many; data: a source of one's own
    images. Raises StriateError where the lab cannot be done on them."""
    refuse_data(lab, data)
    if seed > MOST_SEED:
        raise StriateError(f"--seed {seed}", f"The seed of a lab is at most {MOST_SEED:,}.")
    own = max(lab.seeds, lab.full_seeds) if full else lab.seeds
    count = own if seeds is None else min(seeds, own)
    began, trials = time.perf_counter(), []
    for number in range(count):
        now = seed + number
        if data and lab.on:
            trial = lab.on(own_images(data, now), now, full)
        else:
            trial = lab.measure(now, full)
        trials.append(trial)
        yield trial
    names = trials[0].figures
    figures = {n: summary(n, [trial.figures[n] for trial in trials]) for n in names}
    seconds = time.perf_counter() - began
    yield Finding(lab, judged(lab, trials), figures, trials, seconds, seed, data)


def refuse_data(lab: Lab, data: str) -> None:
    """Raise StriateError where a lab is to be done on given images and cannot."""
    if data and not lab.on:
        raise StriateError(
            f"the lab {lab.key} brings its own images or numbers, so it takes no --data",
            "`striate lab` marks the labs that can be run on images of your own.",
        )


def judged(lab: Lab, trials: Sequence[Trial]) -> Verdict:
    """The first verdict whose rule holds for every trial."""
    for verdict, rule in lab.rules.items():
        if all(rule(trial.figures) for trial in trials):
            return verdict
    return "undetermined"


def summary(name: str, values: Sequence[float]) -> Figure:
    """Mean and interval of a figure's values; that of sizes does not go below 0, nor that of shares
    above 1. Values that are not all finite have no interval."""
    several = len(values) > 1 and all(map(math.isfinite, values))
    interval = mean_interval(values) if several else None
    if interval and all(isinstance(value, Size) for value in values):
        interval = (max(0.0, interval[0]), interval[1])
    if interval and all(isinstance(value, Share) for value in values):
        interval = (interval[0], min(1.0, interval[1]))
    return Figure(name, float(np.mean(values)), interval, float(min(values)), float(max(values)))


def short(value: float) -> str:
    """A number to four figures, whole ones in full."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "not a number" if math.isnan(value) else "−∞"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def find_labs(wanted: str, labs: Mapping[str, Lab]) -> list[Lab]:
    """Labs by `all`, id (all of that id), name, or both (`O3-momentum`). Raises StriateError."""
    if wanted == "all":
        return [*labs.values()]
    plain = wanted.lower()
    found = [
        lab for lab in labs.values() if plain in (lab.id.lower(), lab.name.lower(), lab.key.lower())
    ]
    if not found:
        known = [*(lab.id for lab in labs.values()), *(lab.name for lab in labs.values())]
        raise StriateError(f"no lab '{wanted}'", perhaps(wanted, known))
    return found
