"""The seam: a task that lives here only is one folder and one line in TASKS."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import striate
from striate.core.records import Measured, Step
from striate.core.run import RunDirectory
from striate.tasks import TASKS
from striate.testing import check_resume, check_targets, check_task

KNOBS = {
    "model": "conv 5x5 12 stride 2, relu, conv 3x3 16 stride 2, relu, flatten, fc 48, relu, "
             "fc classes",
    "epochs": 30, "lr": 3e-3, "device.precision": "float32", "optim.rule": "adam",
    "augment.crop": "pad", "augment.crop_padding": 2, "augment.flip": False,
    "device.threads": 1, "check": "off",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _task():
    """The folder is found, and the one line is there."""
    folder = str(Path(__file__).parent / "third")
    sys.path.insert(0, folder)
    TASKS["dots"] = "dots:ENTRY"
    yield
    del TASKS["dots"]
    sys.path.remove(folder)


def drawn(count, seed, side=(30, 24)):
    """Images uint8 (N, 24, 30, 3) with 1 to 4 bright dots, the first from the left, and targets."""
    from dots import Dots

    rng = np.random.default_rng(seed)
    wide, high = side
    images = rng.integers(0, 60, (count, high, wide, 3), dtype=np.uint8)
    rows = np.zeros((count, 3))
    for image, row in zip(images, rows, strict=True):
        dots = rng.integers(1, 5)
        x = rng.permutation(np.arange(4, wide - 5, 4))[:dots]
        y = rng.integers(3, high - 5, dots)
        for left, top in zip(x, y, strict=True):
            image[top : top + 3, left : left + 3] = 250
        first = np.argmin(x)
        row[:] = dots, x[first] + 1.5, y[first] + 1.5
    return images, Dots(rows)


@pytest.fixture(scope="module")
def data():
    return {"train": drawn(800, 0), "val": drawn(120, 1), "test": drawn(200, 2)}


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return striate.train(data, run=tmp_path_factory.mktemp("dots") / "run", **KNOBS)


def test_its_laws():
    from striate.tasks import make_task

    images, targets = drawn(16, 3, (24, 24))
    assert len(check_targets(targets)) > 10
    assert len(check_task(make_task("dots", "dots_squared"), images, targets)) > 10


def test_targets_follow_the_pixels(data):
    """In a batch the first dot is where the target says: after the crop, the shift and the flip."""
    from striate.data.augment import About, Pipeline
    from striate.data.decode import Unified
    from striate.data.loader import ArrayStore, batches

    images, targets = data["train"]
    how = Unified(24, 3, "crop", 100)
    sides = np.tile([24, 30], (len(images), 1))
    store = ArrayStore(np.stack([how.fit(image) for image in images]), None, None, sides, how)
    pipe = Pipeline(0, {"pad": 2, "flip": 0.5}, About(24, np.full(3, 20.0)))
    plan = [np.arange(64, dtype=np.int64)]
    batch = next(batches(store, targets, plan, pipe, 0, start=0, threads=0))
    flipped = batch.matrices[:, 0, 0] < 0
    assert 10 < flipped.sum() < 54
    x, y = batch.targets.array[:, 1], batch.targets.array[:, 2]
    inside = (x > 2) & (x < 22) & (y > 2) & (y < 22)
    assert inside.sum() > 30
    bright = batch.images[np.arange(64), y.clip(0, 23).astype(int), x.clip(0, 23).astype(int), 0]
    assert (bright[inside] == 250).all()


def test_predictions_come_back_in_the_coordinates_of_the_originals(data):
    """A network that sees the first dot where it is says where it is in the original."""
    import torch

    from striate.core.runtime import Runtime
    from striate.data.decode import Unified
    from striate.data.loader import ArrayStore
    from striate.tasks import make_task
    from striate.tasks.task import Pass
    from striate.training.inference import predictions

    images, targets = data["val"]
    how = Unified(24, 3, "crop", 100)
    stored = np.stack([how.fit(image) for image in images])
    store = ArrayStore(stored, None, None, np.tile([24, 30], (len(images), 1)), how)

    class Seeing(torch.nn.Module):
        def forward(self, x):
            columns = (x[..., 0] == 250).any(dim=1).int()
            left = columns.argmax(dim=1)
            rows = (x[torch.arange(len(x)), :, left, 0] == 250).int().argmax(dim=1)
            place = torch.stack([left, rows], dim=1) + 1.5
            return torch.cat([torch.zeros(len(x), 1), place / 24], dim=1)

    runtime = Runtime(torch.device("cpu"), "float32")
    task = make_task("dots", "dots_squared")
    said = predictions(task, Seeing(), store, Pass(24, runtime))
    np.testing.assert_allclose(said["place"], targets.array[:, 1:], atol=1e-4)


def test_it_trains_and_its_terms_are_recorded(run):
    steps = [record for record in run.records() if isinstance(record, Step)]
    assert set(steps[-1].terms) == {"dots", "place"}
    assert sum(steps[-1].terms.values()) == pytest.approx(steps[-1].loss, rel=1e-4)
    assert steps[-1].loss < 0.5 * steps[0].loss
    assert run.finished.test["counted"] > 0.35  # a quarter have each number
    assert run.finished.test["pixels_missed"] < 3  # in the coordinates of the originals
    assert any(isinstance(record, Measured) for record in run.records())


def test_it_is_evaluated_with_intervals(run, data, tmp_path):
    again = striate.Run(run.path, data).evaluate(split="test")
    assert again.scores == pytest.approx(run.finished.test)
    low, high = again.figures.intervals["counted"]
    assert low < again["counted"] <= high
    rows = list(csv.reader((run.path / "predictions.csv").read_text("utf-8").splitlines()))
    assert rows[0] == ["image", "dots", "place"]
    assert len(rows) == 201
    mean = striate.compare(again, again)
    assert (mean.difference, mean.score) == (0.0, "counted")
    assert striate.slices(again, by=r"(\d)$")


def test_it_predicts(run, data):
    images, targets = data["test"]
    found = run.predict(list(images[:20]))
    near = [abs(f.dots - t) < 0.5 for f, t in zip(found, targets.array[:20, 0], strict=True)]
    assert np.mean(near) > 0.3
    assert "dots, the first at" in found[0].line()


def test_it_reports(run, data):
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "counted" in page
    values = json.loads(striate.Run(run.path, data).report("json"))
    assert values["headline"]["score"] == "counted"
    assert values["headline"]["interval"]
    assert values["data"]["targets"] == "dots"
    assert striate.Run(run.path, data).report("md").startswith("#")


def test_the_doctor_says_what_it_lacks(run):
    found = striate.diagnose(run)
    assert found.verdict == "undetermined"
    assert "a task that it knows" in found.not_judged["overfitting"]


def test_preflight_says_what_it_lacks(data):
    findings = striate.run_preflight(data, **KNOBS)
    by_rule = {finding.rule: finding for finding in findings}
    for rule in ("initial_loss", "overfit_few", "shuffled_labels"):
        assert by_rule[rule].text.startswith("lacking")
    assert by_rule["unused_parameters"].verdict == "pass"


def test_a_resumed_training_is_bit_equal(data, tmp_path):
    knobs = KNOBS | {"epochs": 2}
    assert check_resume(data, tmp_path, after=5, **knobs, **{"report.write": False})


def test_a_run_remembers_its_task(run):
    assert RunDirectory(run.path).read_json("dataset.json")["targets"] == "dots"
    assert striate.Run(run.path).task.name == "dots"
