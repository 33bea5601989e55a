"""Looking inside: every kind of network, other data, images, and what is asked for."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import striate
from striate.api.explaining import given, write_explanation
from striate.core.errors import DataError, ModelError
from striate.core.runtime import Runtime
from striate.data.loader import ArrayStore
from striate.data.targets import Labels, LabelSets
from striate.explain.inspect import TOPICS, Choice, inspect
from striate.explain.sample import Sample
from striate.models.network import Network
from striate.models.zoo import build
from striate.plan.predictor import Predictor
from striate.report.explained import figures
from striate.tasks.classify.task import LabelTask
from tests.conftest import QUICK, encoded, picture

LARGE = ("alexnet", "googlenet", "inception_v3", "resnet50", "vgg11_bn")
NETWORKS = {
    "fastnet": 16, "lenet": 16, "decknet": 32, "alexnet": 64, "vgg11_bn": 32, "resnet18": 32,
    "resnet50": 32, "googlenet": 64, "inception_v3": 80,
    "conv 3x3 4, relu, pool 2, conv 3x3 6, relu, fc classes": 16,
}  # fmt: skip


class Own(nn.Module):
    """A user's module: functions, a branch, and a layer that is used twice."""

    def __init__(self, num_classes):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.out = nn.Linear(6, num_classes)

    def forward(self, x):
        x = F.relu(self.one(x), inplace=True)
        x = x + torch.relu(self.two(x))
        return self.out(F.max_pool2d(self.two(x), 2).mean(dim=(2, 3)))


def sample_of(side, count=14, classes=3):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    names = tuple(f"{i}.png" for i in range(count))
    targets = Labels(np.arange(count) % classes)
    return Sample("test", names, targets, ArrayStore(images, None), side)


def predictor_of(backbone, side):
    net = Network(backbone, torch.zeros(3), torch.full((3,), 1 / 255))
    task, runtime = LabelTask("cross_entropy"), Runtime(torch.device("cpu"), "float32")
    return Predictor(net, task, ("a", "b", "c"), side, runtime)


def looked_at(backbone, side, **choice):
    sample = sample_of(side)
    chosen = Choice(units=2, images=14, methods=("saliency", "grad_cam"), **choice)
    return inspect(predictor_of(backbone, side), sample, lambda _: sample, chosen)


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name
    for name in (*NETWORKS, "own")
])  # fmt: skip
def test_every_architecture(name):
    torch.manual_seed(0)
    side = NETWORKS.get(name, 16)
    net = Own(3) if name == "own" else build(name, num_classes=3, channels=3, image_size=side)
    topics = ("filters", "maps", "patches", "attributions", "errors", "probes", "equivariance")
    found = looked_at(net, side, topics=topics)
    assert found.filters is not None
    assert found.rows
    assert {unit.layer for unit in found.patches} <= {row["layer"] for row in found.rows}
    assert found.patches
    for unit in found.patches:
        assert 1 <= len(unit.patches) <= 9  # images that leave a unit at 0 do not excite it
        assert all(value > 0 for value in unit.values)
        assert set(unit.back) == {"deconvolution", "guided"}
        assert all(np.isfinite(s).all() for signals in unit.back.values() for s in signals)
    assert all(0 <= row["probe"] <= 1 for row in found.rows)
    drawn = figures(found)
    assert {"filters", "maps-1", "attributions"} <= {figure.name for figure in drawn}
    for module in net.modules():
        assert not module._forward_hooks
    if name == "own":
        fields = {row["layer"]: row["field"] for row in found.rows}
        assert fields["backbone.two"] == [5, 5]  # at its first use


def test_a_network_in_training_is_looked_at_as_it_answers():
    torch.manual_seed(0)
    net = build("resnet18", num_classes=3, channels=3, image_size=32).train()
    sample = sample_of(32, count=1)
    predictor = predictor_of(net, 32)
    found = inspect(predictor, sample, lambda _: sample, Choice(topics=("attributions",)))
    with torch.no_grad():
        wanted = predictor.net.eval()(torch.from_numpy(sample.images([0]))).argmax()
    assert found.attributions[0][0].predicted == "abc"[int(wanted)]


class Shared(nn.Module):
    """One pool and one activation for all layers."""

    def __init__(self, num_classes):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 8, 3)
        self.pool, self.act = nn.MaxPool2d(2), nn.ReLU()
        self.unused, self.out = nn.Linear(3, 3), nn.Linear(8 * 9, num_classes)
        self.last = nn.Linear(7, 7)

    def forward(self, x):
        x = self.pool(self.act(self.one(x)))
        return self.out(self.pool(self.act(self.two(x)))[:, :, :3, :3].flatten(1))


def test_modules_that_are_used_several_times():
    found = looked_at(Shared(3), 32, topics=("patches", "errors", "equivariance", "probes"))
    rows = {row["layer"].removeprefix("backbone."): row for row in found.rows}
    assert rows["act"]["maps"] == [6, 28, 28]
    assert rows["act"]["field"] == [5, 5]
    assert rows["pool"]["field"] == [6, 6]
    assert rows["two"]["field"] == [10, 10]


def test_what_is_between_blocks_of_other_proportions_is_no_map():
    class Odd(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1)

    net = nn.Sequential(nn.Conv2d(3, 40, 3), Odd(), nn.Flatten(), nn.Linear(40 * 14 * 14, 3))
    found = looked_at(net, 16, topics=("equivariance",))
    assert [row["layer"] for row in found.rows] == ["backbone.0"]


def test_without_training_images(trained, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(40) % 2
    striate.train((images, labels), run=tmp_path / "run", **QUICK)
    found = striate.explain_run(
        striate.Run(tmp_path / "run"), (images, labels), topics=["errors", "probes", "filters"]
    )
    assert found.filters is not None
    assert sum("training images cannot be read" in note for note in found.notes) == 2


def test_a_network_without_maps():
    found = looked_at(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), 16)
    assert not found.patches
    assert list(found.attributions[0][1]) == ["saliency"]
    assert any("no layer with maps" in note for note in found.notes)
    assert found.maximised


def test_several_labels_an_image():
    sample = sample_of(16)
    several = replace(sample, targets=LabelSets(np.eye(3)[sample.targets.array]))
    net = build("lenet", num_classes=3, channels=3, image_size=16)
    found = inspect(predictor_of(net, 16), several, lambda _: several, Choice(units=2))
    assert any("several labels" in note for note in found.notes)
    assert found.attributions[0][0].true == "a"


def test_names_are_checked(trained):
    run = striate.Run(trained[0])
    with pytest.raises(ModelError, match="no topic 'filter'") as told:
        striate.explain_run(run, topics=["filter"])
    assert "filters" in told.value.hint
    with pytest.raises(ModelError, match="no layer 'nothing' with maps"):
        striate.explain_run(run, layers=["nothing"])


@pytest.fixture(scope="module")
def explained(trained):
    return striate.explain_run(striate.Run(trained[0]), units=3)


def test_a_run(explained):
    assert explained.split == "test"
    assert explained.images == 12
    assert len(explained.trust) == 6
    assert [row["layer"] for row in explained.rows]
    assert explained.rows[-1]["probe"] == 1.0  # colours
    assert "errors: none in 12 images of test" in explained.notes


def test_trained_networks_are_told_from_random_ones(explained):
    """Deletion and insertion of the methods that ask the network, against random pixels."""
    by = {row["method"]: row for row in explained.trust}
    assert by["occlusion"]["insertion"] > by["(random)"]["insertion"] - 0.05
    assert all(-1 <= row["likeness"] <= 1 for name, row in by.items() if name != "(random)")


def test_pages_and_pictures(trained, explained, tmp_path):
    page = write_explanation(striate.Run(trained[0]), explained, tmp_path / "a" / "b")
    text = page.read_text()
    assert text.count("<img") == len(list(page.parent.glob("*.png")))
    assert text.count('alt="') == text.count("<img")
    assert "http" not in text.replace("http-equiv", "")
    told = json.loads((page.parent / "explain.json").read_text())
    assert told["layers"] == json.loads(json.dumps(explained.rows))


def test_images_without_classes(trained, tmp_path):
    (tmp_path / "new.png").write_bytes(encoded(picture((200, 50, 40))))
    found = striate.explain_run(striate.Run(trained[0]), [str(tmp_path / "new.png")])
    assert [p.predicted for p, _ in found.attributions] == ["red"]
    assert found.maps
    assert not found.patches
    assert not found.errors
    found = striate.explain_run(
        striate.Run(trained[0]), [str(tmp_path / "new.png")], topics=["patches"]
    )
    assert found.notes == ["patches: needs data with classes, not single images"]


def test_what_a_command_names(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(picture((1, 2, 3))))
    assert given(()) is None
    assert given([str(tmp_path)]) == str(tmp_path)
    assert given([str(tmp_path / "a.png")]) == [str(tmp_path / "a.png")]


def test_command(striate_cli, trained, tmp_path):
    code, out, err = striate_cli("explain", trained[0], "--only", "filters", "--only", "probes",
                                 "--out", tmp_path / "x", "--json")  # fmt: skip
    assert code == 0, err
    said = json.loads(out.splitlines()[-1])
    assert said["layers"][0]["probe"] > 0.5
    assert (tmp_path / "x" / "explain.html").is_file()
    assert (tmp_path / "x" / "filters.png").is_file()
    assert not (tmp_path / "x" / "errors.png").exists()
    for wrong, told in (
        (("--units", "0"), "--units 0: expected 1 or more"),
        (("--only", "maths"), "no topic 'maths'"),
        (("--layer", "x"), "no layer 'x' with maps"),
    ):
        code, _, err = striate_cli("explain", trained[0], *wrong)
        assert code == 2
        assert told in err
    with pytest.raises(DataError):
        striate.explain_run(striate.Run(trained[0]), str(tmp_path / "nowhere"))
    assert set(TOPICS) >= {"filters", "maps", "patches", "errors"}


def test_what_is_done_is_kept_when_somebody_stops_it(monkeypatch):
    def stopped(at, found):
        raise KeyboardInterrupt

    told = []
    monkeypatch.setitem(TOPICS, "patches", stopped)
    sample, choice = sample_of(16), Choice(units=2, images=14, topics=("maps", "patches", "probes"))
    own = predictor_of(Own(3), 16)
    found = inspect(own, sample, lambda _: sample, choice, told.append)
    assert told[0] == "maps (1 of 3)"
    assert found.maps
    assert found.stopped == ("patches", "probes")
    assert "stopped before it had looked at: patches, probes" in found.notes
    assert figures(found)
    monkeypatch.setitem(TOPICS, "maps", stopped)
    with pytest.raises(KeyboardInterrupt):
        inspect(own, sample, lambda _: sample, choice)
