"""Records: small frozen facts that training states as it happens.

Training is a generator of records; the terminal, `records.jsonl`, the doctor and the studio only
read them. A record is a flat dataclass of JSON values; `kind` names its class in the log.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from striate.core.findings import Finding
from striate.core.strict_json import one_line


@dataclass(frozen=True)
class Started:
    """The first record of every training: where the run is, and what it reads."""

    run: str
    source: str


@dataclass(frozen=True)
class Planned:
    """All checks passed and every "auto" is decided. `epoch` and `step` are done (after resume)."""

    epochs: int
    steps: int
    images: int
    model: str
    parameters: int
    score: str
    epoch: int = 0
    step: int = 0
    batch_size: int = 0
    loss: str = ""
    class_images: tuple[int, ...] = ()
    """Training images of each class."""
    classes: tuple[str, ...] = ()
    """Their names, of up to 1,000."""
    probe: float | None = None
    """The score of a linear classifier on the features of the weights that it starts from, in
    cross-validation; None where there are none."""


@dataclass(frozen=True)
class Step:
    """One update: `loss` before it, learning rate `lr`, gradient norm, images per second."""

    step: int
    epoch: int
    loss: float
    lr: float
    gradient_norm: float
    images_per_second: float
    terms: dict[str, float] = field(default_factory=dict)
    """Of a loss that consists of several: the mean of each by name."""


@dataclass(frozen=True)
class Epoch:
    """One pass: mean training loss, validation scores (`val_score` is the one maximised)."""

    epoch: int
    step: int
    train_loss: float
    val_loss: float
    val_score: float
    seconds: float
    best: bool


@dataclass(frozen=True)
class Measured:
    """What the doctor's rules need, measured in evaluation mode on fixed images, at most once an
    epoch. Losses are those of the task without smoothing; `…_error` is a standard error.

    `norm_gap`: by how much the loss is higher than with batch norm's statistics of the batch, None
    without batch norm. `contradicted`: share of the training sample that is called otherwise and
    whose label is in the lower half of the other answers, as half of all random labels are.
    `recall`: for groups of classes, the commonest first, (training images of a class, validation
    images, share recognised). `layers`: name of a layer with weights → root mean squares of its
    `weight`, its `gradient` and its last `update`; of an activation → share of its units that are
    `dead` (never above 0) or outputs that are `saturated`.

    Older logs lack what follows. `norm_stale`: by how much the loss is higher with batch norm's
    running averages than with averages estimated anew. `augmented_gap`: by how much the loss of
    images as training sees them (without mixing) is above that of the same images as they are, with
    its standard error. `input_deviation`: root mean square over pixels of the deviation between
    images, as the first layer with weights receives them; 0: all are equal. `output_range`: the
    least and the greatest output, and how far an image's outputs are from the sum 1 at most.
    `frozen`: layers whose weights do not learn. `never_found`: (class, validation images) of those
    classes of which no validation image is recognised. `splits_area`: how well a linear classifier
    tells training from validation images, as an area under the ROC curve (0.5: not at all), with
    its standard error. `by_heart`: share of 20 training images that the network learns by heart,
    tried where the training has learnt nothing. `boxes`: of a detector, "train" and "val" → what
    its boxes do (`striate.tasks.detect.signs`).
    """

    step: int
    epoch: int
    train_loss: float
    train_loss_error: float
    train_score: float
    val_loss: float
    val_loss_error: float
    val_score: float
    train_images: int
    val_images: int
    contradicted: float | None
    norm_gap: float | None
    recall: tuple[tuple[float, int, float], ...]
    layers: dict[str, dict[str, float]]
    seconds: float
    norm_stale: float | None = None
    augmented_gap: tuple[float, float] | None = None
    input_deviation: float | None = None
    output_range: tuple[float, float, float] | None = None
    frozen: tuple[str, ...] = ()
    never_found: tuple[tuple[int, int], ...] = ()
    splits_area: tuple[float, float] | None = None
    by_heart: float | None = None
    boxes: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimated:
    """Batch norm's averages were estimated anew from training images, because the running ones do
    not fit: validation scores with both. `path`: where the new averages are, relative to the run.
    """

    step: int
    epoch: int
    running: float
    estimated: float
    path: str


@dataclass(frozen=True)
class Failed:
    """A loss or gradient that is not finite ended the training; the weights were not changed.

    `layer`: the first with an output that is not finite, "" if there is none; `images`: some of the
    batch.
    """

    step: int
    epoch: int
    loss: float | None
    gradient_norm: float | None
    lr: float
    layer: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written."""

    step: int
    epoch: int
    path: str
    seconds: float


@dataclass(frozen=True)
class Note:
    """Something that the user should know: a decision, a warning, a counted fault."""

    level: str
    text: str


@dataclass(frozen=True)
class Finished:
    """The last record: the scores, and why training ended (`planned`, `patience`)."""

    run: str
    epochs: int
    seconds: float
    reason: str
    train: dict[str, float]
    val: dict[str, float]
    test: dict[str, float]


Record = (
    Started
    | Planned
    | Step
    | Epoch
    | Measured
    | Estimated
    | Saved
    | Note
    | Finding
    | Failed
    | Finished
)
KINDS: dict[str, type[Record]] = {
    "started": Started,
    "planned": Planned,
    "step": Step,
    "epoch": Epoch,
    "measured": Measured,
    "estimated": Estimated,
    "saved": Saved,
    "note": Note,
    "finding": Finding,
    "failed": Failed,
    "finished": Finished,
}


def to_json(record: Record) -> str:
    """One line of strict JSON; a non-finite number becomes null, which JSON can hold."""
    values = asdict(record)
    if isinstance(record, Step) and not record.terms:
        del values["terms"]
    if isinstance(record, Measured) and not record.boxes:
        del values["boxes"]
    return one_line({"kind": type(record).__name__.lower(), **values})


def from_json(line: str) -> Record:
    """The record of one line. Raises ValueError, KeyError or TypeError if it is none."""
    values = _frozen(json.loads(line))
    return KINDS[values.pop("kind")](**values)


def _frozen(value: Any) -> Any:
    """JSON's lists as tuples, of which records are made."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
