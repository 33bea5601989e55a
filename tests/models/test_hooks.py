"""Layers of networks by name, and their outputs, with hooks that go."""

import pytest
import torch
from torch import nn

from striate.models.arithmetic import fields_of, layer_table
from striate.models.hooks import entering_of, last_of_each_resolution, layers_with_maps, maps_of
from striate.models.network import Network
from striate.models.zoo import build


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    backbone = build("resnet18", num_classes=4, channels=3, image_size=32, small_stem=True)
    return Network(backbone, torch.zeros(3), torch.ones(3) / 255)


IMAGES = torch.randint(0, 256, (2, 32, 32, 3))


def test_layers_stand_in_the_order_in_which_they_end(net):
    found = layers_with_maps(net, IMAGES)
    names = [layer.name for layer in found]
    assert names.index("backbone.conv1") < names.index("backbone.layer1.0")
    assert names.index("backbone.layer1.1") < names.index("backbone.layer1")
    last = last_of_each_resolution(found)
    assert [s.name for s in last] == [f"backbone.layer{i}" for i in (1, 2, 3, 4)]
    assert [s.height for s in last] == [32, 16, 8, 4]


def test_maps_are_what_the_layer_gives(net):
    chosen = net.backbone.layer2
    kept = []
    handle = chosen.register_forward_hook(lambda m, i, o: kept.append(o))
    net.eval()(IMAGES)
    handle.remove()
    assert torch.equal(maps_of(net, IMAGES, chosen), kept[0])
    assert entering_of(net, IMAGES, net.backbone.fc).shape == (2, 512)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_a_layer_that_is_not_used(net):
    for ask in (maps_of, entering_of):
        with pytest.raises(ValueError, match="does not use"):
            ask(net, IMAGES, nn.ReLU())


def test_hooks_go_on_an_error(net):
    with pytest.raises(RuntimeError):
        maps_of(net, torch.zeros(2, 32, 32, 5), net.backbone.layer2)
    assert not any(m._forward_hooks for m in net.modules())


def test_fields_of_blocks_are_those_of_their_last_layers(net):
    rows = {row.name: row.field for row in layer_table(net.backbone, (3, 32, 32))}
    found = fields_of(net.backbone, (3, 32, 32), ["conv1", "layer1", "layer2.0.conv1", "avgpool"])
    assert found["conv1"] == rows["conv1"]
    assert found["layer2.0.conv1"] == rows["layer2.0.conv1"]
    assert found["layer1"].size == (11, 11)  # five 3×3 layers
    assert found["avgpool"] is None


def test_a_field_is_where_gradients_come_from():
    """Of a unit in the middle, at random weights, no pixel outside the window counts."""
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3)
    )
    from striate.explain.patches import window

    field = fields_of(backbone, (1, 40, 40), ["3"])["3"]
    x = torch.rand(1, 1, 40, 40, requires_grad=True)
    backbone(x)[0, 1, 3, 3].backward()
    rows, columns = window((3, 3), field.size, field.stride, field.padding, (40, 40))
    outside = x.grad[0, 0].abs()
    inside = float(outside[rows, columns].sum())
    assert inside > 0
    assert float(outside.sum()) == pytest.approx(inside)
    seen = outside.nonzero()
    assert rows.start <= int(seen[:, 0].min()) <= rows.start + 2
