"""Detection as a task: every detector learns, is scored, resumes, and says what it found."""

import csv
import json

import numpy as np
import pytest
import torch

import striate
from striate.core.geometry import identity
from striate.core.runtime import Runtime
from striate.data.boxes import DIFFICULT, Boxes, boxes_of
from striate.metrics.curves import threshold_for
from striate.models.detectors import DETECTORS
from striate.models.detectors.detector import make_detector
from striate.models.detectors.grid import crowded
from striate.models.network import Network
from striate.models.zoo import build
from striate.tasks import make_task
from striate.tasks.detect.answer import found_in
from striate.tasks.detect.signs import signs_of
from striate.tasks.task import Pass, Scored
from striate.testing import check_resume, check_targets, check_task
from striate.training.inference import batch_of
from tests.conftest import DETECTING as KNOBS
from tests.conftest import OF_STRIDES as SPEC
from tests.conftest import rectangles as drawn
from tests.conftest import write_rectangles

SIDE = 128

CPU = Runtime(torch.device("cpu"), "float32")


def networked(name, classes=2):
    torch.manual_seed(0)
    task = make_task("boxes", "detection", 0.0, name)
    backbone = task.network(
        lambda n: build(SPEC, num_classes=n, channels=3, image_size=SIDE), classes
    )
    return task, Network(backbone, torch.zeros(3), torch.ones(3) / 255)


def learnt(name, images, boxes, steps):
    task, net = networked(name)
    net.backbone.fit(boxes.places[:, 2:] - boxes.places[:, :2])
    rule = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        rule.zero_grad()
        (task.losses(net, batch_of(images, boxes), CPU).total / len(images)).backward()
        rule.step()
    return task, net.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same pictures as files, with boxes in a table."""
    return write_rectangles(tmp_path_factory.mktemp("rectangles"))


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    return striate.train(folder, run=tmp_path_factory.mktemp("run") / "r", **{**KNOBS, "epochs": 8})


@pytest.mark.parametrize(("name", "steps", "least"), [
    ("one_stage", 60, 0.6), ("grid", 90, 0.6),
    pytest.param("anchors", 60, 0.6, marks=pytest.mark.slow),
    pytest.param("faster_rcnn", 80, 0.6, marks=pytest.mark.slow),
])  # fmt: skip
def test_every_detector_learns_eight_pictures(name, steps, least):
    images, boxes = drawn(8, 0)
    task, net = learnt(name, images, boxes, steps)
    said = task.predictions(net, images, identity(8), Pass(SIDE, CPU))
    assert task.scores(said, boxes)["average_precision_50"] > least
    found = found_in(said, 0)
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.min() >= 0
    assert found.scores.max() <= 1


@pytest.mark.parametrize("name", DETECTORS)
def test_losses_of_images_add_up_and_reach_every_parameter(name):
    images, boxes = drawn(6, 3)
    task, net = networked(name)
    net.eval()
    torch.manual_seed(1)
    whole = task.losses(net, batch_of(images, boxes), CPU)
    assert whole.per_image.shape == (6,)
    assert float(whole.per_image.sum().detach()) == pytest.approx(float(whole.total.detach()))
    assert float(sum(whole.terms.values()).detach()) == pytest.approx(float(whole.total.detach()))
    net.train()
    task.losses(net, batch_of(images, boxes), CPU).total.backward()
    idle = [n for n, p in net.named_parameters() if p.grad is None]
    assert not idle


@pytest.mark.parametrize("name", DETECTORS)
def test_images_without_objects_are_background(name):
    images, _ = drawn(3, 4)
    none = boxes_of([(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, np.uint8))] * 3)
    task, net = networked(name)
    found = task.losses(net, batch_of(images, none), CPU)
    assert torch.isfinite(found.total)
    found.total.backward()


def test_what_is_to_be_ignored_is_neither_rewarded_nor_punished():
    """With every object difficult, the loss does not ask the places inside them."""
    images, boxes = drawn(4, 5)
    task, net = networked("one_stage")
    net.eval()
    hard = Boxes(boxes.starts, boxes.places, boxes.numbers, np.full_like(boxes.flags, DIFFICULT))
    empty = boxes.where(np.zeros(len(boxes.numbers), dtype=bool))
    asked = task.losses(net, batch_of(images, empty), CPU).total
    aside = task.losses(net, batch_of(images, hard), CPU).total
    assert float(aside.detach()) < float(asked.detach())


def test_predictions_come_back_in_the_original_s_pixels():
    """The same picture, stored at half its size: the matrix says so, boxes double."""
    images, boxes = drawn(4, 6)
    task, net = learnt("one_stage", *drawn(8, 0), 20)
    plain = task.predictions(net, images, identity(4), Pass(SIDE, CPU))
    halved = identity(4)
    halved[:, 0, 0] = halved[:, 1, 1] = 0.5
    moved = task.predictions(net, images, halved, Pass(SIDE, CPU))
    np.testing.assert_allclose(moved["boxes"], 2 * plain["boxes"], atol=1e-9)
    assert (moved["box_scores"] == plain["box_scores"]).all()
    assert len(boxes)


def test_the_grid_loses_objects_that_share_a_cell():
    near = torch.tensor([[10.0, 10, 30, 30], [12, 12, 22, 22], [90, 90, 120, 120]])
    assert crowded(near, 128.0) == 1
    assert crowded(near[1:], 128.0) == 0


def test_anchors_take_the_shapes_of_the_objects():
    net = make_detector("anchors", build(SPEC, num_classes=2, channels=3, image_size=SIDE), 2)
    before = net.shapes.clone()
    net.fit(np.tile([[30.0, 60.0]], (12, 1)))
    assert (net.shapes[0] == torch.tensor([30.0, 60.0])).all() or (
        net.shapes[1] == torch.tensor([30.0, 60.0])
    ).all()
    assert (net.shapes != before).any()


@pytest.mark.parametrize("name", ["one_stage", "anchors", "grid"])
def test_the_task_keeps_the_laws_of_tasks(name):
    """Two stages draw their samples at random, so that parts of a batch do not add up to it."""
    task, net = networked(name)
    assert len(check_task(task, *drawn(9, 0), 2, net=net)) > 10


def test_what_cannot_be_put_together_is_refused(folder, striate_cli):
    code, _, err = striate_cli("train", folder, "--augment.cutmix", "1", "--epochs", "1")
    assert code == 2
    assert "mosaic puts images together" in err
    code, _, err = striate_cli("train", "digits", "--augment.mosaic", "0.5", "--epochs", "1")
    assert code == 2
    assert "these images have labels, and no boxes" in err


def test_boxes_keep_the_laws_of_targets():
    assert len(check_targets(drawn(12, 7, 64)[1], 2)) > 8


def test_scorers_merge_and_rows_name_every_image():
    images, boxes = drawn(8, 8)
    task, net = learnt("one_stage", images, boxes, 30)
    said = task.predictions(net, images, identity(8), Pass(SIDE, CPU))
    scored = Scored("val", ("red", "green"), tuple(f"i{n}" for n in range(8)))
    whole, one, other = (task.scorer(boxes, scored) for _ in range(3))
    whole.add(np.arange(8), said)
    one.add(np.arange(0, 8, 2), {k: v[::2] for k, v in said.items()})
    other.add(np.arange(1, 8, 2), {k: v[1::2] for k, v in said.items()})
    one.merge(other.arrays())
    a, b = whole.result(), one.result()
    np.testing.assert_equal(a.scores, b.scores)
    columns, rows = a.rows()
    assert {row[0] for row in rows} == set(scored.names)
    assert {len(row) for row in rows} == {len(columns)}
    found = a.figures
    low, high = found.intervals["average_precision"]
    assert low <= a["average_precision"] <= high
    own = a.curve_of_class(0)
    assert own.positives == int((boxes.numbers == 0).sum())
    at = threshold_for(own, recall=0.2)
    hits, alarms = own.called(at)
    assert hits >= own.positives / 5
    assert alarms >= 0


def test_a_training_from_files_is_scored_and_answers(run, folder, striate_cli):
    scores = run.finished.test
    assert scores["average_precision_50"] > 0.01
    assert scores["n"] == 10
    settled = run.recipe
    assert settled.data.resize == "pad"
    assert settled.model.detector == "one_stage"
    assert settled.augment.crop == "zoom"
    answers = run.predict([folder / "test0.png"])
    assert answers[0].line()
    assert set(answers[0].to_json()) == {"image", "objects"}
    with (run.path / "predictions.csv").open() as file:
        names = {row["image"] for row in csv.DictReader(file)}
    assert len(names) == 10
    measured = [json.loads(line) for line in (run.path / "records.jsonl").read_text().splitlines()
                if '"kind": "measured"' in line or '"kind":"measured"' in line]  # fmt: skip
    assert measured[-1]["boxes"]["val"]["objects"] > 0
    code, out, _ = striate_cli("evaluate", run.path, "--precision", "0.5")
    assert code == 0
    assert "average precision 50" in out
    page = run.report()
    assert "Errors by kind" in page
    assert "false alarms" not in page


def test_two_runs_are_compared_on_the_same_draws(run):
    found = run.evaluate(split="test")
    same = striate.compare(found, found)
    assert same.difference == 0
    assert not same.sure
    assert same.p is None


def test_a_resumed_training_is_the_uninterrupted_one(folder, tmp_path):
    assert check_resume(folder, tmp_path, **KNOBS)


def test_the_doctor_is_told_what_boxes_do():
    images, boxes = drawn(8, 9)
    task, net = learnt("one_stage", images, boxes, 60)
    said = dict(task.predictions(net, images, identity(8), Pass(SIDE, CPU)))
    good = signs_of(said, boxes)
    assert good["placed"] > 0.5
    assert good["shift"] == 0
    assert 0.5 < good["size"] < 2
    other = Boxes(boxes.starts, boxes.places, 1 - boxes.numbers, boxes.flags)
    assert signs_of(said, other)["found"] < good["found"]
    away = Boxes(boxes.starts, boxes.places + 500, boxes.numbers, boxes.flags)
    assert signs_of(said, away)["near"] == 0
