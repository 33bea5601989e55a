"""Top patches against a sort of everything; ways back against captum; what units like best."""

import warnings

import numpy as np
import pytest
import torch
from captum import attr
from torch import nn
from torch.nn import functional as F

from striate.explain.maximise import maximised
from striate.explain.patches import projections, top_patches, window
from striate.models.hooks import maps_of


class Plain(nn.Module):
    """Modules for activations, so that captum sees them."""

    def __init__(self):
        super().__init__()
        self.one, self.act1 = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()
        self.two, self.act2 = nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
        self.pool, self.out = nn.MaxPool2d(2), nn.Linear(8 * 6 * 6, 4)

    def forward(self, x):
        x = self.act1(self.one(x.permute(0, 3, 1, 2) / 255))
        return self.out(self.pool(self.act2(self.two(x))).flatten(1))


class Functional(Plain):
    """The same network with functions, one of them in place."""

    def forward(self, x):
        x = F.relu(self.one(x.permute(0, 3, 1, 2) / 255), inplace=True)
        return self.out(self.pool(torch.relu(self.two(x))).flatten(1))


@pytest.fixture(scope="module", params=[Plain, Functional])
def net(request):
    torch.manual_seed(0)
    plain = Plain()
    made = request.param()
    made.load_state_dict(plain.state_dict())
    return made.eval()


IMAGES = torch.randint(0, 256, (25, 12, 12, 3), generator=torch.Generator().manual_seed(0)).float()


def test_top_patches_are_those_of_a_sort(net):
    found = top_patches(net, IMAGES.split(7), net.two, count=4)
    with torch.no_grad():
        maps = maps_of(net, IMAGES, net.two)
    for unit in range(8):
        strongest = maps[:, unit].flatten(1).max(dim=1).values
        order = strongest.argsort(descending=True)[:4]
        assert torch.equal(found.images[unit], order)
        for image, (row, column), value in zip(
            found.images[unit], found.places[unit], found.values[unit], strict=True
        ):
            assert maps[image, unit, row, column] == value == maps[image, unit].max()


def test_fewer_images_than_wanted(net):
    assert top_patches(net, IMAGES[:3].split(2), net.two).values.shape == (8, 3)
    with pytest.raises(ValueError, match="no images"):
        top_patches(net, [], net.two)


@pytest.mark.parametrize(("way", "oracle"), [("deconvolution", attr.Deconvolution),
                                             ("guided", attr.GuidedBackprop)])  # fmt: skip
def test_ways_back_are_captums(net, way, oracle):
    plain = Plain()
    plain.load_state_dict(net.state_dict())
    plain.eval()
    unit, (row, column) = 5, (3, 4)

    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.whole = plain

        def forward(self, x):
            y = plain.two(plain.act1(plain.one(x.permute(0, 3, 1, 2) / 255)))
            return y[:, unit, row, column][:, None]

    some = IMAGES[:4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = oracle(Unit()).attribute(some.clone().requires_grad_(), target=0)
    units, places = torch.full((4,), unit), torch.tensor([[row, column]] * 4)
    found = projections(net, some, net.two, units, places, way)
    torch.testing.assert_close(found, wanted)


def test_the_two_ways_differ_from_the_gradient_and_from_each_other(net):
    units, places = torch.tensor([0, 1]), torch.tensor([[2, 2], [3, 3]])
    a, b = (
        projections(net, IMAGES[:2], net.pool, units, places, way)
        for way in ("deconvolution", "guided")
    )
    assert not torch.allclose(a, b)


def test_nothing_is_left_behind(net):
    projections(net, IMAGES[:1], net.two, torch.tensor([0]), torch.tensor([[0, 0]]), "guided")
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    x = torch.randn(4, requires_grad=True)
    torch.relu(x).sum().backward()
    assert torch.equal(x.grad, (x > 0).float())  # activations are themselves again


def test_windows_stay_inside():
    assert window((0, 0), (5, 5), (2, 2), (1, 1), (20, 20)) == (slice(0, 5), slice(0, 5))
    assert window((3, 9), (5, 5), (2, 2), (1, 1), (20, 20)) == (slice(5, 10), slice(15, 20))
    assert window((3, 3), (50, 50), (2, 2), (20, 20), (20, 20)) == (slice(0, 20), slice(0, 20))


def test_maximised_images_are_liked_better_than_most_of_the_data(net):
    units = torch.tensor([0, 3])
    odd = maximised(net, units, IMAGES[:, :, :11], layer=net.two, steps=2)
    assert odd.shape == (2, 12, 11, 3)
    found = maximised(net, units, IMAGES, steps=60)
    assert 0 <= float(found.min()) < float(found.max()) <= 255
    with torch.no_grad():
        asked, data = net(found), net(IMAGES)
        for row, unit in enumerate(units):
            margin = data[:, unit] - data.mean(dim=1)
            assert asked[row, unit] - asked[row].mean() > margin.quantile(0.9)
    inner = maximised(net, units, IMAGES, layer=net.two, steps=60)
    with torch.no_grad():
        own = maps_of(net, inner, net.two)[[0, 1], units, 6, 6]
        usual = maps_of(net, IMAGES, net.two)[:, units, 6, 6]
    assert (own > usual.quantile(0.9, dim=0)).all()
    np.testing.assert_array_equal(found, maximised(net, units, IMAGES, steps=60))
