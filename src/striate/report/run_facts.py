"""The facts of a run: all that a report says, as values with names."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from striate.core.records import Epoch


@dataclass(frozen=True)
class Headline:
    """The score that is shown first: of which split, its 95 % interval, of how many images."""

    score: str
    split: str
    value: float | None
    interval: list[float] | None
    n: int


@dataclass(frozen=True)
class Overfit:
    """The main score of training images beside that of validation, both in a single view."""

    train: float
    val: float


@dataclass(frozen=True)
class ModelFacts:
    """The network's name, how many parameters it has, and what the run keeps of the weights that it
    started from (weights.json)."""

    name: str
    parameters: int
    weights: dict[str, Any] | None = None


@dataclass(frozen=True)
class DataFacts:
    """Source, classes and splits as dataset.json has them; `kind` is what it says of the targets;
    `most`: images of the commonest class in training."""

    source: str
    classes: list[str]
    splits: dict[str, Any]
    kind: dict[str, Any]
    findings: list[dict[str, Any]]
    most: int

    def to_json(self) -> dict[str, Any]:
        """Plain values; the kind's beside the others."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "kind"}
        return values | self.kind


@dataclass(frozen=True)
class RecipeFacts:
    """The settled recipe in words, what was decided with its reason, and recipe.yaml."""

    words: list[str]
    decisions: list[dict[str, Any]]
    yaml: str


@dataclass(frozen=True)
class UseFacts:
    """How the run is used further: commands, and lines of Python."""

    commands: list[str]
    python: str


@dataclass(frozen=True)
class RunFacts:
    """`format`: of the JSON. `scores`: split → score → value, with intervals. `class_scores`: which
    scores `per_class` has. `sections`: what only the run's task knows (`Evaluation.sections`)."""

    striate: str
    name: str
    run: str
    written: str
    notes: list[str]
    score: str
    headline: Headline | None
    overfit: Overfit | None
    calibration: dict[str, Any] | None
    diagnosis: dict[str, Any]
    preflight: list[dict[str, Any]]
    model: ModelFacts
    data: DataFacts
    recipe: RecipeFacts
    curves: list[Epoch]
    rates: list[dict[str, float]]
    scores: dict[str, Any]
    score_names: list[str]
    interval_kinds: str
    cost: dict[str, str]
    use: UseFacts
    versions: dict[str, str]
    per_class: list[dict[str, Any]] = field(default_factory=list)
    class_scores: list[str] = field(default_factory=list)
    sections: dict[str, Any] = field(default_factory=dict)
    format: int = 1

    @property
    def confusion(self) -> dict[str, Any] | None:
        """Which classes were taken for which, where the task knows."""
        return self.sections.get("confusion")

    def to_json(self) -> dict[str, Any]:
        """Plain values, the task's sections beside the others."""
        values = asdict(self)
        del values["sections"]
        return values | {"data": self.data.to_json()} | self.sections
