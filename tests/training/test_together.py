"""Several processes: the same training as one, exact evaluation, clean ends (F4, F16, F17)."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import striate
from striate.core.group import Group
from striate.core.records import Epoch, Step
from striate.core.run import RunDirectory
from striate.core.runtime import Runtime
from striate.data.augment import About, Pipeline
from striate.data.boxes import boxes_of
from striate.data.loader import ArrayStore, batches, epoch_plan
from striate.data.targets import Labels
from striate.training import checkpoints
from tests.conftest import OF_STRIDES, write_colours, write_rectangles

PLAIN = ("--model", "lenet", "--optim.rule", "nesterov", "--lr", "0.05", "--epochs", "10",
         "--batch-size", "8", "--image-size", "16", "--augment.flip", "True",
         "--device.precision", "float32", "--checkpoints.keep", "100")  # fmt: skip


def command(*arguments):
    return [sys.executable, "-m", "striate", *map(str, arguments)]


def run(*arguments, code=0, timeout=200):
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == code, done.stderr
    return done


def final(folder):
    path = sorted((folder / "checkpoints").glob("step-*"))[-1]
    return load_file(path / "model.safetensors")


@pytest.fixture(scope="module")
def tree_for_module(tmp_path_factory):
    return write_colours(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def alone(tree_for_module, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    run("train", tree_for_module, "--run", folder, *PLAIN)
    return folder


@pytest.mark.parametrize("procs", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_same_training_as_one_process(procs, alone, tree_for_module, tmp_path):
    """Float32, a network without batch norm, 50 steps: weights within 1e-5, the same curve."""
    done = run("train", tree_for_module, "--run", tmp_path / "run", "--procs", procs, *PLAIN,
               "--json")  # fmt: skip
    one, several = final(alone), final(tmp_path / "run")
    for name in one:
        np.testing.assert_allclose(several[name], one[name], atol=1e-5)
    records = [list(RunDirectory(f).records()) for f in (alone, tmp_path / "run")]
    losses = [[r.loss for r in rs if isinstance(r, Step)] for rs in records]
    assert len(losses[0]) >= 40
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-4)
    scores = [[r.val_score for r in rs if isinstance(r, Epoch)] for rs in records]
    assert scores[0] == scores[1]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["test"]["n"] == 12
    assert done.stdout.count("test scores by class") == 1


@pytest.mark.slow
def test_kept_features_of_frozen_stages_are_shared(alone, tree_for_module, tmp_path):
    """A start from weights: two processes compute half of the features each, and end like one."""
    flags = ("--weights", alone, "--freeze", 1, "--model.kept-views", 2, "--optim.rule", "nesterov",
             "--optim.backbone-rate", 0.5, "--lr", "0.05", "--epochs", "3", "--batch-size", "8",
             "--image-size", "16", "--augment.flip", "True", "--device.precision", "float32",
             "--report.no-write")  # fmt: skip
    for procs in (1, 2):
        run("train", tree_for_module, "--run", tmp_path / str(procs), "--procs", procs, *flags)
    one, two = final(tmp_path / "1"), final(tmp_path / "2")
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=1e-5)
    records = [list(RunDirectory(tmp_path / str(p)).records()) for p in (1, 2)]
    scores = [[r.val_score for r in rs if isinstance(r, Epoch)] for rs in records]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_a_detector_of_two_processes_is_scored_like_one(tmp_path):
    """F16: objects of every image count once, however many processes find them."""
    data = tmp_path / "data"
    data.mkdir()
    write_rectangles(data)
    run("train", data, "--run", tmp_path / "run", "--procs", 2, "--model", OF_STRIDES, "--epochs",
        "6", "--lr", "0.003", "--optim.rule", "adam", "--device.precision", "float32",
        "--report.no-write")  # fmt: skip
    told = json.loads((tmp_path / "run" / "scores.json").read_text("utf-8"))
    again = striate.Run(tmp_path / "run").evaluate(split="test")
    assert told["test"]["n"] == 10
    assert told["test"]["average_precision_50"] > 0
    for name in ("average_precision", "average_precision_50", "average_recall_100"):
        assert told["test"][name] == pytest.approx(again.scores[name], abs=1e-6)


@pytest.mark.slow
def test_a_killed_process_is_replaced(alone, tree_for_module, tmp_path):
    """kill −9 of one of two: the training goes on from its last checkpoint, to the same end."""
    folder = tmp_path / "run"
    with subprocess.Popen(
        command("train", tree_for_module, "--run", folder, "--procs", 2, *PLAIN,
                "--checkpoints.every-steps", 3),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        _wait_for(lambda: any((folder / "checkpoints").glob("step-*/manifest.json")))
        os.kill(_worker(process.pid, rank=1), signal.SIGKILL)
        _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "going on from the last checkpoint" in err
    for name, value in final(alone).items():
        np.testing.assert_allclose(final(folder)[name], value, atol=1e-5)
    steps = [r.step for r in RunDirectory(folder).records() if isinstance(r, Step)]
    assert steps == list(range(1, len(steps) + 1))


@pytest.mark.slow
def test_nobody_outlives_the_launcher(tree_for_module, tmp_path):
    """F4: kill −9 of the launcher; its processes save and end within ten seconds."""
    folder = tmp_path / "run"
    line = command("train", tree_for_module, "--run", folder, "--procs", 2, *PLAIN,
                   "--epochs", 5000, "--checkpoints.every-steps", 3)  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # no broken pipe ends them
    with subprocess.Popen(line, **quiet) as process:
        _wait_for(lambda: any((folder / "checkpoints").glob("step-*/manifest.json")))
        workers = [_worker(process.pid, rank) for rank in range(2)]
        process.kill()
    _wait_for(lambda: not any(Path(f"/proc/{number}").exists() for number in workers), 10)
    sound, faults = checkpoints.latest(folder / "checkpoints")
    assert sound is not None
    assert not faults


def test_wrong_input_is_said_once(tree_for_module, tmp_path):
    done = run("train", tree_for_module, "--run", tmp_path / "run", "--procs", 2,
               "--batch-size", "1", "--image-size", "16", code=2)  # fmt: skip
    assert done.stderr.count("too few for 2 processes") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def _numbered(count):
    """A box an image, whose class is the image's number."""
    one = [np.array([[1.0, 1, 7, 7]]), None, np.zeros(1, np.uint8)]
    return boxes_of([(one[0], np.array([i]), one[2]) for i in range(count)])


@pytest.mark.parametrize(("strengths", "targets"), [
    ({"pad": 2.0, "flip": 0.5}, Labels(np.arange(37))),
    ({"mixup": 0.3, "cutmix": 1.0}, Labels(np.arange(37))),
    ({"mosaic": 0.7, "flip": 0.5}, _numbered(37)), ({"mixup": 4.0}, _numbered(37)),
], ids=["alone", "mixed", "mosaic", "blended"])  # fmt: skip
@pytest.mark.parametrize("world", [2, 3])
def test_shares_of_batches_are_the_batches(strengths, targets, world):
    images = np.random.default_rng(0).integers(0, 256, (37, 8, 8, 3), dtype=np.uint8)
    pipe, plan = Pipeline(0, strengths, About(8, np.full(3, 9.0))), epoch_plan(37, 9, 0, 1)

    def made(rank, size):
        shared = {"start": 0, "threads": 0, "runtime": _as(rank, size)}
        return list(batches(ArrayStore(images), targets, plan, pipe, 1, **shared))

    parts = [made(rank, world) for rank in range(world)]
    for number, whole in enumerate(made(0, 1)):
        together = np.empty_like(whole.images)
        for rank in range(world):
            together[rank::world] = parts[rank][number].images
            np.testing.assert_array_equal(parts[rank][number].everyone, whole.ids)
            if targets.placed:
                own = whole.targets.take(np.arange(rank, len(whole), world))
                theirs = parts[rank][number].targets
                np.testing.assert_array_equal(own.numbers, theirs.numbers)
                np.testing.assert_array_equal(own.places, theirs.places)
                assert len(own.numbers) > len(own)  # objects of partners too
            if whole.mixing is not None:
                np.testing.assert_array_equal(
                    parts[rank][number].mixing.partners.array,
                    whole.mixing.partners.array[rank::world],
                )
        np.testing.assert_array_equal(together, whole.images)


def test_the_world_may_change_in_the_middle():
    """A position counts batches of the global plan, so the rest is the rest for any world."""
    images = np.zeros((103, 4, 4, 1), np.uint8)
    pipe, plan = Pipeline(0, {}, About(4, np.zeros(1))), epoch_plan(103, 12, 0, 0)
    targets = Labels(np.zeros(103, dtype=np.int64))
    seen = []
    for world, start, end in ((2, 0, 4), (3, 4, 7), (1, 7, len(plan))):
        for rank in range(world):
            shared = {"start": start, "threads": 0, "runtime": _as(rank, world)}
            found = list(batches(ArrayStore(images), targets, plan, pipe, 0, **shared))
            seen += [batch.ids for batch in found[: end - start]]
    assert sorted(np.concatenate(seen)) == list(range(103))


def _as(rank, world):
    return Runtime(torch.device("cpu"), "float32", Group(rank, world))


def _wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def _worker(parent, rank):
    """The process of this rank below `parent`."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended meanwhile
        if above == parent and f"RANK={rank}".encode() in names:
            return int(folder.name)
    raise AssertionError("no such worker")
