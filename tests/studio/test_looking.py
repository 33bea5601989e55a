"""Looking inside runs: of a trained network, of one that is at work, of detectors."""

import base64
import io
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

import striate
from striate.core.errors import DataError, ModelError
from striate.studio.live import Tail
from striate.studio.look import Looker
from striate.training.glance import WATCHED, WEIGHTS
from tests.conftest import DETECTING, QUICK, encoded, picture, write_colours, write_rectangles

KNOBS = {**QUICK, "model": "lenet", "lr": 0.05, "optim.rule": "momentum", "epochs": 4,
         "device.precision": "float32"}  # fmt: skip


def tail_of(path):
    tail = Tail("x", path)
    tail.read()
    tail.look_whether_running()
    return tail


def opened(uri):
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    base = tmp_path_factory.mktemp("looking")
    write_colours(base / "data")
    return striate.train(base / "data", run=base / "run", **KNOBS)


def test_the_strip_is_what_the_run_says(run):
    found = Looker().strip(tail_of(run.path))
    assert found.weights == "best"
    assert len(found.images) == 12
    sample = run.sample(split="val", images=24)
    said = run.predictor.answers(sample.store, sample.names, 3)
    for seen, answer in zip(found.images, said, strict=True):
        assert seen.guesses[0].name == answer.label
        assert seen.guesses[0].probability == pytest.approx(answer.probability)
        assert seen.right == ([answer.label] == seen.truth)
        assert seen.truth[0] in ("blue", "green", "red")
    assert opened(found.tiles).shape == (found.side, 12 * found.side, 3)
    assert found.wait >= 1000


def test_inside_shows_a_layer_and_its_gradients(run):
    looker, tail = Looker(), tail_of(run.path)
    first = looker.inside(tail, 0, "")
    assert first.layer == first.layers[0].name
    for layer in first.layers:
        found = looker.inside(tail, 3, layer.name)
        assert len(found.shown) == min(36, layer.channels)
        assert opened(found.maps).std() > 0
        assert opened(found.saliency).shape == (224, 224, 3)
    assert opened(first.filters).std() > 0
    for image, layer, error in ((99, "", DataError), (-1, "", DataError), (0, "none", ModelError)):
        with pytest.raises(error):
            looker.inside(tail, image, layer)


def test_gradients_of_maps_are_numeric_ones(run):
    """The best answer's score moves with a map as its gradient says."""
    from striate.studio.look import _maps

    looker, tail = Looker(), tail_of(run.path)
    view = looker.opened(tail)
    layer = view.layers[0]
    x = torch.from_numpy(view.sample.images([0]))
    _, slopes, answer = _maps(view, x, layer)
    best = view.run.classes.index(answer)
    module, (c, i, j) = view.net.get_submodule(layer.name), np.unravel_index(
        np.abs(slopes).argmax(), slopes.shape
    )  # fmt: skip
    scores = []
    for change in (-0.01, 0.01):

        def moved(_, __, out, change=change):
            out = out.clone()
            out[0, c, i, j] += change
            return out

        handle = module.register_forward_hook(moved)
        with torch.no_grad():
            scores.append(float(view.net(x.float())[0, best]))
        handle.remove()
    assert (scores[1] - scores[0]) / 0.02 == pytest.approx(slopes[c, i, j], rel=0.05)


def test_patches_are_the_strongest_places(run):
    looker, tail = Looker(), tail_of(run.path)
    layer = looker.inside(tail, 0, "").layers[-1]
    found = looker.patches(tail, layer.name, 1)
    assert len(found.names) == 9
    assert found.values == sorted(found.values, reverse=True)
    with pytest.raises(ModelError):
        looker.patches(tail, layer.name, 10_000)


def test_a_picture_is_answered(run):
    found = Looker().ask(tail_of(run.path), encoded(picture((200, 50, 40), (40, 30))))
    assert found.guesses[0].name == "red"
    assert sum(g.probability for g in found.guesses) == pytest.approx(1, abs=1e-4)
    for wrong in (b"", b"no image", encoded(picture((1, 2, 3)))[:60]):
        with pytest.raises(DataError):
            Looker().ask(tail_of(run.path), wrong)


def test_a_training_is_watched_while_it_is_at_work(tmp_path):
    write_colours(tmp_path / "data")
    stop = threading.Event()
    work = threading.Thread(target=lambda: [*striate.stream(
        tmp_path / "data", run=tmp_path / "run", stop=stop.is_set, **{**KNOBS, "epochs": 100_000},
    )])  # fmt: skip
    work.start()
    try:
        looker, last = Looker(), time.monotonic() + 60
        seen = []
        while len({(s.weights, s.step) for s in seen if s.weights == "live"}) < 2:
            assert time.monotonic() < last
            time.sleep(0.3)
            if (tmp_path / "run" / "records.jsonl").is_file():
                try:
                    seen.append(looker.strip(tail_of(tmp_path / "run")))
                except striate.StriateError:
                    continue
    finally:
        stop.set()
        work.join(timeout=60)
    assert not (tmp_path / "run" / WEIGHTS).exists()
    assert not (tmp_path / "run" / WATCHED).exists()
    assert looker.strip(tail_of(tmp_path / "run")).weights == "best"


def test_a_detector_is_looked_into(tmp_path):
    (tmp_path / "data").mkdir()
    write_rectangles(tmp_path / "data")
    run = striate.train(tmp_path / "data" / "boxes.csv", run=tmp_path / "run", **DETECTING)
    looker, tail = Looker(), tail_of(run.path)
    found = looker.strip(tail)
    assert found.images
    assert all(one.truth for one in found.images)
    inside = looker.inside(tail, 0, "")
    assert (inside.saliency, inside.answer) == ("", "")
    assert opened(inside.gradients).shape == opened(inside.maps).shape
    assert looker.ask(tail, encoded(picture((200, 50, 40), (90, 60)))).saliency == ""
