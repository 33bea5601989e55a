"""What the page is told of a run: a row of the table, and everything beside its curves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from striate.api.branch import BRANCH, steps_kept
from striate.core.errors import RecipeError, RunError
from striate.core.findings import Finding
from striate.core.recipe import Recipe
from striate.core.recipe_io import flat, load_recipe
from striate.core.run import RunDirectory
from striate.core.strict_json import finite
from striate.metrics.intervals import wilson
from striate.studio.live import Tail, plain, plain_list, thinned
from striate.studio.messages import (
    CheckpointRow,
    FindingRow,
    KnobValue,
    RunDetail,
    RunRow,
    ScoreRow,
    State,
)


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
        score=plain(score),
        low=plain(low),
        high=plain(high),
        seconds=done.seconds if done else sum(e.seconds for e in tail.epochs) or None,
        seconds_left=_left(tail),
        images_per_second=plain(last.images_per_second) if last and tail.running else None,
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


def _state(tail: Tail) -> State:
    if tail.fault:
        return "damaged"
    if tail.finished is not None:
        return "finished"
    if tail.running:
        return "running" if tail.planned else "preparing"
    if tail.failed is not None:
        return "failed"
    return "can be resumed" if _has_checkpoint(tail.path) else "not begun"


def _has_checkpoint(path: Path) -> bool:
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
    return plain_list(column[thinned(column, 200)])


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
