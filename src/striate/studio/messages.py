"""What the server says to the page: plain dataclasses, from which the page's types are made.

`python -m striate.studio.typescript` writes them as TypeScript; a test says when the two differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

State = Literal[
    "preparing", "running", "finished", "can be resumed", "not begun", "failed", "damaged"
]


@dataclass(frozen=True)
class Session:
    """`folder`: name of the data directory that uploads go to, "" where there is none."""

    version: str
    read_only: bool
    folder: str


@dataclass(frozen=True)
class RunRow:
    """A run in the table. `score` with its 95 % interval is of `split`; `seconds_left` is an
    estimate; `parent`: the id of the run that it branched from."""

    id: str
    name: str
    state: State
    source: str
    task: str
    model: str
    epoch: int
    epochs: int
    step: int
    steps: int
    score_name: str
    split: str
    score: float | None
    low: float | None
    high: float | None
    seconds: float | None
    seconds_left: float | None
    images_per_second: float | None
    finding: str
    parent: str
    parent_step: int | None
    fault: str


@dataclass(frozen=True)
class FindingRow:
    """What the doctor says. `curves`: its evidence by name; `remedies` begin with -- where they are
    changes of the recipe."""

    rule: str
    verdict: str
    confidence: float | None
    text: str
    remedies: list[str]
    source: str
    curves: dict[str, list[float | None]]
    at: str


@dataclass(frozen=True)
class KnobValue:
    """A knob that is not at its default; `why` it was decided so, "" where a person chose it."""

    name: str
    value: Any
    why: str


@dataclass(frozen=True)
class CheckpointRow:
    step: int
    epoch: int
    score: float | None


@dataclass(frozen=True)
class ScoreRow:
    name: str
    value: float | None
    low: float | None
    high: float | None
    by: str


@dataclass(frozen=True)
class RunDetail:
    row: RunRow
    classes: list[str]
    images: dict[str, int]
    parameters: int
    verdict: str
    findings: list[FindingRow]
    notes: list[str]
    knobs: list[KnobValue]
    checkpoints: list[CheckpointRow]
    scores: list[ScoreRow]


@dataclass(frozen=True)
class Curves:
    """Curves of a run, thinned so that peaks stay. Of each step: `loss`, `lr`, `gradient`; of each
    epoch: losses and score; `dead`: share of dead or saturated units by layer, at `measured`.
    `generation`, `epochs`, `measurements`: what the page has then; it says so to be told more."""

    id: str
    generation: int
    epochs: int
    measurements: int
    step: list[float]
    loss: list[float | None]
    lr: list[float | None]
    gradient: list[float | None]
    epoch_step: list[float]
    train_loss: list[float | None]
    val_loss: list[float | None]
    val_score: list[float | None]
    measured: list[float]
    dead: dict[str, list[float | None]]


@dataclass(frozen=True)
class Knob:
    """A knob of the recipe as a field of a form."""

    name: str
    group: str
    kind: Literal["number", "whole", "yes_no", "choice", "text", "list"]
    default: Any
    auto: bool
    choices: list[str]
    low: float | None
    high: float | None
    doc: str
    everyday: bool


@dataclass(frozen=True)
class SourceRow:
    """Data that can be trained on."""

    id: str
    name: str
    kind: str


@dataclass(frozen=True)
class Guess:
    name: str
    probability: float


@dataclass(frozen=True)
class Seen:
    """One validation image: what it is, and the network's first answers."""

    number: int
    name: str
    truth: list[str]
    guesses: list[Guess]
    right: bool


@dataclass(frozen=True)
class Strip:
    """`weights`: live (of a moment ago) or best; `tiles`: a picture of all images side by side.
    `wait`: milliseconds until the page may ask again."""

    id: str
    weights: str
    step: int
    images: list[Seen]
    tiles: str
    side: int
    wait: int


@dataclass(frozen=True)
class LayerRow:
    name: str
    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class Inside:
    """Pictures of one image in a network: `filters` of the first layer, each `maps` channel of a
    layer and their `gradients`, and `saliency`: which pixels the answer hangs on."""

    layer: str
    layers: list[LayerRow]
    shown: list[int]
    side: int
    filters: str
    maps: str
    gradients: str
    saliency: str
    image: str
    answer: str
    wait: int


@dataclass(frozen=True)
class Patches:
    layer: str
    unit: int
    tiles: str
    side: int
    names: list[str]
    values: list[float]


@dataclass(frozen=True)
class SetFacts:
    """A data set, and by what it can be filtered."""

    id: str
    name: str
    classes: list[str]
    splits: dict[str, int]
    findings: dict[str, int]
    judged: str
    doubtful: str
    marked: int


@dataclass(frozen=True)
class Selection:
    """How many images a filter leaves."""

    count: int
    first: list[int]


@dataclass(frozen=True)
class Neighbour:
    number: int
    name: str
    label: str
    likeness: float


@dataclass(frozen=True)
class ImageFacts:
    number: int
    name: str
    split: str
    labels: list[str]
    width: int
    height: int
    findings: list[str]
    doubtful: bool
    picture: str
    saliency: str
    guesses: list[Guess]
    neighbours: list[Neighbour]


@dataclass(frozen=True)
class MapFacts:
    """Places of images: `numbers` are theirs in the set, `groups` their classes."""

    x: list[float]
    y: list[float]
    numbers: list[int]
    groups: list[int]
    classes: list[str]
    notes: list[str]


@dataclass(frozen=True)
class Asked:
    """What a network says of a picture that was given to it."""

    guesses: list[Guess]
    saliency: str
    picture: str
    boxes: list[list[float]]


@dataclass(frozen=True)
class Difference:
    """Two runs side by side: knobs that differ (`known`: whether both recipes could be read), and
    the paired difference of the shares of images answered rightly, with its 95 % interval."""

    knobs: list[list[Any]]
    known: bool
    images: int
    difference: float | None
    low: float | None
    high: float | None
    note: str


@dataclass(frozen=True)
class Walk:
    """An update rule's path. `left`: the step at which it left all bounds; `arrived`: the step from
    which on it stays at the goal."""

    rule: str
    x: list[float]
    y: list[float]
    value: list[float | None]
    left: int | None
    arrived: int | None


@dataclass(frozen=True)
class Descent:
    about: str
    box: list[float]
    heights: list[list[float]]
    walks: list[Walk]
    curvatures: list[float]
    best_rate: float | None
    best_momentum_rate: float | None
    best_momentum: float | None
    start: list[float]
    lowest: list[float]


@dataclass(frozen=True)
class GraphNode:
    id: int
    name: str
    made: str
    value: str
    gradient: str
    parents: list[int]
    locals: list[str]
    parts: list[str]
    depth: int
    constant: bool


@dataclass(frozen=True)
class Graph:
    nodes: list[GraphNode]
    names: list[str]


@dataclass(frozen=True)
class Convolved:
    """A convolution step by step: the padded input, its output, and the formula of its size."""

    image: list[list[float]]
    padded: list[list[float]]
    kernel: list[list[float]]
    output: list[list[float]]
    formula: str
    stride: int
    dilation: int
    padding: int


@dataclass(frozen=True)
class Problem:
    """Every refusal has this form."""

    message: str
    hint: str
