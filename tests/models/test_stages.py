"""Stages of networks, against timm's own records of where their resolution changes."""

import pytest
import torch

from striate.models.stages import number_by_parameter, staged, stages_of
from striate.models.zoo import build

TIMM = ["resnet10t", "mobilenetv3_small_050", "convnext_atto", "regnetx_002", "efficientnet_b0"]


@pytest.mark.parametrize("name", TIMM)
def test_strides_and_channels_are_those_that_timm_records(name):
    net = build(f"timm:{name}", num_classes=5)
    found = {s.stride: s.channels for s in stages_of(net, 3, 64) if s.stride}
    recorded = {info["reduction"]: info["num_chs"] for info in net.feature_info}
    assert found.keys() >= recorded.keys()
    net_of_features = __import__("timm").create_model(name, features_only=True)
    for maps in net_of_features(torch.zeros(1, 3, 64, 64)):
        stride = 64 // maps.shape[2]
        assert stride in found


def test_resnet50_has_its_published_stages():
    stages = stages_of(build("resnet50", num_classes=7), 3, 224)
    assert [(s.stride, s.channels) for s in stages] == [
        (2, 64), (4, 256), (8, 512), (16, 1024), (32, 2048), (0, 0),
    ]  # fmt: skip
    assert stages[1].modules == ("maxpool", "layer1")
    assert stages[-1].modules == ("avgpool", "fc")


def test_features_are_the_maps_between_stages():
    net = build("resnet18", num_classes=7, small_stem=False).eval()
    found = staged(net, 3, 64).features(torch.zeros(2, 3, 64, 64))
    with torch.no_grad():
        x = net.maxpool(net.relu(net.bn1(net.conv1(torch.zeros(2, 3, 64, 64)))))
        second = net.layer2(net.layer1(x))
    torch.testing.assert_close(found[2], second)
    assert sorted(found) == [0, 1, 2, 3, 4]


def test_last_stages_of_one_place_are_no_head():
    """On 32 pixels the last maps of a ResNet have one place; they are a stage all the same."""
    stages = stages_of(build("resnet18", num_classes=7), 3, 32)
    assert stages[-2].modules == ("layer4", "avgpool")
    assert stages[-1].modules == ("fc",)


def test_a_transformer_is_cut_into_quarters():
    net = build("timm:vit_tiny_patch16_224", num_classes=3)
    stages = stages_of(net, 3, 224)
    assert [s.name for s in stages] == ["stage0", "stage1", "stage2", "stage3", "head"]
    numbers = number_by_parameter(net, stages)
    assert numbers["cls_token"] == 0
    assert numbers["head.weight"] == 4
    assert numbers["blocks.11.mlp.fc1.weight"] == 3


def test_every_network_of_the_zoo_has_stages():
    for name, size in (("alexnet", 224), ("googlenet", 224), ("inception_v3", 299), ("vgg16", 64)):
        stages = stages_of(build(name, num_classes=3), 3, size)
        strides = [s.stride for s in stages[:-1]]
        assert len(strides) >= 3, name
        assert strides == sorted(strides), name
        assert stages[-1].name == "head"
