"""Costs and receptive fields of the zoo, against published figures and against gradients."""

import pytest
import torch
from torch import nn
from torchvision import models as published

from striate.core.errors import ModelError
from striate.models.arithmetic import layer_table, totals, zoo_network
from striate.models.zoo import ARCHITECTURES
from striate.textbook.arithmetic import Field, conv_cost

WEIGHTS = {name.lower().removesuffix("_weights"): getattr(published, name)
           for name in dir(published) if name.endswith("_Weights")}  # fmt: skip


def table_of(name, side=224, **options):
    net = zoo_network(name, (3, side, side), 1000, **options)
    rows = layer_table(net, (3, side, side), name)
    return rows, totals(rows, net)


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) & set(WEIGHTS)))
def test_published_totals(name):
    """torchvision's own figures; its Inception counts the auxiliary classifier, ours has none."""
    _, total = table_of(name, 299 if name == "inception_v3" else 224)
    meta = WEIGHTS[name].DEFAULT.meta
    if name != "inception_v3":
        assert total["parameters"] == meta["num_params"]
    assert round(total["macs"] / 1e9, 3) == pytest.approx(meta["_ops"], abs=1.1e-3)


def test_the_lectures_totals():
    """M1: AlexNet with two groups, VGG-16, VGG-19, ResNet-50."""
    assert table_of("alexnet_grouped")[1]["parameters"] == 60_965_224
    assert round(table_of("vgg16")[1]["parameters"] / 1e6, 1) == 138.4
    assert round(table_of("vgg19")[1]["parameters"] / 1e6, 1) == 143.7
    total = table_of("resnet50")[1]
    assert (round(total["parameters"] / 1e6, 1), round(total["macs"] / 1e9, 1)) == (25.6, 4.1)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_has_a_table(name):
    rows, total = table_of(name)
    assert sum(row.parameters for row in rows) == total["parameters"] > 0
    assert rows[-1].output == (1000,)
    assert total["activations"] > 0


@pytest.mark.parametrize(
    ("name", "size", "stride"), [("alexnet", 195, 32), ("alexnet_grouped", 195, 32),
                                 ("vgg16", 212, 32), ("resnet18", 435, 32)]
)  # fmt: skip
def test_published_receptive_fields(name, size, stride):
    """Araujo et al. 2019, "Computing receptive fields of convolutional neural networks"."""
    field = [row.field for row in table_of(name)[0] if row.field][-1]
    assert (field.size, field.stride) == ((size, size), (stride, stride))


class Branches(nn.Module):
    """A long and a short path, a sum, a concatenation, and functions outside layers."""

    def __init__(self):
        super().__init__()
        self.long = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 5, padding=2))
        self.short = nn.Conv2d(3, 3, 1)
        self.last = nn.Conv2d(6, 2, 3, stride=2)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        both = self.long(x) + nn.functional.relu(self.short(x), inplace=True)
        pooled = nn.functional.avg_pool2d(torch.cat([both, x], 1), 3, 1, 1)
        return self.last(pooled) * self.scale


def test_branches_meet_in_the_larger_field():
    net = Branches().double()
    rows = layer_table(net, (3, 21, 17))
    field = rows[-2].field
    assert [row.name for row in rows] == ["long.0", "long.1", "short", "last", "(elsewhere)"]
    assert rows[-1].parameters == 1
    x = torch.rand(1, 3, 21, 17, dtype=torch.float64, requires_grad=True)
    net(x)[0, 0, 4, 4].backward()
    seen = x.grad[0].abs().sum(0) > 0
    rows_seen, columns_seen = (torch.nonzero(seen.any(d)).flatten().tolist() for d in (1, 0))
    for axis, where in enumerate((rows_seen, columns_seen)):
        start = 4 * field.stride[axis] - field.padding[axis]
        assert (where[0], where[-1]) == (start, start + field.size[axis] - 1)


class Odd(nn.Module):
    """Used twice, unused, tied, called by keyword, with explicit padding and an even kernel."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.GroupNorm(1, 3)
        self.again = nn.Conv2d(3, 3, 3)
        self.again.weight = self.conv.weight
        self.even = nn.Conv2d(3, 3, 2, padding="same")

    def forward(self, x):
        x = self.norm(input=self.conv(self.conv(x)))
        return self.even(
            self.again(nn.functional.pad(x, (1, 1, 1, 1))) * self.conv.bias.view(1, 3, 1, 1)
        )


def test_odd_networks():
    net = Odd()
    rows = {row.name: row for row in layer_table(net, (3, 8, 8))}
    assert sum(row.parameters for row in rows.values()) == sum(p.numel() for p in net.parameters())
    assert rows["conv"].activations == 2 * 3 * 64
    assert rows["conv"].macs == 2 * 27 * 3 * 64
    assert rows["conv"].field.size == (5, 5)
    assert rows["even"].field.size == (8, 8)


def test_branches_see_the_union():
    """One looks left, one looks right: together they see both sides."""

    class Asymmetric(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Conv2d(1, 1, (1, 4)), nn.Conv2d(1, 1, (1, 3))
            self.last = nn.Identity()

        def forward(self, x):
            return self.last(self.left(x) + self.right(nn.functional.pad(x, (1, 0)))[..., :-2])

    rows = layer_table(Asymmetric(), (1, 4, 9))
    assert rows[-1].field is None  # a slice moves pixels: not followed

    class Union(Asymmetric):
        def forward(self, x):
            right = self.right(nn.functional.pad(x, (1, 0)))
            return self.last(self.left(nn.functional.pad(x, (0, 2))) + right)

    field = layer_table(Union(), (1, 4, 9))[-1].field
    assert (field.size[1], field.padding[1]) == (5, 1)


def test_what_is_not_followed_is_not_invented():
    up = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.ConvTranspose2d(3, 3, 2, 2), nn.Conv2d(3, 3, 3))
    assert [row.field is None for row in layer_table(up, (3, 8, 8))] == [False, True, True]
    line = nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 3), nn.AvgPool1d(2))
    assert [row.field for row in layer_table(line, (3, 8, 8))] == [None] * 3


def test_images_need_not_be_square():
    net = zoo_network("conv 5x5 10, fc 10", (3, 32, 64), 10)
    assert layer_table(net, (3, 32, 64))[0].output == (10, 28, 60)


def test_rows_state_what_each_layer_costs():
    net = nn.Sequential(
        nn.Conv2d(3, 8, (3, 5), stride=2, groups=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 3),
        nn.Flatten(), nn.Linear(8 * 4 * 4, 10, bias=False),
    )  # fmt: skip
    conv, relu, pool, flat, fc = layer_table(net, (3, 30, 32))
    assert (conv.parameters, conv.macs) == conv_cost(3, 8, (3, 5), 14 * 14)
    assert conv.output == (8, 14, 14)
    assert conv.dropped == (1, 1)
    assert (conv.activations, relu.activations, flat.activations) == (8 * 14 * 14, 0, 0)
    assert pool.dropped == (2, 2)
    assert pool.field == Field((7, 9), (6, 6), (0, 0))
    assert (fc.parameters, fc.macs, fc.field) == (1280, 1280, None)
    ceiling = layer_table(nn.MaxPool2d(3, 2, ceil_mode=True), (1, 8, 8))
    assert ceiling[0].dropped == (0, 0)


def test_small_stem_and_misfits():
    assert table_of("resnet18", 32, small_stem=True)[0][0].output == (64, 32, 32)
    with pytest.raises(ModelError, match="the map collapses at layer"):
        table_of("vgg16", 16)
    with pytest.raises(ModelError, match="lenet does not take small_stem"):
        table_of("lenet", 28, small_stem=True)
    with pytest.raises(ModelError, match="unknown architecture"):
        table_of("alexnett")
