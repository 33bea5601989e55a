"""Exported files say what the network says, and nothing is kept that does not."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import striate
from striate.core.errors import MissingExtraError, ModelError
from striate.data.loader import ArrayStore
from striate.export import forms
from striate.export.forms import FORMS
from striate.export.packed import packed
from striate.export.verify import Agreement, agreement
from striate.models.network import Network
from striate.models.zoo import build, takes_grey
from striate.tasks import make_task
from tests.conftest import DETECTING, write_rectangles

LABELS = make_task("labels", "cross_entropy")


def needs(form):
    for package in FORMS[form].needs:
        pytest.importorskip(package)


@pytest.fixture(scope="module")
def run(trained):
    return striate.Run(trained[0])


@pytest.mark.parametrize("form", FORMS)
def test_a_run_goes_round(run, form, tmp_path):
    needs(form)
    found = striate.export_run(run.path, form, tmp_path / f"net{FORMS[form].ending}")
    assert found.agreement.exact
    assert found.compared.difference == 0
    assert found.about["classes"] == list(run.classes)
    assert found.about["score"]["value"] is not None
    assert len(found.about["sha256_of_weights"]) == 64
    predictor, how = striate.open_export(found.path)
    assert how == run.settled.shape
    images = np.random.default_rng(0).integers(
        0, 256, (5, how.size, how.size, how.channels), dtype=np.uint8
    )
    ours = replace(run.predictor.with_views("single"), runtime=predictor.runtime)
    for count in (1, 5):  # any number of images
        store = ArrayStore(images[:count])
        said, wanted = (p.answers(store, ["image"] * count) for p in (predictor, ours))
        for one, other in zip(said, wanted, strict=True):
            assert one.label == other.label
            assert one.probability == pytest.approx(other.probability, abs=1e-4)
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_torch_program_needs_no_striate(run, tmp_path):
    path = striate.export_run(run.path, "torch", tmp_path / "net.pt2").path
    program = f"""
import sys, json, torch
sys.modules["striate"] = None
about = {{"striate": ""}}
net = torch.export.load({str(path)!r}, extra_files=about).module()
images = torch.zeros(5, {run.size}, {run.size}, {run.settled.channels}, dtype=torch.uint8)
_, odds = net(images)
print(json.dumps([list(odds.shape), json.loads(about["striate"])["classes"]]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1]) == [[5, len(run.classes)], list(run.classes)]


class Own(nn.Module):
    """A user's module with a branch, a loop and its own attention."""

    def __init__(self, num_classes):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, padding=1)
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        x = torch.relu(self.first(x)).flatten(2).transpose(1, 2)
        for _ in range(2):
            x = x + self.mix(x, x, x, need_weights=False)[0]
        return self.head(x.mean(dim=1))


def behind_an_input_stage(backbone, channels=3):
    net = Network(backbone, torch.full((channels,), 120.0), torch.full((channels,), 1 / 60))
    return packed(net.to(memory_format=torch.channels_last).eval(), LABELS, 1.3)


NETWORKS = {
    "fastnet": 32, "lenet": 28, "resnet18": 32, "efficientnet_lite0": 64, "googlenet": 64,
    "conv 3x3 16 pad 1, relu, pool 2, batchnorm, conv 3x3 16, elu, gap, fc classes": 16, "own": 16,
}  # fmt: skip


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow) if side == 64 else name
    for name, side in NETWORKS.items()
])  # fmt: skip
@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_networks_go_round(name, form, tmp_path):
    needs(form)
    torch.manual_seed(0)
    side = NETWORKS[name]
    channels = 1 if takes_grey(name) and name == "lenet" else 3
    backbone = (
        Own(5) if name == "own"
        else build(name, num_classes=5, channels=channels, image_size=side)
    )  # fmt: skip
    net = behind_an_input_stage(backbone, channels)
    images = np.random.default_rng(0).integers(0, 256, (7, side, side, channels), dtype=np.uint8)
    path = tmp_path / f"net{FORMS[form].ending}"
    FORMS[form].write(net, torch.from_numpy(images[:2]), path, {"outputs": list(net.outputs)})
    found = agreement(net, FORMS[form].read(path), [images[:1], images])
    assert found.exact, found


def test_several_labels_and_squared_errors_have_their_own_probabilities(tmp_path):
    logits = torch.tensor([[2.0, -1.0, 0.5]])

    class Fixed(nn.Module):
        def forward(self, _):
            return logits

    several = packed(Fixed(), make_task("label_sets", "sigmoid"), 2.0)
    assert torch.allclose(several(None)[1], (logits / 2).sigmoid())
    for loss in ("cross_entropy", "mse"):
        task = make_task("labels", loss)
        ours = packed(Fixed(), task, 1.0)(None)[1].numpy()
        assert np.allclose(ours, task.probabilities(logits.numpy()))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_a_detector_goes_round_before_suppression(form, tmp_path):
    needs(form)
    (tmp_path / "data").mkdir()
    data = write_rectangles(tmp_path / "data")
    run = striate.train(data, run=tmp_path / "run", **DETECTING)
    found = striate.export_run(run.path, form)
    assert found.path.parent == run.path / "export"
    assert found.agreement.exact
    assert found.about["outputs"] == ["boxes", "scores"]
    own = run.evaluate(split="val").scores[run.task.main_score]
    assert found.file.scores[run.task.main_score] == pytest.approx(own, abs=1e-6)


@pytest.mark.slow
def test_smaller_numbers_are_smaller_and_their_loss_is_said(run, tmp_path):
    needs("onnx")
    whole = striate.export_run(run.path, "onnx", tmp_path / "net.onnx")
    for knob in ("half", "int8"):
        found = striate.export_run(run.path, "onnx", tmp_path / f"{knob}.onnx", **{knob: True})
        assert found.sizes[1] < 0.75 * whole.sizes[1]
        assert not found.agreement.exact
        assert found.compared.low <= found.compared.difference <= found.compared.high


def test_a_file_that_says_something_else_is_not_kept(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "striate.api.exporting.agreement", lambda *_: Agreement(10, {"logits": 0.5}, 2)
    )
    with pytest.raises(ModelError, match="2 of 10 images are answered otherwise"):
        striate.export_run(run.path, "torch", tmp_path / "out" / "net.pt2")
    assert list((tmp_path / "out").iterdir()) == []


def test_answers_that_are_equally_high_are_no_other_answers(tmp_path):
    class Tied(nn.Module):
        outputs = ("logits", "probabilities")

        def forward(self, images):
            logits = torch.tensor([[1.0, 1.0 + 1e-6]]).expand(len(images), 2)
            return logits, logits.softmax(dim=1)

    def run(images):
        logits = np.tile(np.float32([[1.0 + 1e-6, 1.0]]), (len(images), 1))
        return {"logits": logits, "probabilities": np.full((len(images), 2), 0.5, np.float32)}

    assert agreement(Tied(), forms.Opened(run, {}), [np.zeros((4, 8, 8, 3), np.uint8)]).exact


def test_wrong_wishes_are_refused(run, tmp_path, monkeypatch):
    for knobs, said in (
        ({"to": "onxx"}, "onnx"),
        ({"to": "torch", "int8": True}, "ONNX"),
        ({"to": "torch", "path": tmp_path / "net.onnx"}, "ends in .pt2"),
    ):
        with pytest.raises(ModelError) as caught:
            striate.export_run(run.path, **knobs)
        assert said in str(caught.value)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"striate\[export\]"):
        striate.export_run(run.path, "onnx")


def test_only_exported_files_are_opened(tmp_path):
    (tmp_path / "net.txt").write_text("")
    (tmp_path / "net.pt2").write_bytes(b"not a program")
    for name, said in (("net.txt", "no exported network"), ("none.pt2", "there is no file"),
                       ("net.pt2", "cannot be opened")):  # fmt: skip
        with pytest.raises(ModelError, match=said):
            striate.open_export(tmp_path / name)


def test_the_verb(run, striate_cli, tmp_path):
    code, out, _ = striate_cli("export", run.path, "--to", "torch", "--out", tmp_path / "n.pt2",
                               "--json")  # fmt: skip
    assert code == 0
    assert "the same answers on" in out
    assert json.loads(out.splitlines()[-1])["worse"] is False
