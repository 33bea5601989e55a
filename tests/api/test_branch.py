"""Branches go on from a checkpoint with another knob; the parent stays as it is."""

import json

import numpy as np
import pytest
import torch

import striate
from striate.api.branch import BRANCH, branch, prepare_branch, starts_anew, steps_kept
from striate.core.errors import RecipeError, RunError
from striate.core.records import Finished, Step
from striate.core.run import RunDirectory
from striate.plan.recall import settled_recipe
from striate.training import checkpoints
from tests.conftest import QUICK, write_colours

KNOBS = {**QUICK, "epochs": 3, "model": "lenet", "lr": 0.05, "checkpoints.keep": 10,
         "device.precision": "float32", "optim.rule": "momentum"}  # fmt: skip


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    base = tmp_path_factory.mktemp("branch")
    write_colours(base / "data")
    return striate.train(base / "data", run=base / "parent", **KNOBS).path


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def last_weights(run):
    found, _ = checkpoints.latest(RunDirectory(run).checkpoints)
    return found.model()


def drained(records):
    return list(records)[-1]


def test_a_branch_that_changes_nothing_of_weight_is_the_parent(parent, tmp_path):
    """From the first epoch's checkpoint, with a knob that moves no weight: the same bits."""
    before = contents(parent)
    step = steps_kept(RunDirectory(parent))[0]
    last = drained(branch(parent, {"report.write": True}, step=step, folder=tmp_path / "b"))
    assert isinstance(last, Finished)
    ours, theirs = last_weights(tmp_path / "b"), last_weights(parent)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    steps = [r.step for r in RunDirectory(tmp_path / "b").records() if isinstance(r, Step)]
    assert steps == list(range(1, len(steps) + 1))
    assert contents(parent) == before
    told = json.loads((tmp_path / "b" / BRANCH).read_text())
    assert told == {"run": str(parent), "step": step, "knobs": {"report.write": True}}
    striate.Run(tmp_path / "b").evaluate()


@pytest.mark.parametrize(
    "knobs",
    [{"lr": 0.001}, {"regularise.l2": 0.1}, {"schedule.name": "step"}, {"regularise.dropout": 0.1},
     {"optim.rule": "adam", "lr": 1e-3}, {"optim.rule": "sgd", "lr": 0.1},
     {"regularise.average": "ema", "regularise.average_decay": 0.9}],
    ids=str,
)  # fmt: skip
def test_knobs_take_effect_from_the_checkpoint_on(parent, tmp_path, knobs):
    step = steps_kept(RunDirectory(parent))[0]
    last = drained(branch(parent, knobs, step=step, folder=tmp_path / "b"))
    assert isinstance(last, Finished)
    recipe = settled_recipe(RunDirectory(tmp_path / "b"))
    names = {"lr": "optim.lr"}
    for name, value in knobs.items():
        group, _, leaf = names.get(name, name).rpartition(".")
        assert getattr(getattr(recipe, group), leaf) == value
    start, here = last_weights(parent), last_weights(tmp_path / "b")
    assert any(not torch.equal(start[n], here[n]) for n in start)
    striate.Run(tmp_path / "b").evaluate()


def test_more_epochs_go_on_from_the_end(parent, tmp_path):
    last = drained(branch(parent, {"epochs": 4}, folder=tmp_path / "b"))
    assert last.epochs == 4
    with pytest.raises(RunError, match="nothing is left to train"):
        prepare_branch(RunDirectory(parent), {"lr": 0.01}, None, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_what_decides_the_first_step_begins_anew(parent, tmp_path):
    assert starts_anew({"model": "lenet"})
    assert starts_anew({"batch_size": 4})  # an epoch has other steps, and the schedule counts them
    assert not starts_anew({"lr": 1, "augment.flip": True})
    last = drained(branch(parent, {"seed": 7, "epochs": 1}, folder=tmp_path / "b"))
    assert last.epochs == 1
    assert not (tmp_path / "b" / BRANCH).exists()


def test_what_cannot_be_is_refused(parent, tmp_path):
    run = RunDirectory(parent)
    for knobs, error in (
        ({}, RecipeError), ({"optim.lrr": 1}, RecipeError), ({"lr": -1}, RecipeError),
        ({"optim.rule": "adam"}, RecipeError), ({"schedule.gamma": 0.5}, RecipeError),
    ):  # fmt: skip
        with pytest.raises(error):
            prepare_branch(run, knobs, steps_kept(run)[0], tmp_path / "b")
    with pytest.raises(RunError, match="no checkpoint of step 77"):
        prepare_branch(run, {"lr": 0.1}, 77, tmp_path / "b")
    with pytest.raises(RunError, match="has checkpoints"):
        prepare_branch(run, {"lr": 0.1}, steps_kept(run)[0], parent)
    assert not (tmp_path / "b").exists()


def test_a_damaged_checkpoint_is_not_branched_from(parent, tmp_path):
    import shutil

    shutil.copytree(parent, tmp_path / "p")
    step = steps_kept(RunDirectory(tmp_path / "p"))[0]
    file = tmp_path / "p" / "checkpoints" / f"step-{step:08d}" / "model.safetensors"
    data = np.frombuffer(file.read_bytes(), np.uint8).copy()
    data[-1] ^= 1
    file.write_bytes(data.tobytes())
    with pytest.raises(RunError, match="damaged"):
        prepare_branch(RunDirectory(tmp_path / "p"), {"lr": 0.1}, step, tmp_path / "b")


def test_the_command(parent, tmp_path, striate_cli):
    step = steps_kept(RunDirectory(parent))[0]
    code, out, _ = striate_cli(
        "branch", parent, "--lr", "0.01", "--step", step, "--run", tmp_path / "b", "--json"
    )
    assert code == 0
    assert json.loads(out.strip().splitlines()[-1])["run"] == str(tmp_path / "b")
    code, _, err = striate_cli("branch", parent)
    assert code == 2
    assert "Name a knob" in err
    code, _, err = striate_cli("branch", parent, "--augment.no-flip", "--step", "3")
    assert code == 2
    assert "no checkpoint of step 3" in err
