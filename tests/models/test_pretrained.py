"""Weights: read without running code, found without a network, matched by a said mapping."""

import io
import json
import pickle
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from striate.core.errors import ModelError
from striate.models.pretrained.card import HALVES, Card, Normalisation, card_from_json
from striate.models.pretrained.catalogue import PACKAGED, Offer, offer_of
from striate.models.pretrained.locate import fetched, local_file, weights_folder
from striate.models.pretrained.match import load_matched, match
from striate.models.pretrained.read import read_weights
from striate.models.stages import last_weights


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No folder of this machine is looked into."""
    for name in ("STRIATE_WEIGHTS", "STRIATE_ZOO", "TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


def small(channels=3, classes=4, width=6):
    torch.manual_seed(width)
    return nn.Sequential(
        nn.Conv2d(channels, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 8, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )  # fmt: skip


# ---- reading -----------------------------------------------------------------------------------


def test_every_form_gives_the_same_tensors(tmp_path):
    state = small().state_dict()
    torch.save(state, tmp_path / "plain.pth")
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "nested.ckpt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, tmp_path / "safe.safetensors")
    with zipfile.ZipFile(tmp_path / "package.whl", "w") as wheel:
        wheel.write(tmp_path / "plain.pth", "package/models/plain.pth")
        wheel.writestr("package/__init__.py", "")
    for path in sorted(tmp_path.iterdir()):
        if path.is_file():
            found = read_weights(path)
            assert found.keys() == state.keys()
            assert all(torch.equal(found[name], state[name]) for name in state)


class Hostile:
    def __reduce__(self):
        return (print, ("a hostile file was run",))


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"state_dict": x}, lambda x: {"w": x}])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, capsys, wrap):
    path = tmp_path / "hostile.pth"
    path.write_bytes(pickle.dumps(wrap(Hostile())))
    with pytest.raises(ModelError, match="never read"):
        read_weights(path)
    torch.save(wrap(Hostile()), tmp_path / "zipped.pth")
    with pytest.raises(ModelError, match=r"zipped\.pth"):
        read_weights(tmp_path / "zipped.pth")
    assert "hostile file was run" not in capsys.readouterr().out


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"lr": 0.1}, tmp_path / "numbers.pth")
    torch.save({"w": torch.tensor([1.0, float("nan")])}, tmp_path / "nan.pth")
    (tmp_path / "notes.txt").write_text("weights")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "none.whl", "w") as wheel:
        wheel.writestr("package/__init__.py", "")
    names = ("list.pth", "numbers.pth", "nan.pth", "notes.txt", "empty.safetensors", "none.whl")
    for name in names:
        with pytest.raises(ModelError, match=name):
            read_weights(tmp_path / name)
    with pytest.raises(ModelError, match=r"lost\.pth cannot be read"):
        read_weights(tmp_path / "lost.pth")


@pytest.mark.parametrize("ending", [".pth", ".safetensors", ".whl"])
def test_of_mutated_files_none_is_loaded_silently(tmp_path, ending):
    """200 truncations and changed bytes (67 for each form): the hash of the card tells."""
    import hashlib

    state, rng = small().state_dict(), np.random.default_rng(1)
    inner = io.BytesIO()
    torch.save(state, inner)
    content = inner.getvalue()
    if ending == ".safetensors":
        content = safetensors.torch.save(state)
    known = hashlib.sha256(content).hexdigest()
    if ending == ".whl":
        outer = io.BytesIO()
        with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr("package/models/weights.pth", content)
        content = outer.getvalue()
    path = tmp_path / f"weights{ending}"
    path.write_bytes(content)
    assert read_weights(path, known).keys() == state.keys()
    loaded = 0
    for number in range(67):
        changed = bytearray(content)
        if number % 2:
            del changed[int(rng.integers(0, len(changed))) :]
        else:
            changed[int(rng.integers(0, len(changed)))] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(bytes(changed))
        try:
            same = read_weights(path, known)
        except ModelError as error:
            assert str(path) in error.message
        else:  # a byte of the wheel that no reader uses
            assert ending == ".whl"
            assert all(torch.equal(same[name], state[name]) for name in state)
            loaded += 1
    assert loaded < 20


# ---- finding -----------------------------------------------------------------------------------


def test_a_local_file_is_taken_first_and_a_lost_one_is_named():
    offer = replace(PACKAGED["lite0"], package="no_such_package")
    assert local_file(offer) is None
    with pytest.raises(ModelError) as error:
        fetched(offer)
    assert offer.files[0] in error.value.hint
    assert str(weights_folder()) in error.value.hint
    assert "striate[pretrained]" in error.value.hint
    weights_folder().mkdir()
    (weights_folder() / offer.files[0]).write_bytes(b"x")
    assert fetched(offer) == weights_folder() / offer.files[0]


def test_offline_it_fails_at_once_and_leaves_nothing():
    card = replace(PACKAGED["lite0"].card, name="far")
    offer = Offer(card, ("far.pth",), url="http://127.0.0.1:9/far.pth")
    began = time.perf_counter()
    with pytest.raises(ModelError, match="does not answer") as error:
        fetched(offer)
    assert time.perf_counter() - began < 6
    assert "far.pth" in error.value.hint
    assert list(weights_folder().iterdir()) == []


def test_names_of_torchvision_and_timm_have_cards():
    card = offer_of("torchvision:resnet18").card
    assert card.name == "torchvision:ResNet18_Weights.IMAGENET1K_V1"
    assert card.architecture == "resnet18"
    assert (card.sha256, card.crop, card.resize) == ("f37072fd", 224 / 256, "bilinear")
    assert offer_of(card.name).card == card
    assert offer_of("torchvision:swin_t").card.architecture == "torchvision.models:swin_t"
    assert offer_of("torchvision:googlenet").card.normalisation == HALVES
    theirs = offer_of("timm:tf_efficientnet_lite0").card
    assert (theirs.normalisation, theirs.resize) == (HALVES, "bicubic")
    assert theirs.licence == "apache-2.0"
    assert offer_of("imagenet", "resnet18").card == card
    assert offer_of("imagenet").card.name == "lite0"
    assert offer_of("imagenet", "efficientnet_lite2").card.name == "lite2"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lite9", "lite"), ("imagnet", "imagenet"), ("torchvision:resnet19", "resnet18"),
        ("torchvision:ResNet18_Weights.V9", "IMAGENET1K_V1"), ("timm:resnet18.a9", "resnet18.a"),
    ],
)  # fmt: skip
def test_a_misspelt_name_is_answered_with_the_nearest(name, hint):
    with pytest.raises(ModelError) as error:
        offer_of(name)
    assert hint in str(error.value)


def test_a_network_without_weights_is_said():
    with pytest.raises(ModelError, match="no ImageNet weights for lenet"):
        offer_of("imagenet", "lenet")


def test_a_card_comes_back_from_json():
    card = replace(PACKAGED["lite1"].card, knobs={"model.width": 0.5}, class_names=("a", "b"))
    assert card_from_json(json.loads(json.dumps(card.to_json())), "here") == card
    with pytest.raises(ModelError, match=r"here is not a card of weights: licence"):
        card_from_json({k: v for k, v in card.to_json().items() if k != "licence"}, "here")
    assert Card(**{**vars(card), "normalisation": Normalisation((0.0,), (1.0,))}) != card


# ---- matching ----------------------------------------------------------------------------------


def outputs(net, channels=3):
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(2, channels, 9, 9, generator=generator)
    with torch.no_grad():
        return net.eval()(images)


@pytest.mark.parametrize(
    ("rename", "how"),
    [
        (lambda n: n, "by name"),
        (lambda n: f"module.{n}", "without 'module.'"),
        (lambda n: f"model.backbone.{n}", "without 'model.backbone.'"),
        (lambda n: {"0": "a", "1": "b", "3": "c", "6": "d"}[n[0]] + n[1:], "in order"),
    ],
)
def test_names_that_differ_are_matched(rename, how):
    source, net = small(width=6), small(width=6)
    with torch.no_grad():
        for p in source.parameters():
            p.add_(1)
    given = {rename(name): t for name, t in source.state_dict().items()}
    found = match(net, given, last_weights(net), keep_head=True)
    assert how in found.how
    assert not found.missing
    assert not found.left
    load_matched(net, given, found)
    assert torch.equal(outputs(net), outputs(source))


def test_the_head_of_other_classes_is_new():
    source, net = small(classes=9), small(classes=4)
    found = match(net, source.state_dict(), last_weights(net))
    assert found.new_head == ("6.weight", "6.bias")
    assert found.left == ("6.weight", "6.bias")
    assert "the head is new" in found.summary("x")
    assert match(net, source.state_dict(), last_weights(net), keep_head=True) == found


def test_the_weights_of_another_network_are_refused():
    with pytest.raises(ModelError, match="weights of another network: 2 of"):
        match(small(width=6), small(width=7).state_dict(), ("6.weight", "6.bias"))


def test_what_is_lacking_is_named():
    net, given = small(), small().state_dict()
    del given["3.bias"]
    found = match(net, given, last_weights(net))
    assert found.missing == ("3.bias",)
    assert "3.bias starts anew: the file has no such tensor" in found.lines()
    del given["1.num_batches_tracked"]  # old files lack it, and it changes nothing
    assert match(net, given, last_weights(net)).missing == ("3.bias",)


def test_three_channels_become_one_and_one_becomes_three():
    """A network with summed weights sees of a grey image what the other sees of three equal
    channels."""
    generator = torch.Generator().manual_seed(5)
    grey = torch.rand(2, 1, 9, 9, generator=generator)
    colour, one = small(3), small(1)
    load_matched(one, colour.state_dict(), match(one, colour.state_dict(), (), keep_head=True))
    with torch.no_grad():
        torch.testing.assert_close(one.eval()(grey), colour.eval()(grey.repeat(1, 3, 1, 1)))
    three = small(3)
    load_matched(three, one.state_dict(), match(three, one.state_dict(), (), keep_head=True))
    with torch.no_grad():
        torch.testing.assert_close(three.eval()(grey.repeat(1, 3, 1, 1)), one.eval()(grey))


def test_four_channels_fit_nothing():
    net, given = small(3), small(4).state_dict()
    assert match(net, given, last_weights(net)).missing == ("0.weight",)
