"""What use has found, from end to end: one training each, small."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import striate
from striate.api.folds import stream_folds
from striate.core.errors import DataError, ModelError, RunError
from striate.core.records import Estimated, Measured, Note
from striate.doctor.remedies import Attempt
from tests.conftest import QUICK, STAGED, write_tree

SMALL = "conv 3x3 8 pad 1, relu, pool 2, fc 16, relu, fc classes"


def bars(count, classes=4, seed=0, side=16):
    """Noise with a bright bar whose place is the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = rng.integers(0, 60, (count, side, side))
    wide = side // classes
    for image, label in zip(images, labels, strict=True):
        image[:, wide * label : wide * (label + 1)] += 150
    return images.astype(np.uint8), labels


def lagging(num_classes, channels):
    """Batch norm whose averages hardly move, behind means that are far from those they start with:
    in evaluation mode no unit is above zero."""
    net = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=5e-4), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16, momentum=5e-4),
        nn.ReLU(), nn.Flatten(), nn.Linear(1024, num_classes),
    )  # fmt: skip
    with torch.no_grad():
        for layer in (net[0], net[4]):
            layer.bias.sub_(8)
    return net


def in_class_order(split):
    images, labels = split
    order = np.argsort(labels, kind="stable")
    return images[order], labels[order]


@pytest.fixture(scope="module")
def lagged(tmp_path_factory):
    """A run whose averages are useless, on data in folder order."""
    data = {"train": in_class_order(bars(160)), "val": bars(60, seed=1), "test": bars(60, seed=2)}
    run = tmp_path_factory.mktemp("lagged") / "run"
    knobs = {**QUICK, "epochs": 6, "lr": 0.02, "model": f"{__name__}:lagging"}
    records = list(striate.stream(data, run=run, **knobs))
    return data, run, records


def test_averages_are_estimated_anew_and_can_be_adopted(lagged, striate_cli):
    data, path, records = lagged
    made = [r for r in records if isinstance(r, Estimated)]
    assert len(made) == 1
    assert made[0].estimated > made[0].running + 0.2
    said = striate.diagnose(path)
    assert said.findings[0].rule == "norm_mismatch"
    assert "striate doctor RUN --adopt" in said.findings[0].remedies
    run = striate.Run(path, data)
    before = run.evaluate(split="test")["accuracy"]
    assert run.adopt_averages()[1] == pytest.approx(made[0].estimated)
    assert striate.Run(path, data).evaluate(split="test")["accuracy"] > before + 0.2
    with pytest.raises(RunError, match="no averages"):
        run.adopt_averages()


def test_the_norm_gap_of_data_in_folder_order_is_small(tmp_path):
    """A batch of one class has statistics of its own; samples are in an order of their own."""
    data = {"train": in_class_order(bars(240)), "val": bars(60, seed=1)}
    block = "conv 3x3 8 pad 1, batchnorm, relu"
    model = f"{block}, pool 2, {block}, gap, fc classes"
    knobs = {**QUICK, "epochs": 8, "batch_size": 16, "lr": 0.05, "model": model}
    records = list(striate.stream(data, run=tmp_path / "run", **knobs))
    last = [r for r in records if isinstance(r, Measured)][-1]
    assert abs(last.norm_gap) < 0.15
    assert abs(last.norm_stale) < 0.1
    assert last.input_deviation == pytest.approx(1, abs=0.5)


def test_a_live_verdict_that_does_not_hold_is_withdrawn():
    from striate.core.findings import Finding
    from striate.doctor.diagnosis import Diagnosis
    from striate.doctor.live import Watch

    said = Finding("label_noise", "sick", "x", confidence=0.9)
    watch = Watch({}, [said])
    assert watch.withdrawn(Diagnosis("healthy", (), {})) == ["label_noise"]
    assert watch.withdrawn(Diagnosis("sick", (said,), {})) == []


def test_clean_labels_are_not_called_noise(tmp_path):
    for seed in range(3):
        run = tmp_path / str(seed)
        knobs = {"model": SMALL, "augment.flip": False, "device.precision": "float32"}
        records = list(striate.stream(bars(80), run=run, seed=seed, epochs=8, **knobs))
        told = [r for r in records if getattr(r, "rule", "") == "label_noise"]
        assert told == []


def test_what_the_session_has_can_be_evaluated(tmp_path):
    run = striate.train(bars(80), run=tmp_path / "run", **QUICK)
    assert run.evaluate().split == "test"


def test_scoring_training_images_is_warned_about(trained):
    run, data = trained
    found = striate.Run(run).evaluate(data / "train")
    assert any("of these 36 images were trained on" in note for note in found.notes)
    assert not any("trained on" in note for note in striate.Run(run).evaluate(data / "test").notes)


def test_data_that_were_moved(tmp_path, striate_cli):
    data = write_tree(tmp_path / "data", dict.fromkeys(("red", "blue"), 12))
    run = tmp_path / "run"
    striate.train(data, run=run, **{**QUICK, "report.write": False})
    data.rename(tmp_path / "elsewhere")
    for verb in ("evaluate", "report", "explain"):
        code, _, err = striate_cli(verb, run)
        assert code == 2
        assert "are no longer at" in err
        assert "--moved DATA" in err
    code, _, err = striate_cli("resume", run, "--epochs", 3)
    assert "say where they are now: striate resume" in err
    assert striate_cli("evaluate", run, "--moved", tmp_path / "elsewhere")[0] == 0
    assert striate_cli("evaluate", run)[0] == 0  # it remembers
    (run / "moved.json").unlink()
    assert striate_cli("resume", run, tmp_path / "elsewhere", "--epochs", 3)[0] == 0
    assert striate_cli("report", run)[0] == 0
    other = write_tree(tmp_path / "other", dict.fromkeys(("red", "green"), 12))
    (run / "moved.json").unlink()
    assert striate_cli("evaluate", run, "--moved", other)[0] == 2


def test_folds_of_data_that_changed_are_refused(tmp_path):
    data = write_tree(tmp_path / "data", dict.fromkeys(("red", "blue"), 24))
    given = {**QUICK, "folds": 2, "report.write": False}
    list(stream_folds(data, run=tmp_path / "f", **given))
    for file in sorted(tmp_path.glob("f/fold-2/**/*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    for file in (data / "red").glob("?.png"):
        file.unlink()
    with pytest.raises(RunError, match="the images changed since"):
        list(stream_folds(data, run=tmp_path / "f", **given))
    assert not (tmp_path / "f" / "fold-2" / "images.csv.gz").exists()


def test_several_labels_are_all_named_or_none(tmp_path, striate_cli, monkeypatch):
    from PIL import Image

    rng = np.random.default_rng(0)
    table = (rng.random((90, 3)) < 0.5).astype(int)
    images = (table[:, None, None, :] * 180 + rng.integers(0, 60, (90, 8, 8, 3))).astype(np.uint8)
    run = striate.train((images, table), run=tmp_path / "run", model=STAGED, epochs=40)
    both, none = np.flatnonzero(table.sum(axis=1) > 1)[0], np.flatnonzero(table.sum(axis=1) == 0)[0]
    for name, i in (("both", both), ("none", none)):
        Image.fromarray(images[i]).save(tmp_path / f"{name}.png")
    _, out, _ = striate_cli(
        "predict",
        run.path,
        tmp_path / "both.png",
        tmp_path / "none.png",
        "--csv",
        tmp_path / "p.csv",
    )
    first, second = out.splitlines()
    assert len(first.split("\t")[1].split("  ")) == table[both].sum()
    assert second.endswith("(no label)")
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert rows[1]["label"] == ""
    assert rows[0]["label"].count(";") == table[both].sum() - 1


def not_a_module(num_classes):
    return {"a": num_classes}


def test_a_factory_that_gives_no_module(tmp_path):
    with pytest.raises(ModelError, match=r"gives a dict, not a torch.nn.Module"):
        striate.train("digits", run=tmp_path / "r", model=f"{__name__}:not_a_module")


def diverging(num_classes, channels):
    return Diverging(channels, num_classes)


class Diverging(nn.Module):
    """Infinite in evaluation mode."""

    def __init__(self, channels, num_classes):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))
        self.net(torch.zeros(1, channels, 16, 16))

    def forward(self, x):
        y = self.net(x)
        return y if self.training else y * float("inf")


def test_outputs_that_are_not_finite_end_in_a_report(tmp_path):
    run = striate.train(
        bars(80), run=tmp_path / "run", **{**QUICK, "model": f"{__name__}:diverging"}
    )
    scores = json.loads((run.path / "scores.json").read_text())
    assert scores["test"]["loss"] is None
    assert "NaN" not in (run.path / "scores.json").read_text()


def test_networks_that_ask_for_the_version_of_their_weights(tmp_path):
    """torchvision's MNASNet reads the version in a state dict's metadata."""
    from torchvision.models import mnasnet0_5

    from striate.training.state import load_weights

    net = mnasnet0_5(weights=None, num_classes=3)
    load_weights(mnasnet0_5(weights=None, num_classes=3), dict(net.state_dict()))


def test_a_remedy_that_stays_at_chance_does_not_help():
    better = Attempt("--lr 1", "x", True, 0.12, 0.08, 0.04, 0.01, 0.07, floor=0.15)
    assert better.verdict == "undetermined"
    assert Attempt("--lr 1", "x", True, 0.5, 0.08, 0.42, 0.3, 0.5, floor=0.15).verdict == "helps"


def test_the_central_crop_says_what_it_cuts_away(tmp_path):
    data = write_tree(tmp_path / "data", dict.fromkeys(("red", "blue"), 12), size=(30, 16))
    records = striate.stream(data, run=tmp_path / "run", **QUICK)
    told = [r.text for r in records if isinstance(r, Note) and "central crop" in r.text]
    assert "leaves out 47% of the median image" in told[0]
    assert "--data.resize pad" in told[0]


def test_one_picture_in_two_classes_is_remarked(tmp_path):
    data = write_tree(tmp_path / "data", dict.fromkeys(("red", "blue"), 12))
    (data / "red" / "same.png").write_bytes((data / "blue" / "0.png").read_bytes())
    told = [r.text for r in striate.stream(data, run=tmp_path / "run", **QUICK)
            if isinstance(r, Note) and "with different labels" in r.text]  # fmt: skip
    assert told


@pytest.mark.parametrize("missing", [1, 2])
def test_paths_that_are_missing_are_all_named(trained, tmp_path, missing):
    good = next((trained[1] / "test" / "red").glob("*.png"))
    lost = [str(tmp_path / f"lost{i}.png") for i in range(missing)]
    with pytest.raises(DataError) as error:
        striate.Run(trained[0]).predict([str(good), *lost])
    assert all(path in str(error.value) for path in lost)


def test_running_trainings_are_called_running(tmp_path, striate_cli):
    data = write_tree(tmp_path / "data", dict.fromkeys(("red", "blue"), 12))
    records = striate.stream(data, run=tmp_path / "runs" / "r", **QUICK)
    for record in records:
        if type(record).__name__ == "Step":
            assert "running" in striate_cli("runs", tmp_path / "runs")[1]
            break
    records.close()
    assert "can be resumed" in striate_cli("runs", tmp_path / "runs")[1]


ONE_AFTER_THE_OTHER = """
import json, sys
from striate.cli.main import main
for number, words in enumerate(json.load(sys.stdin)):
    print("=== next ===" * (number > 0))
    main(words)
"""


@pytest.mark.slow
def test_main_verbs_under_four_hash_seeds(tmp_path):
    """F25: nothing depends on the order of a set. Classes that are equal as numbers, too."""
    data = write_tree(tmp_path / "data", dict.fromkeys(("1", "01", "2", "02"), 8))
    said = set()
    for seed in range(1, 5):
        run = tmp_path / f"run{seed}"
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        common = ["--epochs", "1", "--model", SMALL, "--augment.flip", "False", "--lr", "0.02",
                  "--device.precision", "float32", "--report.no-write"]  # fmt: skip
        commands = [
            ["train", data, "--run", run, *common],
            ["data", "check", data, "--quick"],
            ["evaluate", run],
            ["predict", run, data],
            ["doctor", run],
        ]
        done = subprocess.run(
            [sys.executable, "-c", ONE_AFTER_THE_OTHER],
            input=json.dumps([[str(word) for word in command] for command in commands]),
            capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        trained, *others = done.stdout.split("=== next ===")
        assert len(others) == len(commands) - 1
        assert all(text.strip() for text in others)
        assert "accuracy" in trained
        outputs = [text.replace(str(run), "RUN") for text in others]
        weights = next(run.glob("checkpoints/*/model.safetensors")).read_bytes()
        said.add((tuple(outputs), weights, (run / "dataset.json").read_text()))
    assert len(said) == 1


def flat(kind, side=16):
    """A folder of degenerate pictures by kind: class → images."""
    rng = np.random.default_rng(0)
    noise = lambda n: rng.integers(0, 255, (n, side, side, 3), dtype=np.uint8)  # noqa: E731
    return {
        "all equal": {"a": np.full((8, side, side, 3), 7, np.uint8)} | {
            "b": np.full((8, side, side, 3), 7, np.uint8)},
        "one image": {"a": noise(1)},
        "one class": {"a": noise(8)},
        "two each": {"a": noise(2), "b": noise(2)},
        "black class": {"a": np.zeros((8, side, side, 3), np.uint8), "b": noise(8)},
        "rare": {"a": noise(30), "b": noise(3)},
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["all equal", "one image", "one class", "two each", "black class", "rare"]
)
def test_degenerate_data_through_the_verbs(kind, tmp_path, striate_cli):
    """F27: an answer, never a traceback, and never "healthy" where nothing can be learnt."""
    from PIL import Image

    for name, images in flat(kind).items():
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{i}.png")
    model = "conv 3x3 8 pad 1, batchnorm, relu, pool 2, fc classes"
    flags = ["--epochs", 1, "--model", model, "--report.no-write"]
    code, _, err = striate_cli("train", tmp_path / "data", "--run", tmp_path / "run", *flags)
    assert code in (0, 2), err
    if code == 2:
        assert err.startswith("striate: ")
    verbs = [["data", "show", "DATA"], ["data", "check", "DATA", "--quick"]]
    if code == 0:
        verbs += [["evaluate", "RUN"], ["doctor", "RUN"], ["predict", "RUN", "DATA"],
                  ["certify", "RUN"], ["resume", "RUN"]]  # fmt: skip
    for verb in verbs:
        words = [str(tmp_path / {"DATA": "data", "RUN": "run"}.get(w, w))
                 if w in ("DATA", "RUN") else w for w in verb]  # fmt: skip
        code, out, err = striate_cli(*words)
        assert code in (0, 1, 2), (verb, err)
        if verb[0] == "doctor" and kind in ("all equal", "rare"):
            assert "healthy" not in out


@pytest.mark.parametrize("seed", range(60))
def test_fuzzed_recipes_run_or_are_refused(seed):
    """F28: each numeric knob has the bounds that its use needs."""
    from striate.core.errors import StriateError
    from striate.core.recipe import Recipe
    from striate.core.recipe_io import knob_names, with_overrides
    from striate.plan.refuse import check_used

    rng = np.random.default_rng(seed)
    values = [-1, 0, 1, 2, 1e-30, 1e30, -1e30, 0.5, 0.999999, 10**18, float("nan"), float("inf"),
              "auto", "none", "", True, None]  # fmt: skip
    names = knob_names()
    for _ in range(40):
        chosen = rng.choice(len(names), 3, replace=False)
        knobs = {names[i]: values[rng.integers(len(values))] for i in chosen}
        try:
            recipe = with_overrides(Recipe(), knobs)
            check_used(recipe)
        except StriateError as error:
            assert str(error)
            continue
        for name in chosen:
            value = knobs[names[name]]
            assert not (isinstance(value, float) and not np.isfinite(value)), names[name]


def test_a_batch_larger_than_the_data_is_all_of_them(tmp_path):
    """The usual rate is that of the batch that there is, so the weights are the same."""
    weights = set()
    for batch in (58, 1024):
        run = tmp_path / str(batch)
        knobs = {**QUICK, "batch_size": batch, "model": SMALL, "device.precision": "float32"}
        striate.train(bars(80), run=run, **{**knobs, "report.write": False})
        weights.add(sorted(run.glob("checkpoints/*/model.safetensors"))[-1].read_bytes())
    assert len(weights) == 1


def test_a_search_over_data_that_changed_is_refused(tmp_path, striate_cli):
    data = write_tree(tmp_path / "data", dict.fromkeys(("red", "blue"), 30))
    words = ("search", data, "--study", tmp_path / "st", "--space", "lr=0.01..0.05", "--epochs", 1,
             "--report.no-write", "--augment.flip", "False", "--model", SMALL)  # fmt: skip
    assert striate_cli(*words, "--trials", 1)[0] == 0
    for file in (data / "red").glob("?.png"):
        file.unlink()
    code, _, err = striate_cli(*words, "--trials", 2)
    assert code == 2
    assert "the images changed since" in err


def test_a_grey_picture_and_its_copy_in_colours_are_equal(tmp_path, striate_cli):
    from PIL import Image

    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in "ab":
            folder = tmp_path / "d" / split / label
            folder.mkdir(parents=True)
            for i in range(10):
                noise = rng.integers(0, 255, (32, 32)).astype(np.uint8)
                Image.fromarray(noise).save(folder / f"{i}.png")
    for i in range(5):
        picture = Image.open(tmp_path / f"d/train/a/{i}.png").convert("RGB")
        picture.save(tmp_path / f"d/test/a/rgb{i}.png")
    code, out, _ = striate_cli("data", "check", tmp_path / "d", "--quick")
    assert code == 1
    assert "5 pairs of pixel-identical images across splits" in out


def test_a_group_of_a_pattern_may_be_optional(tmp_path, striate_cli):
    """Images without the group are a group of their own each; `--slice-by` takes such patterns."""
    data = write_tree(tmp_path / "data", dict.fromkeys(("red", "blue"), 12))
    for folder in data.iterdir():
        for i, file in enumerate(sorted(folder.glob("*.png"))):
            file.rename(folder / (f"patient{i}.png" if i % 2 else f"control_{i}.png"))
    pattern = r"(patient\d+)|control"
    code, _, err = striate_cli("data", "show", data, "--group-by", pattern)
    assert (code, "Traceback" in err) == (0, False)
    striate.train(data, run=tmp_path / "run", **{**QUICK, "report.write": False})
    code, _, err = striate_cli("evaluate", tmp_path / "run", "--slices", "--slice-by", pattern)
    assert (code, "Traceback" in err) == (0, False)
