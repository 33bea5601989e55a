"""Attributions against captum, against what they promise, and with networks left as they were."""

import warnings

import numpy as np
import pytest
import torch
from captum import attr
from torch import nn

from striate.explain.attribution import (
    ATTRIBUTIONS,
    grad_cam,
    gradient,
    guided_backpropagation,
    integrated_gradients,
    occlusion,
    saliency,
)
from striate.explain.trust import area, deletion, likeness, randomised
from striate.models.hooks import last_maps
from striate.models.network import Network
from striate.models.zoo import build


class Upright(nn.Module):
    """(N, H, W, C) images before a plain network, as ours take them."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x.permute(0, 3, 1, 2) / 255)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Upright(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 4),
    )  # fmt: skip


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 12, 12, 3), generator=torch.Generator().manual_seed(0)).float()


CLASSES = torch.tensor([0, 2, 3])


def test_saliency_is_captums(net, images):
    net.eval()
    wanted = attr.Saliency(net).attribute(images.requires_grad_(), target=CLASSES).amax(dim=3)
    torch.testing.assert_close(saliency(net, images, CLASSES), wanted)


def test_integrated_gradients_are_captums_and_complete(net, images):
    net.eval()
    found = integrated_gradients(net, images, CLASSES)
    with torch.no_grad():
        scores = net(images) - net(torch.zeros_like(images))
    apart = scores.gather(1, CLASSES[:, None])[:, 0]
    torch.testing.assert_close(found.sum(dim=(1, 2)), apart, rtol=0.05, atol=5e-3)
    wanted = attr.IntegratedGradients(net).attribute(images, target=CLASSES, n_steps=200).sum(dim=3)
    torch.testing.assert_close(found, wanted, rtol=0.1, atol=float(wanted.abs().max()) / 20)


def test_guided_backpropagation_is_captums(net, images):
    net.eval()
    plain = Upright(*(nn.ReLU() if isinstance(m, nn.ReLU) else m for m in net.layers)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum says that it sets hooks
        wanted = attr.GuidedBackprop(plain).attribute(images.requires_grad_(), target=CLASSES)
    found = guided_backpropagation(net, images, CLASSES)
    torch.testing.assert_close(found, wanted.clamp(min=0).amax(dim=3))


def test_grad_cam_is_captums(net, images):
    net.eval()
    layer = net.layers[4]
    maps = attr.LayerGradCam(net, layer).attribute(images, target=CLASSES, relu_attributions=True)
    wanted = nn.functional.interpolate(maps, size=(12, 12), mode="bilinear", align_corners=False)
    found = grad_cam(net, images, CLASSES, layer=layer)
    torch.testing.assert_close(found, wanted[:, 0].detach())
    assert last_maps(net, images[:1]) is net.layers[5]


def test_occlusion_finds_the_pixel_that_counts():
    """A network that looks at one pixel only."""

    class One(nn.Module):
        def forward(self, x):
            return torch.stack([x[:, 5, 7].sum(dim=1), torch.zeros(len(x))], dim=1)

    images = torch.zeros(2, 12, 12, 3)
    images[:, 5, 7] = 200
    found = occlusion(One(), images, torch.zeros(2, dtype=torch.int64), side=3, stride=1)
    assert divmod(int(found[0].argmax()), 12) == (5, 7)
    assert (found[0, :2] == 0).all()
    net = Upright(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.rand(2, 12, 12, 3) * 255
    wanted = attr.Occlusion(net).attribute(
        x, sliding_window_shapes=(4, 4, 3), strides=(4, 4, 3), target=1,
        baselines=x.mean(dim=(1, 2), keepdim=True).expand_as(x),
    )  # fmt: skip
    found = occlusion(net, x, torch.ones(2, dtype=torch.int64), side=4, stride=4)
    torch.testing.assert_close(found, wanted.mean(dim=3), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ATTRIBUTIONS)
@pytest.mark.parametrize("name", ["fastnet", "lenet", "resnet18", "googlenet"])
def test_every_method_works_for_networks_of_the_zoo_and_leaves_them(method, name):
    if name == "googlenet" and method == "occlusion":
        pytest.skip("too slow at its 224 pixels, and no other than with resnet18")
    torch.manual_seed(0)
    side = 64 if name in ("resnet18", "googlenet") else 16
    backbone = build(name, num_classes=4, channels=3, image_size=side)
    net = Network(backbone, torch.zeros(3), torch.ones(3) / 255).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    learns = [p.requires_grad for p in net.parameters()]
    images = torch.randint(0, 256, (2, side, side, 3)).float()
    found = ATTRIBUTIONS[method](net, images, torch.tensor([0, 1]))
    assert found.shape == (2, side, side)
    assert found.isfinite().all()
    assert net.training
    assert [p.requires_grad for p in net.parameters()] == learns
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not any(m._forward_hooks or m._backward_hooks for m in net.modules())


@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_hooks_go_on_an_error_too(net, images, method):
    net.train()
    with pytest.raises((RuntimeError, IndexError)):
        ATTRIBUTIONS[method](net, images, torch.tensor([0, 2, 99]))
    assert net.training
    assert net.layers[1].inplace
    assert not any(m._forward_hooks for m in net.modules())


def test_no_maps():
    with pytest.raises(ValueError, match="no layer with maps"):
        last_maps(Upright(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 2, 2, 3))


@pytest.fixture(scope="module")
def trained():
    """A network that tells the colour of a square, wherever it is, and images of it."""
    torch.manual_seed(0)
    net = Upright(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 4),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    images = rng.integers(0, 90, (256, 16, 16, 3)).astype(np.float32)
    classes = rng.integers(0, 4, 256)
    for image, c in zip(images, classes, strict=True):
        top, left = rng.integers(0, 12, 2)
        image[top : top + 4, left : left + 4, c if c < 3 else slice(None)] += 150
    x, y = torch.from_numpy(images), torch.from_numpy(classes)
    rule = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(150):
        rule.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        rule.step()
    assert (net(x).argmax(1) == y).float().mean() > 0.98
    return net, x[:40], y[:40]


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "grad_cam", "occlusion"])
def test_maps_find_the_square_and_tell_a_trained_network_from_a_random_one(trained, method):
    net, x, y = trained
    maps = ATTRIBUTIONS[method](net, x, y)
    shuffled = maps.flatten(1)[:, torch.randperm(256)].reshape(maps.shape)
    assert area(deletion(net, x, y, maps)) < area(deletion(net, x, y, shuffled)) - 0.05
    if method != "saliency":  # its scattered pixels make no picture
        inserted = area(deletion(net, x, y, maps, insert=True))
        assert inserted > area(deletion(net, x, y, shuffled, insert=True))
    assert likeness(ATTRIBUTIONS[method], net, x[:8], y[:8]) < 0.8


def test_deletion_begins_and_ends_where_it_must(trained):
    net, x, y = trained
    curve = deletion(net, x, y, saliency(net, x, y))
    with torch.no_grad():
        whole = net(x).softmax(1).gather(1, y[:, None]).mean()
        bare = net(x.mean(dim=(1, 2), keepdim=True).expand_as(x)).softmax(1)
    assert curve[0] == pytest.approx(float(whole), abs=1e-5)
    assert curve[-1] == pytest.approx(float(bare.gather(1, y[:, None]).mean()), abs=1e-5)


def test_random_weights_are_others_and_repeat(trained):
    net = trained[0]
    one, two = randomised(net), randomised(net)
    first = "layers.0.weight"
    assert torch.equal(one.state_dict()[first], two.state_dict()[first])
    assert not torch.equal(one.state_dict()[first], net.state_dict()[first])


def test_gradient_of_a_linear_network():
    net = Upright(nn.Flatten(), nn.Linear(12, 2, bias=False))
    weights = net.layers[1].weight.detach()[1].reshape(3, 2, 2).permute(1, 2, 0) / 255
    found = gradient(net, torch.rand(1, 2, 2, 3), torch.tensor([1]))[0]
    torch.testing.assert_close(found, weights)
