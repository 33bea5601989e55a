"""A branch: a run that goes on from a checkpoint of another one, with some knobs changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from striate.api.stream import resume, stream
from striate.core import recipe_io
from striate.core.errors import RecipeError, RunError
from striate.core.files import disk_faults_explained, write_atomically, write_json
from striate.core.recipe import SHORT_FLAGS, Recipe
from striate.core.records import Record
from striate.core.run import FORMAT, MOVED, RunDirectory, reserve_run
from striate.optim.rules import find_rule
from striate.optim.schedules import find_schedule
from striate.plan.keep import EXCLUDED, WEIGHTS
from striate.plan.prepare import Stop, short_name
from striate.plan.recall import settled_recipe
from striate.plan.refuse import check_used
from striate.training import checkpoints

BRANCH = "branch.json"
"""Where a branch came from: run, step, knobs."""
_FROM_THE_START = ("model.", "loss.", "data.", "seed", "optim.batch_size", "augment.test_views")
"""Knobs that decide what the first step starts from, or how many steps an epoch has: with these a
branch begins anew."""
_KEPT = ("dataset.json", "images.csv.gz", EXCLUDED, WEIGHTS, MOVED)


def branch(
    run: str | Path,
    knobs: Mapping[str, Any],
    *,
    step: int | None = None,
    folder: str | Path | None = None,
    data: Any = None,
    stop: Stop = lambda: False,
) -> Iterator[Record]:
    """Train on from a checkpoint with other knobs, as one stream of records.

    knobs: by everyday or dotted names. step: of the checkpoint, the newest by default. folder: of
    the new run. The parent is left as it is; all knobs that are not named stay as they were
    settled. Where a knob decides what the first step starts from (model, loss, data, seed), the
    branch begins at step 0. Raises RecipeError, and RunError where there is no such checkpoint or
    nothing is left to train.
    """
    parent = RunDirectory(run)
    changed, fresh = _changed(parent, knobs)
    if fresh:
        yield from stream(data, recipe=changed, run=folder, stop=stop)
        return
    yield from resume(prepare_branch(parent, knobs, step, folder), data=data, stop=stop)


def starts_anew(knobs: Mapping[str, Any]) -> bool:
    """Whether a branch with these knobs begins at the first step."""
    names = (SHORT_FLAGS.get(name, name) for name in knobs)
    return any(name.startswith(_FROM_THE_START) for name in names)


def prepare_branch(
    parent: RunDirectory,
    knobs: Mapping[str, Any],
    step: int | None = None,
    folder: str | Path | None = None,
) -> Path:
    """The folder of a branch that `resume` trains on; nothing is trained here. Raises RunError."""
    changed, _ = _changed(parent, knobs)
    found = checkpoint_at(parent, step)
    epochs = recipe_io.with_overrides(settled_recipe(parent), knobs).budget.epochs
    if isinstance(epochs, int) and found.manifest["epoch"] >= epochs:
        raise RunError(
            f"{parent.path}, step {found.step}: all {epochs} epochs are done, so nothing is left "
            "to train",
            "Plan more epochs (--epochs N), or name an earlier checkpoint (--step N).",
        )
    given = {SHORT_FLAGS.get(name, name) for name in knobs}
    decided = _decided(parent, given, changed)
    where = reserve_run(folder, short_name(changed.data.source))
    if any(where.iterdir()):
        raise RunError(f"{where} is a run already", "Give the branch a folder of its own.")
    environment = parent.read_json("environment.json")
    with disk_faults_explained(where):
        for name in _KEPT:
            if (parent.path / name).is_file():
                shutil.copyfile(parent.path / name, where / name)
        _copy_log(parent, where, found.manifest["records_bytes"])
    _copy_checkpoint(found, where, keeps_rule="optim.rule" not in given)
    write_atomically(where / "recipe.yaml", recipe_io.to_yaml(changed))
    write_json(where / "resolved.json", decided)
    write_json(where / BRANCH, {
        "run": str(parent.path.absolute()), "step": found.step, "knobs": dict(knobs),
    })  # fmt: skip
    write_json(where / "environment.json", {**environment, "format": FORMAT})  # now it is a run
    return where


def checkpoint_at(run: RunDirectory, step: int | None) -> checkpoints.Checkpoint:
    """The sound checkpoint of a step, or the newest. Raises RunError that names those there are."""
    if step is None:
        found, faults = checkpoints.latest(run.checkpoints)
        if found is None:
            raise RunError(f"{run.path} has no sound checkpoint to branch from", "\n".join(faults))
        return found
    path = run.checkpoints / f"step-{step:08d}"
    if not path.is_dir():
        known = ", ".join(f"{known:,}" for known in steps_kept(run)) or "none"
        raise RunError(
            f"{run.path} has no checkpoint of step {step:,}",
            f"There are: {known}. `--checkpoints.keep N` keeps more of them.",
        )
    return checkpoints.verified(path)


def steps_kept(run: RunDirectory) -> list[int]:
    """Steps of which there are checkpoints, in order."""
    folders = run.checkpoints.glob("step-*")
    return sorted(int(p.name.removeprefix("step-")) for p in folders)


def _changed(parent: RunDirectory, knobs: Mapping[str, Any]) -> tuple[Recipe, bool]:
    """The parent's recipe with other knobs, and whether it must begin anew."""
    if not knobs:
        raise RecipeError("a branch changes something", "Name a knob, such as --lr 0.01.")
    recipe = recipe_io.load_recipe(parent.path / "recipe.yaml")
    source = settled_recipe(parent).data.source
    changed = recipe_io.with_overrides(recipe_io.set_knob(recipe, "data.source", source), knobs)
    check_used(changed)
    return changed, starts_anew(knobs)


def _decided(parent: RunDirectory, given: set[str], changed: Recipe) -> dict[str, Any]:
    """What was decided for the parent and still holds. Another rule or schedule brings its own
    knobs, and another rule wants its own rate. Raises RecipeError where none is named."""
    known = parent.read_json("resolved.json")
    if "optim.rule" in given:
        if "optim.lr" not in given:
            raise RecipeError(
                f"each update rule has rates of its own: name one for {changed.optim.rule}",
                "Such as --lr 0.001.",
            )
        known = _replaced(known, "optim", ("momentum", "rho", "eps"),
                          find_rule(changed.optim.rule).knobs)  # fmt: skip
    if "schedule.name" in given:
        epochs = changed.budget.epochs
        if epochs == "auto":
            epochs = known["budget.epochs"]["value"]
        usual = find_schedule(changed.schedule.name).defaults
        own = {k: epochs / 3 if k == "step_epochs" else v for k, v in usual.items()}
        known = _replaced(known, "schedule", ("warmup", "gamma", "step_epochs"), own)
    return {name: value for name, value in known.items() if name not in given}


def _replaced(
    known: dict[str, Any], group: str, old: tuple[str, ...], new: Mapping[str, float]
) -> dict[str, Any]:
    rest = {k: v for k, v in known.items() if k not in {f"{group}.{name}" for name in old}}
    usual = {f"{group}.{k}": {"value": v, "why": "the usual value"} for k, v in new.items()}
    return {**rest, **usual}


def _copy_log(parent: RunDirectory, where: Path, size: int) -> None:
    """The records up to the checkpoint; the first names the new run."""
    whole = (parent.path / "records.jsonl").read_bytes()[:size]
    write_atomically(where / "records.jsonl", whole)


def _copy_checkpoint(found: checkpoints.Checkpoint, where: Path, *, keeps_rule: bool) -> None:
    """With the rule's own memory only where the rule stays."""
    state = found.state()
    if not keeps_rule:
        state = {k: v for k, v in state.items() if not k.startswith("optimiser.")}
    own = ("files", "sha256")
    manifest = {k: v for k, v in found.manifest.items() if k not in own}
    checkpoints.save(where / "checkpoints", json.loads(json.dumps(manifest)), found.model(), state)
