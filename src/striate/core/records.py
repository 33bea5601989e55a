"""Records: small frozen facts that training states as it happens.

Training is a generator of records; the terminal, `records.jsonl`, the doctor and the studio only
read them. A record is a flat dataclass of JSON values; `kind` names its class in the log.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any


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


@dataclass(frozen=True)
class Step:
    """One update: `loss` before it, learning rate `lr`, gradient norm, images per second."""

    step: int
    epoch: int
    loss: float
    lr: float
    gradient_norm: float
    images_per_second: float


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


Record = Started | Planned | Step | Epoch | Saved | Note | Finished
KINDS: dict[str, type[Record]] = {
    "started": Started,
    "planned": Planned,
    "step": Step,
    "epoch": Epoch,
    "saved": Saved,
    "note": Note,
    "finished": Finished,
}


def to_json(record: Record) -> str:
    """One line of strict JSON; a non-finite number becomes null, which JSON can hold."""
    return json.dumps({"kind": type(record).__name__.lower(), **_finite(asdict(record))})


def from_json(line: str) -> Record:
    """The record of one line. Raises ValueError, KeyError or TypeError if it is none."""
    values = json.loads(line)
    return KINDS[values.pop("kind")](**values)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
