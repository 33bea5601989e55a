"""The loop: repeatable, resumable, closable, and loud about what is not finite."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import striate
from striate.core.errors import RunError, StriateError, TrainingError
from striate.core.records import Epoch, Finished, Planned, Saved, Started, Step
from striate.core.run import RunDirectory
from striate.plan import auto
from striate.training import checkpoints
from striate.training.update import first_bad_layer
from tests.conftest import QUICK, STAGED

KNOBS = {**QUICK, "model": STAGED.replace("gap", "gap, dropout 0.3"), "augment.cutout": 4}


def weights(run):
    last, faults = checkpoints.latest(RunDirectory(run).checkpoints)
    assert not faults
    return last.model()


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def consume(stream, until=lambda r: False):
    seen = []
    for record in stream:
        seen.append(record)
        if until(record):
            stream.close()
            break
    return seen


def test_the_stream_tells_the_story(tree, tmp_path):
    seen = consume(striate.stream(tree, run=tmp_path / "run", **KNOBS))
    assert isinstance(seen[0], Started)
    assert seen[0].run == str(tmp_path / "run")
    kinds = [type(r) for r in seen]
    assert kinds.count(Planned) == 1
    assert kinds.count(Epoch) == kinds.count(Saved) == 2
    assert kinds[-1] is Finished
    plan = next(r for r in seen if isinstance(r, Planned))
    steps = [r for r in seen if isinstance(r, Step)]
    assert [s.step for s in steps] == list(range(1, plan.steps + 1))
    assert all(np.isfinite([s.loss, s.lr, s.gradient_norm]).all() for s in steps)
    with pytest.raises(dataclasses.FrozenInstanceError):
        steps[0].loss = 0
    assert list(RunDirectory(tmp_path / "run").records()) == seen


def test_the_same_seed_twice(tree, tmp_path):
    for name in ("a", "b"):
        striate.train(tree, run=tmp_path / name, **KNOBS)
    striate.train(tree, run=tmp_path / "c", seed=1, **KNOBS)
    a, b, c = (weights(tmp_path / n) for n in "abc")
    assert equal(a, b)
    assert not equal(a, c)
    files = [next((tmp_path / n / "checkpoints").glob("step-*/model.safetensors")) for n in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_recipe_yaml_repeats_the_run(tree, tmp_path):
    striate.train(tree, run=tmp_path / "a", **KNOBS)
    striate.train(recipe=tmp_path / "a" / "recipe.yaml", run=tmp_path / "b")
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.parametrize(
    "extra", [{}, {"regularise.average": "ema"}, {"optim.rule": "adamw"}, {"model": "lenet"}]
)
@pytest.mark.parametrize("at", [1, 3, 5, 8])
def test_resumed_equals_uninterrupted(extra, at, tree, tmp_path):
    """Closed after any step, within an epoch or at its end, and continued: the same bits."""
    knobs = {**KNOBS, **extra}
    striate.train(tree, run=tmp_path / "whole", **knobs)
    stream = striate.stream(tree, run=tmp_path / "cut", **knobs)
    consume(stream, until=lambda r: isinstance(r, Step) and r.step == at)
    striate.resume(tmp_path / "cut")
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    whole, cut = (list(RunDirectory(tmp_path / n).records()) for n in ("whole", "cut"))
    assert [r.loss for r in whole if isinstance(r, Step)] == [
        r.loss for r in cut if isinstance(r, Step)
    ]
    scores = [
        [(r.train_loss, r.val_loss, r.val_score) for r in rs if isinstance(r, Epoch)]
        for rs in (whole, cut)
    ]
    assert scores[0] == scores[1]


def test_checkpoints_between_epochs(tree, tmp_path):
    """By steps and by time; the last few stay; the result is the same."""
    knobs = {**KNOBS, "checkpoints.every_steps": 2, "checkpoints.keep": 3}
    whole = consume(striate.stream(tree, run=tmp_path / "a", **KNOBS))
    saved = [r.step for r in consume(striate.stream(tree, run=tmp_path / "b", **knobs))
             if isinstance(r, Saved)]  # fmt: skip
    per_epoch = next(r for r in whole if isinstance(r, Epoch)).step
    assert saved == sorted({*range(2, per_epoch, 2), per_epoch, *(
        per_epoch + s for s in range(2, per_epoch, 2)), 2 * per_epoch})  # fmt: skip
    there = {int(p.name[5:]) for p in (tmp_path / "b" / "checkpoints").iterdir()}
    assert set(saved[-3:]) <= there
    assert len(there) <= 4
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    often = {**KNOBS, "checkpoints.every_minutes": 1e-9}
    steps = [r for r in consume(striate.stream(tree, run=tmp_path / "c", **often))
             if isinstance(r, Saved)]  # fmt: skip
    assert len(steps) == 2 * per_epoch
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_extending_a_finished_run(tree, tmp_path):
    striate.train(tree, run=tmp_path / "run", **KNOBS)
    with pytest.raises(RunError, match="2 epochs are planned: 2 would extend nothing"):
        striate.resume(tmp_path / "run", epochs=2)
    run = striate.resume(tmp_path / "run", epochs=4)
    assert run.finished.epochs == 4
    records = list(RunDirectory(tmp_path / "run").records())
    assert [r.epoch for r in records if isinstance(r, Epoch)] == [1, 2, 3, 4]
    steps = [r.step for r in records if isinstance(r, Step)]
    assert steps == list(range(1, len(steps) + 1))
    assert sum(type(r).__name__ == "Finished" for r in records) == 1
    # interrupted in its longer plan, it is continued under that plan
    stream = striate.api.stream.resume(tmp_path / "run", epochs=6)
    consume(stream, until=lambda r: isinstance(r, Epoch))
    assert striate.resume(tmp_path / "run").finished.epochs == 6


def test_stop_saves_and_resume_finishes(tree, tmp_path):
    asked = []
    stream = striate.stream(tree, run=tmp_path / "run", stop=lambda: len(asked) >= 3, **KNOBS)
    for record in stream:
        if isinstance(record, Step):
            asked.append(record)
    assert len(asked) == 3
    assert isinstance(record, Saved)
    run = striate.resume(tmp_path / "run")
    assert run.finished.epochs == 2
    again = consume(striate.api.stream.resume(tmp_path / "run"))
    assert "nothing to resume" in again[1].text
    assert again[-1] == run.finished


def test_resume_from_nothing_starts_again(tree, tmp_path):
    striate.train(tree, run=tmp_path / "whole", **KNOBS)
    stream = striate.stream(tree, run=tmp_path / "cut", **KNOBS)
    consume(stream, until=lambda r: isinstance(r, Planned))
    assert not list((tmp_path / "cut" / "checkpoints").iterdir())
    striate.resume(tmp_path / "cut")
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_resume_falls_back_and_says_so(tree, tmp_path):
    stream = striate.stream(tree, run=tmp_path / "run", **{**KNOBS, "epochs": 3})
    consume(stream, until=lambda r: isinstance(r, Saved) and r.epoch == 2)
    found = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert len(found) == 2 or found  # best and last
    newest = found[-1] / "model.safetensors"
    damaged = bytearray(newest.read_bytes())
    damaged[-1] ^= 1
    newest.write_bytes(damaged)
    notes = [
        r.text for r in consume(striate.api.stream.resume(tmp_path / "run")) if hasattr(r, "text")
    ]
    assert any(
        f"{found[-1].name} is damaged: hash of model.safetensors differs" in n for n in notes
    )


def test_changed_data_is_refused(tree, tmp_path):
    stream = striate.stream(tree, run=tmp_path / "run", **KNOBS)
    consume(stream, until=lambda r: isinstance(r, Saved))
    image = tree / "train" / "red" / "0.png"
    image.write_bytes((tree / "train" / "red" / "1.png").read_bytes())
    with pytest.raises(RunError, match="the train images of .* changed"):
        striate.resume(tmp_path / "run")


def test_a_nan_stops_before_the_update(tree, tmp_path, monkeypatch):
    """F14: step and files are named, the saved weights are finite."""
    from striate.tasks.classify import losses

    calls = []

    def poisoned(logits, targets, smoothing):
        calls.append(1)
        return losses.cross_entropy(logits, targets, smoothing) * (
            float("nan") if len(calls) == 4 else 1
        )

    monkeypatch.setitem(losses.LOSSES, "cross_entropy", poisoned)
    with pytest.raises(TrainingError) as error:
        consume(striate.stream(tree, run=tmp_path / "run", **KNOBS, **{"data.workers": 1}))
    message = str(error.value)
    assert message.startswith("step 4: loss nan")
    assert "/train/" in message
    assert ".png" in message
    assert all(torch.isfinite(t).all() for t in weights(tmp_path / "run").values())
    assert RunDirectory(tmp_path / "run")


def test_first_bad_layer_is_named():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        net[2].weight.fill_(float("inf"))
    assert first_bad_layer(net, torch.ones(1, 2)) == "2"
    assert not net[0]._forward_hooks


def test_high_rate_diverges_with_advice(tree, tmp_path):
    with pytest.raises(TrainingError, match="A lower learning rate usually helps"):
        striate.train(
            tree, run=tmp_path / "run",
            **{**QUICK, "model": "lenet", "lr": 1e9, "optim.rule": "sgd", "epochs": 5},
        )  # fmt: skip


def test_patience(tree, tmp_path):
    run = striate.train(
        tree, run=tmp_path / "run", **{**QUICK, "epochs": 30, "regularise.patience": 2}
    )
    assert run.finished.reason == "patience"
    assert run.finished.epochs < 30


def test_the_best_epoch_is_scored(tree, tmp_path):
    run = striate.train(tree, run=tmp_path / "run", **{**QUICK, "epochs": 4})
    best = max(r.val_score for r in run.records() if isinstance(r, Epoch))
    assert run.finished.val["plain_accuracy"] == pytest.approx(best)
    step = run.read_json("scores.json")["checkpoint_step"]
    assert (run.checkpoints / f"step-{step:08d}").is_dir()
    assert len(list(run.checkpoints.iterdir())) <= 2


@pytest.mark.parametrize(
    "knobs",
    [
        {"loss.name": "hinge"},
        {"loss.name": "mse"},
        {"regularise.l1": 1e-4, "regularise.max_norm": 3.0, "optim.clip_norm": 1.0},
        {"model.initialiser": "he", "model": "lenet", "schedule.name": "cosine"},
        {"augment.crop": "resized", "data.prepare": "mean_image"},
        {"optim.rule": "rmsprop", "schedule.name": "step", "data.prepare": "symmetric"},
        {"device.precision": "float32", "device.channels_last": False, "data.resize": "pad"},
        {"data.memory_mb": 0, "data.workers": 2},
    ],
)
def test_every_family_trains(knobs, tree, tmp_path):
    run = striate.train(tree, run=tmp_path / "run", **{**QUICK, "epochs": 3, **knobs})
    losses = [r.train_loss for r in run.records() if isinstance(r, Epoch)]
    assert losses[-1] < losses[0]


def test_memory_and_workers_train_the_same(tree, tmp_path):
    for name, knobs in (("memory", {}), ("disk", {"data.memory_mb": 0, "data.workers": 2})):
        striate.train(tree, run=tmp_path / name, **KNOBS, **knobs)
    assert equal(weights(tmp_path / "memory"), weights(tmp_path / "disk"))


def test_multi_label(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.random((90, 3)) < 0.5
    images = (table[:, None, None, :] * 180 + rng.integers(0, 60, (90, 8, 8, 3))).astype(np.uint8)
    run = striate.train((images, table), run=tmp_path / "run", model=STAGED, epochs=40)
    test = run.finished.test
    assert test["mean_average_precision"] > 0.95
    assert set(test) == {
        "mean_average_precision",
        "plain_mean_average_precision",
        "exact_match",
        "loss",
        "n",
    }
    prediction = run.predict([images[0]])[0]
    assert set(prediction.labels) == {run.classes[i] for i in np.flatnonzero(table[0])}
    assert run.evaluate().scores["n"] == test["n"]  # the session still has the data
    with pytest.raises(RunError, match="Python objects"):
        striate.Run(run.path).evaluate()
    assert run.evaluate((images, table)).scores["n"] == 90


def test_minutes_plan_the_epochs(tree, tmp_path):
    knobs = {k: v for k, v in QUICK.items() if k != "epochs"}
    run = striate.train(tree, run=tmp_path / "run", minutes=0.05, **knobs)
    decided = json.loads((tmp_path / "run" / "resolved.json").read_text())["budget.epochs"]
    assert decided["value"] == run.finished.epochs >= 1
    assert "0.05 minutes" in decided["why"]
    assert "minutes: null" in (tmp_path / "run" / "recipe.yaml").read_text()


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        (
            {"optim.rule": "adagrad", "optim.momentum": 0.5},
            "optim.momentum: adagrad does not use it",
        ),
        (
            {"schedule.name": "cosine", "schedule.gamma": 0.5},
            "schedule.gamma: cosine does not use it",
        ),
        ({"loss.name": "hinge", "loss.label_smoothing": 0.1}, "loss.label_smoothing: not used"),
        ({"model": "lenet", "model.width": 2.0}, "model.width: not used: model is lenet"),
        ({"epochs": 2, "minutes": 1.0}, "budget.epochs and budget.minutes both given"),
        ({"model": "lenett"}, "unknown architecture 'lenett'"),
        ({"device.device": "cuda:9"}, "device.device: 'cuda:9' cannot be used here"),
    ],
)
def test_unusable_knobs_are_refused_and_nothing_is_left(knobs, expected, tree, tmp_path):
    with pytest.raises(StriateError) as error:
        striate.train(tree, run=tmp_path / "run", **knobs)
    assert expected in str(error.value)
    assert not (tmp_path / "run").exists()


def test_safetensors_only(tree, tmp_path):
    run = striate.train(tree, run=tmp_path / "run", **QUICK)
    for path in run.checkpoints.glob("*/*.safetensors"):
        assert load_file(path)
    suffixes = {p.suffix for p in run.path.rglob("*") if p.is_file()}
    assert suffixes <= {".safetensors", ".json", ".jsonl", ".yaml", ".csv", ".gz", ".html", ""}


def test_a_nan_leaves_batch_norm_as_it_was(tree, tmp_path):
    """The forward pass has reached the running averages before the loss is seen (F14)."""
    stream = striate.stream(
        tree, run=tmp_path / "run", **{**KNOBS, "optim.rule": "sgd", "lr": 1e9, "epochs": 9}
    )
    with pytest.raises(TrainingError):
        consume(stream)
    for path in (tmp_path / "run" / "checkpoints").glob("*/model.safetensors"):
        assert all(torch.isfinite(t.float()).all() for t in load_file(path).values())


def test_planned_epochs_decide_cutout(tree, tmp_path):
    """With --minutes the epochs are known late; the recipe must still repeat the run."""
    knobs = {k: v for k, v in QUICK.items() if k != "epochs"}
    striate.train(tree, run=tmp_path / "a", minutes=0.02, **knobs)
    striate.train(recipe=tmp_path / "a" / "recipe.yaml", run=tmp_path / "b")
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_minutes_replace_inherited_epochs(tree, tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("budget:\n  epochs: 500\n")
    knobs = {k: v for k, v in QUICK.items() if k != "epochs"}
    run = striate.train(tree, recipe=recipe, run=tmp_path / "run", minutes=0.04, **knobs)
    assert run.finished.epochs < 500


def test_images_that_vanish_in_training(tree, tmp_path):
    """From other threads too the message is ours, without a trace."""
    knobs = {**KNOBS, "data.memory_mb": 0, "data.cache_mb": 0, "data.workers": 2, "epochs": 3}
    stream = striate.stream(tree, run=tmp_path / "run", **knobs)
    next(record for record in stream if isinstance(record, Saved))
    (tree / "train" / "red" / "3.png").write_bytes(b"")
    with pytest.raises(TrainingError) as error:
        consume(stream)
    assert "3.png cannot be read: zero bytes" in str(error.value)
    assert "Traceback" not in str(error.value)


def test_mostly_unique_label_combinations(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.random((60, 12)) < 0.4
    images = rng.integers(0, 255, (60, 8, 8), dtype=np.uint8)
    run = striate.train((images, table), run=tmp_path / "run", **{**QUICK, "image_size": 8})
    assert run.finished.val["n"] >= 3


LENET = {**QUICK, "model": "lenet", "optim.rule": "nesterov", "lr": 0.05,
         "device.precision": "float32"}  # fmt: skip


@pytest.mark.parametrize("extra", [{}, {"augment.mixup": 0.4}])
def test_parts_of_a_batch_add_up(extra, tree, tmp_path):
    """Without batch norm the gradient of a batch is that of its parts (8 = 3 + 3 + 2)."""
    runs = [
        striate.train(tree, run=tmp_path / name, **LENET, **extra, **{"device.micro_batch": size})
        for name, size in (("whole", 0), ("parts", 3))
    ]
    whole, parts = (weights(run.path) for run in runs)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], atol=1e-5, rtol=1e-4)
    losses = [[r.loss for r in run.records() if isinstance(r, Step)] for run in runs]
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-5)


def test_parts_are_as_large_as_memory_allows(tree, tmp_path, monkeypatch):
    """2 MB free: three images of a fastnet at 16 pixels fit, so 8 go through in parts of 3, and
    resuming and repeating do the same, however much is free then."""
    from striate.models.fit import bytes_per_image
    from striate.models.zoo import build

    each = bytes_per_image(build("fastnet", num_classes=3, channels=3, image_size=16), 3, 16)
    free = int(3.5 * each / auto.MEMORY_SHARE)
    with monkeypatch.context() as tight:
        tight.setattr(auto, "device_memory", lambda _: free)
        records = striate.stream(tree, run=tmp_path / "run", **{**KNOBS, "model": "fastnet"})
        consume(records, until=lambda r: isinstance(r, Step) and r.step == 3)
    decided = RunDirectory(tmp_path / "run").read_json("resolved.json")["device.micro_batch"]
    assert decided["value"] == 3
    assert "3 images fit" in decided["why"]
    assert striate.resume(tmp_path / "run").recipe.device.micro_batch == 3
    again = striate.train(tree, recipe=tmp_path / "run" / "recipe.yaml", run=tmp_path / "again")
    assert equal(weights(tmp_path / "run"), weights(again.path))


def test_a_nan_in_a_later_part_is_found(tree, tmp_path, monkeypatch):
    knobs = {**LENET, "device.micro_batch": 3, "lr": 1e9}
    with pytest.raises(TrainingError, match="first layer with a non-finite output"):
        striate.train(tree, run=tmp_path / "run", **knobs)


def test_synchronised_norm_needs_gpus(tree, tmp_path):
    with pytest.raises(StriateError, match="GPUs only"):
        striate.train(tree, run=tmp_path / "r", **KNOBS, **{"device.sync_norm": True})
