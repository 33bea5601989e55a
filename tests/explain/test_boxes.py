"""Explaining boxes: what speaks for one lies in it, and what answers for an object is near it."""

import numpy as np
import pytest
import torch

import striate
from striate.api.explaining import explain_run, write_explanation
from striate.core.boxes import Found
from striate.explain.boxes import speaking_for
from striate.models.detectors import DETECTORS
from striate.models.detectors.coding import overlaps
from striate.models.detectors.detector import Objects
from tests.conftest import DETECTING, rectangles
from tests.tasks.test_detect import learnt, networked


def objects_of(boxes, index):
    own = boxes.only(index)
    return Objects(
        torch.from_numpy(own.places).float(), torch.from_numpy(own.numbers), torch.zeros(0, 4)
    )


def best_box(net, image):
    with torch.inference_mode():
        found = net.backbone.read(net(image))[0]
    assert isinstance(found, Found)
    return found.places[0], int(found.numbers[0])


def test_what_speaks_for_a_box_lies_in_it():
    images, boxes = rectangles(8, 0)
    _, net = learnt("one_stage", images, boxes, 60)
    shares = []
    for i in range(4):
        image = torch.from_numpy(images[i : i + 1]).float()
        place, number = best_box(net, image)
        maps = speaking_for(net, image, place, number)
        assert {"stride 8", "stride 16", "stride 32", "pixels"} >= set(maps) > {"pixels"}
        left, top, right, bottom = np.rint(place).astype(int).clip(0, 128)
        inside = maps["pixels"][top:bottom, left:right].mean()
        shares.append(inside / maps["pixels"].mean())
    assert min(shares) > 1.5


def test_the_gradient_of_a_box_is_that_of_its_score():
    """Against the score's own change: the pixels are moved a little along the gradient."""
    images, boxes = rectangles(8, 0)
    _, net = learnt("one_stage", images, boxes, 30)
    image = torch.from_numpy(images[:1]).float()
    place, number = best_box(net, image)
    found = speaking_for(net, image, place, number)["pixels"]
    row, column = np.unravel_index(found.argmax(), found.shape)

    def score(pixels):
        with torch.inference_mode():
            candidates, scores = net.backbone.candidates(net(pixels))[0]
        around = overlaps(candidates, torch.from_numpy(place[None]).float())[:, 0] >= 0.5
        return scores[around, number].max().item()

    changes = []
    for channel in range(3):
        ends = []
        for step in (-0.5, 0.5):
            moved = image.clone()
            moved[0, row, column, channel] += step
            ends.append(score(moved))
        changes.append(abs(ends[1] - ends[0]))
    assert max(changes) == pytest.approx(found[row, column], rel=0.1)


@pytest.mark.parametrize("name", DETECTORS)
def test_what_answers_for_an_object_is_near_it(name):
    images, boxes = rectangles(4, 1)
    _, net = networked(name)
    net.eval()
    with torch.inference_mode():
        outputs = net(torch.from_numpy(images))
        for i in range(len(images)):
            own = objects_of(boxes, i)
            found, which = net.backbone.answering(outputs, i, own)
            assert found.shape == (len(which), 4)
            centres = (found[:, :2] + found[:, 2:]) / 2
            near = own.places[which]
            assert (centres > near[:, :2] - 43).all()
            assert (centres < near[:, 2:] + 43).all()
            if name in ("one_stage", "anchors"):
                assert set(which.tolist()) == set(range(len(own.places)))
            nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), own.aside)
            assert len(net.backbone.answering(outputs, i, nothing)[0]) == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("explained")
    data = {name: rectangles(n, seed) for name, n, seed in (("train", 16, 1), ("test", 8, 2))}
    striate.train(
        data,
        run=root / "run",
        **DETECTING,
    )
    return striate.Run(root / "run", data)


def test_a_run_is_explained(run, tmp_path):
    found = explain_run(run)
    assert found.filters is not None
    assert found.maps
    assert found.answering
    assert all(len(one.classes) == len(one.objects) for one in found.answering)
    page = write_explanation(run, found, tmp_path / "explain")
    assert {"answering.png", "maps-1.png"} <= {p.name for p in page.parent.iterdir()}
    assert "Grad-CAM" in page.read_text("utf-8") or not found.boxes


def test_topics_of_labels_are_refused_in_words(run):
    found = explain_run(run, topics=["probes"])
    assert any("probes: this network has another task" in note for note in found.notes)
