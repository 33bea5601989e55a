"""Run directories as they grow: each log is read on from where it was, and never twice."""

from __future__ import annotations

import json
import math
import threading
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.api.branch import BRANCH, steps_kept
from striate.core import records
from striate.core.errors import RecipeError, RunError
from striate.core.findings import Finding
from striate.core.recipe import Recipe
from striate.core.recipe_io import flat, load_recipe
from striate.core.records import (
    Epoch,
    Failed,
    Finished,
    Measured,
    Note,
    Planned,
    Started,
    Step,
)
from striate.core.run import RunDirectory, is_locked
from striate.core.strict_json import finite
from striate.metrics.intervals import wilson
from striate.studio.messages import (
    CheckpointRow,
    Curves,
    FindingRow,
    KnobValue,
    RunDetail,
    RunRow,
    ScoreRow,
    State,
)

MOST_STEPS = 200_000
"""Steps of a run that are kept in memory; of more every second, fourth … is."""
POINTS = 1500
"""Points of a curve that the page draws."""
_NOTES = 200
_REMEMBERED = 200
"""Bytes before the place that was read to: are they others now, the log was written anew."""
_NUMBERS = ("loss", "lr", "gradient_norm", "images_per_second")


@dataclass
class Tail:
    """A run directory as far as its log was read."""

    id: str
    path: Path
    offset: int = 0
    fault: str = ""
    planned: Planned | None = None
    finished: Finished | None = None
    failed: Failed | None = None
    started: Started | None = None
    steps: dict[str, array[float]] = field(default_factory=lambda: {
        name: array("d") for name in ("step", "loss", "lr", "gradient")
    })  # fmt: skip
    epochs: list[Epoch] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    last: Step | None = None
    running: bool = False
    generation: int = 0
    """How often the log was cut and written anew: curves of another generation are others."""
    _every: int = 1
    _end: bytes = b""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> bool:
        """Read what is new; whether anything was. A damaged line is said, not raised."""
        with self.lock:  # a page and the pulse ask at once
            return self._read()

    def _read(self) -> bool:
        path = self.path / "records.jsonl"
        try:
            size = path.stat().st_size
            if size == self.offset or self.fault:
                return False
            with path.open("rb") as file:
                file.seek(max(0, self.offset - len(self._end)))
                if file.read(len(self._end)) != self._end:
                    self._forget()  # a resumed training has cut the log at its checkpoint
                    file.seek(0)
                new = file.read()
        except OSError:
            return False
        whole = new.rfind(b"\n") + 1
        if not whole:
            return False
        try:
            for steps, lines in groupby(new[:whole].splitlines(), _is_step):
                if steps:
                    self._put_steps(json.loads(b"[" + b",".join(lines) + b"]"))
                else:
                    for line in lines:
                        self._put(line)
        except Exception as error:
            self.fault = f"records.jsonl is damaged: {error}"
        self.offset += whole
        self._end = (self._end + new[:whole])[-_REMEMBERED:]
        return True

    def look_whether_running(self) -> bool:
        """Ask the lock; whether the answer changed."""
        was, self.running = self.running, self.finished is None and is_locked(self.path)
        return was != self.running

    def _forget(self) -> None:
        fresh = Tail(self.id, self.path)
        fresh.running, fresh.lock = self.running, self.lock
        fresh.generation = self.generation + 1
        self.__dict__.update(fresh.__dict__)

    def _put(self, line: bytes) -> None:
        match records.from_json(line.decode("utf-8")):
            case Started() as started:
                self.started = started
            case Planned() as planned:
                self.planned = planned
            case Epoch() as epoch:
                self.epochs = [e for e in self.epochs if e.epoch != epoch.epoch] + [epoch]
            case Measured() as measured:
                self.measured.append(measured)
            case Finding() as finding:
                self.findings.append(finding)
            case Note() as note:
                self.notes = [*self.notes, note.text][-_NOTES:]
            case Failed() as failed:
                self.failed = failed
            case Finished() as finished:
                self.finished = finished

    def _put_steps(self, found: list[dict[str, Any]]) -> None:
        """Nearly all lines of a log are steps: they are read at once, without a dataclass each."""
        self.failed, self.finished = None, None
        last = found[-1]
        loss, lr, gradient, speed = (_number(last[k]) for k in _NUMBERS)
        self.last = Step(int(last["step"]), int(last["epoch"]), loss, lr, gradient, speed)
        kept = [one for one in found if one["step"] % self._every == 0]
        for name, key in zip(self.steps, ("step", *_NUMBERS), strict=False):
            self.steps[name].extend([math.nan if (v := o[key]) is None else v for o in kept])
        while len(self.steps["step"]) > MOST_STEPS:
            self._every *= 2
            keep = np.frombuffer(self.steps["step"]) % self._every == 0
            for name, values in self.steps.items():
                self.steps[name] = array("d", np.frombuffer(values)[keep].tobytes())


def _is_step(line: bytes) -> bool:
    return line.startswith(b'{"kind": "step"')


def row_of(tail: Tail, ids: dict[Path, str]) -> RunRow:
    """The run as a row of the table."""
    plan, done, last = tail.planned, tail.finished, tail.last
    epoch = tail.epochs[-1] if tail.epochs else None
    best = max((e.val_score for e in tail.epochs if e.val_score is not None), default=None)
    name = plan.score if plan else ""
    split, score, low, high = "val", best, None, None
    if done is not None:
        split = "test" if done.test else "val"
        score = (done.test or done.val).get(name)
        low, high = _interval(tail.path, split, name)
    elif best is not None and plan is not None and name == "accuracy":
        low, high = _wilson(best, _images(tail.path).get("val", 0))
    parent, at = _parent(tail.path)
    return RunRow(
        id=tail.id,
        name=tail.path.name,
        state=_state(tail),
        source=tail.started.source if tail.started else "",
        task=plan.loss if plan else "",
        model=plan.model if plan else "",
        epoch=epoch.epoch if epoch else 0,
        epochs=plan.epochs if plan else 0,
        step=last.step if last else 0,
        steps=plan.steps if plan else 0,
        score_name=name,
        split=split,
        score=_plain(score),
        low=_plain(low),
        high=_plain(high),
        seconds=done.seconds if done else sum(e.seconds for e in tail.epochs) or None,
        seconds_left=_left(tail),
        images_per_second=_plain(last.images_per_second) if last and tail.running else None,
        finding=_first_finding(tail),
        parent=ids.get(parent, "") if parent else "",
        parent_step=at,
        fault=tail.fault,
    )


def detail_of(tail: Tail, ids: dict[Path, str]) -> RunDetail:
    """Everything that the page of one run shows beside its curves."""
    data, plan = _json(tail.path / "dataset.json"), tail.planned
    verdict, findings = _judged(tail)
    return RunDetail(
        row=row_of(tail, ids),
        classes=list(data.get("classes", ()))[:1000],
        images={name: split["images"] for name, split in data.get("splits", {}).items()},
        parameters=plan.parameters if plan else 0,
        verdict=verdict,
        findings=findings,
        notes=tail.notes,
        knobs=_knobs(tail.path),
        checkpoints=_checkpoints(tail),
        scores=_scores(tail.path),
    )


class Since(NamedTuple):
    """How much of a run's curves a page has: of which generation, up to which step, and how many
    epochs and measurements."""

    generation: int = 0
    step: int = 0
    epochs: int = 0
    measurements: int = 0


_NOTHING = Since()


def curves_of(tail: Tail, since: Since = _NOTHING) -> Curves:
    """The curves beyond what a page has, thinned to some `POINTS` points; all of them where what it
    has is of another generation."""
    with tail.lock:
        if since.generation != tail.generation:
            since = Since(tail.generation)
        columns = {name: np.array(values) for name, values in tail.steps.items()}
        epochs, measured = tail.epochs[since.epochs :], tail.measured[since.measurements :]
        totals = len(tail.epochs), len(tail.measured)
    begin = int(np.searchsorted(columns["step"], since.step, side="right"))
    columns = {name: values[begin:] for name, values in columns.items()}
    keep = np.union1d(*(thinned(columns[name], POINTS // 2) for name in ("loss", "gradient")))
    layers = {name for m in measured for name, v in m.layers.items() if _dead(v) is not None}
    return Curves(
        id=tail.id,
        generation=since.generation,
        epochs=totals[0],
        measurements=totals[1],
        step=columns["step"][keep].tolist(),
        loss=_plain_list(columns["loss"][keep]),
        lr=_plain_list(columns["lr"][keep]),
        gradient=_plain_list(columns["gradient"][keep]),
        epoch_step=[e.step for e in epochs],
        train_loss=_plain_list(e.train_loss for e in epochs),
        val_loss=_plain_list(e.val_loss for e in epochs),
        val_score=_plain_list(e.val_score for e in epochs),
        measured=[m.step for m in measured],
        dead={
            name: _plain_list(_dead(m.layers.get(name, {})) for m in measured)
            for name in sorted(layers)
        },
    )


def thinned(values: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Positions of at most `most` values: of each stretch the lowest and the highest, so that
    peaks stay, and both ends."""
    count = len(values)
    if count <= most:
        return np.arange(count)
    edges = np.linspace(0, count, most // 2 + 1).astype(np.int64)
    low, high = np.nan_to_num(values, nan=np.inf), np.nan_to_num(values, nan=-np.inf)
    chosen = {0, count - 1}
    for start, end in pairwise(edges.tolist()):
        chosen.add(int(start + low[start:end].argmin()))
        chosen.add(int(start + high[start:end].argmax()))
    return np.array(sorted(chosen))


def _state(tail: Tail) -> State:
    if tail.fault:
        return "damaged"
    if tail.finished is not None:
        return "finished"
    if tail.running:
        return "running" if tail.planned else "preparing"
    if tail.failed is not None:
        return "failed"
    return "can be resumed" if steps_kept_in(tail.path) else "not begun"


def steps_kept_in(path: Path) -> bool:
    return any((path / "checkpoints").glob("step-*"))


def _left(tail: Tail) -> float | None:
    """Seconds to the planned end, from the epochs so far, or the speed of the last step."""
    plan, last = tail.planned, tail.last
    if not tail.running or plan is None or last is None:
        return None
    rest = max(0, plan.steps - last.step)
    if tail.epochs:
        recent = tail.epochs[-5:]
        a_step = sum(e.seconds for e in recent) / len(recent) / max(1, plan.steps / plan.epochs)
        return rest * a_step
    speed = last.images_per_second
    return rest * plan.batch_size / speed if speed and math.isfinite(speed) else None


def _first_finding(tail: Tail) -> str:
    """The doctor's last word in a few words."""
    said = _json(tail.path / "findings.json")
    if said:
        found = [f["rule"].replace("_", " ") for f in said.get("findings", ())
                 if f.get("verdict") == "sick"]  # fmt: skip
        return ", ".join(found[:2]) or str(said.get("verdict", ""))
    sick = [f.rule.replace("_", " ") for f in tail.findings if f.verdict == "sick"]
    return ", ".join(dict.fromkeys(sick))


def _judged(tail: Tail) -> tuple[str, list[FindingRow]]:
    """What the doctor said at the end, or has said so far."""
    said = _json(tail.path / "findings.json")
    if not said or tail.finished is None:
        found = [f for f in tail.findings if f.verdict in ("sick", "undetermined")]
        return "", [finding_row(f) for f in found]
    rows = [
        Finding(
            f["rule"], f["verdict"], f["text"], dict(f.get("evidence") or {}),
            confidence=f.get("confidence"), remedies=tuple(f.get("remedies", ())),
            source=str(f.get("source", "")),
        )
        for f in said.get("findings", ())
    ]  # fmt: skip
    return str(said.get("verdict", "")), [finding_row(f) for f in rows]


def finding_row(found: Finding) -> FindingRow:
    """A finding as the page draws it: its curves thinned to 200 points."""
    curves = found.evidence.get("curves", {})
    return FindingRow(
        rule=found.rule.replace("_", " "),
        verdict=found.verdict,
        confidence=found.confidence,
        text=found.text,
        remedies=list(found.remedies),
        source=found.source,
        curves={str(name): _thin(values) for name, values in curves.items() if len(values)},
        at=str(found.evidence.get("at", "")),
    )


def _thin(values: Iterable[float | None]) -> list[float | None]:
    column = np.array([math.nan if v is None else v for v in values], dtype=np.float64)
    return _plain_list(column[thinned(column, 200)])


def _checkpoints(tail: Tail) -> list[CheckpointRow]:
    try:
        steps = steps_kept(RunDirectory(tail.path))
    except (RunError, ValueError, OSError):
        return []
    found = []
    for step in steps:
        manifest = _json(tail.path / "checkpoints" / f"step-{step:08d}" / "manifest.json")
        found.append(CheckpointRow(step, int(manifest.get("epoch", 0)), manifest.get("val_score")))
    return found


def _knobs(path: Path) -> list[KnobValue]:
    """Knobs that are not at their defaults, decided ones with the reason."""
    try:
        chosen = flat(load_recipe(path / "recipe.yaml"))
    except RecipeError:
        return []
    usual, decided = flat(Recipe()), _json(path / "resolved.json")
    changed = [KnobValue(k, finite(v), "") for k, v in chosen.items()
               if v != usual.get(k) and k not in decided]  # fmt: skip
    return changed + [
        KnobValue(k, finite(v.get("value")), str(v.get("why", ""))) for k, v in decided.items()
    ]


def _scores(path: Path) -> list[ScoreRow]:
    scores = _json(path / "scores.json")
    found = scores.get(scores.get("split", ""), {})
    intervals, by = found.get("intervals", {}), found.get("intervals_by", {})
    return [
        ScoreRow(name, value, *_pair(intervals.get(name)), by.get(name, ""))
        for name, value in found.items()
        if isinstance(value, int | float) or value is None
    ]


def _pair(found: Any) -> tuple[float | None, float | None]:
    return (found[0], found[1]) if found else (None, None)


def _interval(path: Path, split: str, name: str) -> tuple[float | None, float | None]:
    found = _json(path / "scores.json").get(split, {}).get("intervals", {}).get(name)
    return _pair(found)


def _wilson(score: float, images: int) -> tuple[float | None, float | None]:
    if images < 1 or not 0 <= score <= 1:
        return None, None
    low, high = wilson(round(score * images), images)
    return float(low), float(high)


def _images(path: Path) -> dict[str, int]:
    splits = _json(path / "dataset.json").get("splits", {})
    return {name: int(split.get("images", 0)) for name, split in splits.items()}


def _parent(path: Path) -> tuple[Path | None, int | None]:
    found = _json(path / BRANCH)
    if not found:
        return None, None
    return Path(str(found.get("run", ""))), int(found.get("step", 0))


_CACHE: dict[Path, tuple[float, dict[str, Any]]] = {}


def _json(path: Path) -> dict[str, Any]:
    """A JSON file of a run, read again where it changed; empty where there is none."""
    try:
        stamp = path.stat().st_mtime
        known = _CACHE.get(path)
        if known and known[0] == stamp:
            return known[1]
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    value = found if isinstance(found, dict) else {}
    if len(_CACHE) > 2000:
        _CACHE.clear()
    _CACHE[path] = (stamp, value)
    return value


def _dead(values: dict[str, float]) -> float | None:
    return values.get("dead", values.get("saturated"))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _plain_list(values: Iterable[float | None]) -> list[float | None]:
    """Six digits are more than a screen shows."""
    return [None if v is None or not math.isfinite(v) else float(f"{v:.6g}") for v in values]
