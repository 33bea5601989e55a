"""Probes, neighbours, and whether maps move with the image (L8)."""

import numpy as np
import pytest
import torch
from torch import nn

from striate.explain.features import equivariance, layer_features, nearest, probe
from striate.models.hooks import last_features


class Net(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x.permute(0, 3, 1, 2) / 255)


IMAGES = torch.randint(0, 256, (6, 24, 24, 3), generator=torch.Generator().manual_seed(0)).float()


def test_a_convolution_moves_along_and_a_position_does_not():
    torch.manual_seed(0)

    class Position(nn.Module):
        def forward(self, x):
            return x * torch.linspace(-1, 1, x.shape[3])

    net = Net(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 1), Position())
    assert equivariance(net, IMAGES, net.layers[1], (2, 2)) < 1e-6
    assert equivariance(net, IMAGES, net.layers[2], (2, 2)) > 0.1
    assert equivariance(net, IMAGES, net.layers[1], (3, 3)) > 0.3  # no multiple of the stride
    assert np.isnan(equivariance(net, IMAGES, net.layers[1], (20, 20)))
    assert np.isnan(equivariance(net, IMAGES[:1], net.layers[1], (2, 2)))


def test_features_of_layers():
    net = Net(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    chosen = {"conv": net.layers[0], "flat": net.layers[3]}
    found = layer_features(net, IMAGES.split(4), chosen)
    assert found["conv"].shape == (6, 8 * 4 * 4)
    assert found["flat"].shape == (6, 8)
    np.testing.assert_allclose(last_features(net, IMAGES.split(4)), found["flat"], rtol=1e-5)


def test_probe_tells_what_features_know():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    told = rng.normal(size=(400, 5)) + 3 * np.eye(5)[truth]
    blind = rng.normal(size=(400, 5))
    scores = [
        probe("x", (f[:200], truth[:200]), (f[200:], truth[200:])).accuracy for f in (told, blind)
    ]
    assert scores[0] > 0.9
    assert scores[1] < 0.5


def test_nearest_are_those_of_a_sort():
    rng = np.random.default_rng(0)
    known, asked = rng.normal(size=(50, 4)), rng.normal(size=(7, 4))
    positions, likenesses = nearest(known, asked, 3)
    for row, (p, like) in enumerate(zip(positions, likenesses, strict=True)):
        each = known @ asked[row] / np.linalg.norm(known, axis=1) / np.linalg.norm(asked[row])
        np.testing.assert_array_equal(p, np.argsort(-each)[:3])
        np.testing.assert_allclose(like, np.sort(each)[::-1][:3])
    assert nearest(known, np.zeros((0, 4)))[0].shape == (0, 5)
    assert nearest(known[:2], asked)[0].shape == (7, 2)
    with pytest.raises(ValueError, match="matmul"):
        nearest(known, np.zeros((2, 5)))
