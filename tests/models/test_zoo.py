"""Architectures: published parameter counts (M1), shapes, gradients, and refusals by layer."""

import numpy as np
import pytest
import torch
from torch import nn

from striate.core.errors import ModelError
from striate.data.prepare import measure, patch_covariance, shift_and_scale
from striate.models.fit import bytes_per_image, check_fits, has_norm, parameter_count
from striate.models.initialise import INITIALISERS, initialise, whiten_first
from striate.models.zoo import ARCHITECTURES, build, takes_grey

PUBLISHED = {
    "alexnet": 61_100_840, "alexnet_grouped": 60_965_224, "googlenet": 6_624_904,
    "inception_v3": 23_834_568,
    "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544, "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840, "vgg13_bn": 133_053_736, "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032,
    "resnet101": 44_549_160, "resnet152": 60_192_808,
    "efficientnet_lite0": 4_652_008, "efficientnet_lite1": 5_416_680,
    "efficientnet_lite2": 6_092_072,
}  # fmt: skip
OWN = {"lenet": 61_706, "fastnet": 1_750_466, "decknet": 54_840}
SMALL = sorted(
    name
    for name in set(ARCHITECTURES) - {"alexnet_grouped", "inception_v3"}
    if not name.startswith("efficientnet")
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name):
    with torch.device("meta"):
        net = build(name, num_classes=1000)
    assert parameter_count(net) == PUBLISHED[name]


@pytest.mark.parametrize("name", OWN)
def test_own_parameter_counts(name):
    size, channels = (32, 3) if name == "fastnet" else (28, 1)
    assert (
        parameter_count(build(name, num_classes=10, channels=channels, image_size=size))
        == OWN[name]
    )


def test_every_architecture_is_tested():
    assert PUBLISHED.keys() | OWN.keys() == ARCHITECTURES.keys()


@pytest.mark.parametrize("name", SMALL)
def test_fits_small_images_with_a_small_stem(name):
    with torch.device("meta"):
        net = build(name, num_classes=7, channels=3, image_size=32, small_stem=True)
    check_fits(net, name, 32, 3, 4, (4, 7))


@pytest.mark.parametrize("name", ["fastnet", "lenet", "decknet", "resnet18", "googlenet"])
def test_every_parameter_receives_a_gradient(name):
    torch.manual_seed(0)
    channels = 1 if takes_grey(name) else 3
    net = build(name, num_classes=5, channels=channels, image_size=24, small_stem=True)
    net(torch.randn(4, channels, 24, 24)).square().sum().backward()
    learned = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    silent = [n for n, p in learned if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize("size", [8, 12, 16, 28, 31, 48, 64, 100, 224])
def test_fastnet_takes_all_sizes(size):
    for channels in (1, 3):
        net = build("fastnet", num_classes=3, channels=channels, image_size=size)
        check_fits(net, "fastnet", size, channels, 2, (2, 3))


@pytest.mark.parametrize("name", ["lenet", "decknet"])
@pytest.mark.parametrize("size", [8, 16, 28, 32, 40])
def test_lecture_networks_take_small_sizes(name, size):
    net = build(name, num_classes=3, channels=1, image_size=size)
    check_fits(net, name, size, 1, 2, (2, 3))


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("alexnet", 16, "features.5 (MaxPool2d)"),
        ("vgg11", 16, "features.20 (MaxPool2d)"),
        ("inception_v3", 32, "Mixed_6a.branch3x3.conv (Conv2d)"),
    ],
)
def test_too_deep_is_refused_with_the_layer(name, size, layer):
    with torch.device("meta"):
        net = build(name, num_classes=5)
    with pytest.raises(ModelError) as error:
        check_fits(net, name, size, 3, 4, (4, 5))
    assert f"{name} is too deep for {size}×{size} images" in str(error.value)
    assert layer in str(error.value)


def test_batch_norm_with_one_value_is_refused_with_the_layer():
    with torch.device("meta"):
        net = build("resnet18", num_classes=5)
    with pytest.raises(ModelError, match="layer4.0.bn1.*one value per channel"):
        check_fits(net, "resnet18", 32, 3, 1, (1, 5))


def test_a_network_that_has_weights_is_tried_with_two_images():
    """Its own weights, running averages and torch's generator stay as they are; sizes that do not
    fit are named as they are on shapes alone."""
    net = build("resnet18", num_classes=5)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(0)
    check_fits(net, "resnet18", 32, 3, 64, (64, 5))
    assert bytes_per_image(net, 3, 64) > 0
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(0)))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with pytest.raises(ModelError, match=r"layer4.0.bn1.*one value per channel"):
        check_fits(net, "resnet18", 32, 3, 1, (1, 5))
    with pytest.raises(ModelError, match=r"gives \(64, 5\) for 64 images; expected \(64, 7\)"):
        check_fits(net, "resnet18", 32, 3, 64, (64, 7))
    deep = build("alexnet", num_classes=5)
    with pytest.raises(ModelError, match=r"too deep for 16×16.*features.5 \(MaxPool2d\)"):
        check_fits(deep, "alexnet", 16, 3, 4, (4, 5))


class OfFour(nn.Module):
    """Normalises quarters of a batch, as some fast recipes do: it takes no two images."""

    def __init__(self):
        super().__init__()
        self.body = build("fastnet", num_classes=5, channels=3, image_size=16)

    def forward(self, x):
        if len(x) % 4:
            raise ZeroDivisionError("a batch has four parts")
        return self.body(x)


def test_a_network_for_whole_batches_is_tried_with_one():
    check_fits(OfFour(), "ghost", 16, 3, 64, (64, 5))
    assert bytes_per_image(OfFour(), 3, 16) == 0  # nothing is known of two images


@pytest.mark.parametrize("side", [64, 96])
def test_noise_and_shapes_keep_the_same_bytes(side):
    """Small images are tried on noise, large ones on shapes; per pixel it is the same."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    assert bytes_per_image(net, 3, side) == 4 * (3 + 8) * side**2


def test_large_images_are_not_computed(monkeypatch):
    monkeypatch.setattr("striate.models.fit.noise", None)
    net = build("resnet18", num_classes=5)
    check_fits(net, "resnet18", 2048, 3, 64, (64, 5))
    assert bytes_per_image(net, 3, 2048) > 1e9


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnt18", "Perhaps you meant: resnet18"),
        ("nowhere.module:net", "No module named"),
        ("torch:lerpp", "Perhaps you meant: lerp"),
        ("math:pi", "float, not a function"),
        ("math:sin", "does not take num_classes"),
    ],
)
def test_unknown_architectures(name, expected):
    with pytest.raises(ModelError) as error:
        build(name, num_classes=3)
    assert expected in str(error.value)


def test_a_users_factory(tmp_path, monkeypatch):
    (tmp_path / "mynets.py").write_text(
        "from torch import nn\n"
        "def tiny(num_classes, channels, image_size):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size**2, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    net = build("mynets:tiny", num_classes=3, channels=1, image_size=5, width=2.0)
    check_fits(net, "mynets:tiny", 5, 1, 2, (2, 3))
    with pytest.raises(ModelError, match="expected .2, 4."):
        check_fits(net, "mynets:tiny", 5, 1, 2, (2, 4))
    with pytest.raises(ModelError, match="does not take 6×6 images: layer 1"):
        check_fits(net, "mynets:tiny", 6, 1, 2, (2, 3))


def test_layers_that_find_their_sizes_by_an_image(tmp_path, monkeypatch):
    (tmp_path / "lazynets.py").write_text(
        "from torch import nn\n"
        "def lazy(num_classes):\n"
        "    return nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU(),\n"
        "                         nn.Flatten(), nn.LazyLinear(num_classes))\n"
        "def deep(num_classes):\n"
        "    return nn.Sequential(nn.LazyConv2d(8, 9), nn.Flatten(), nn.LazyLinear(num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    torch.manual_seed(0)
    net = build("lazynets:lazy", num_classes=3, channels=1, image_size=5)
    assert [tuple(p.shape) for p in net.parameters()][:1] == [(8, 1, 3, 3)]
    assert net.training
    assert net(torch.rand(2, 1, 5, 5)).shape == (2, 3)
    check_fits(net, "lazynets:lazy", 5, 1, 2, (2, 3))
    with pytest.raises(ModelError, match="lazynets:deep does not take 5×5 images: .*Kernel size"):
        build("lazynets:deep", num_classes=3, channels=1, image_size=5)


def test_timm_by_name():
    pytest.importorskip("timm", reason="the timm extra is not installed")
    net = build("timm:resnet10t", num_classes=4)
    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, 4)
    with pytest.raises(ModelError, match="Perhaps you meant"):
        build("timm:resnet10x", num_classes=4)


@pytest.mark.parametrize("name", sorted(set(INITIALISERS) - {"dirac"}))
def test_initialisers(name):
    """Each against its own formula; biases zero or as asked (T2)."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(64, 128, 3), nn.ReLU(), nn.Flatten(), nn.Linear(600, 300))
    initialise(net, name, std=0.001, bias=0.1)
    for layer in (net[0], net[3]):
        weight = layer.weight.detach().flatten(1)
        fan_in, fan_out = weight.shape[1], weight.shape[0] * (9 if weight.ndim == 4 else 1)
        if layer is net[0]:
            fan_out = 128 * 9
        expected = {
            "gaussian": 0.001,
            "xavier": (2 / (fan_in + fan_out)) ** 0.5,
            "he": (2 / fan_in) ** 0.5,
        }
        if name == "orthogonal":
            gram = weight @ weight.T
            torch.testing.assert_close(gram, torch.eye(len(gram)), atol=1e-4, rtol=0)
        else:
            assert weight.std().item() == pytest.approx(expected[name], rel=0.05)
        assert (layer.bias == 0.1).all()


def test_has_norm():
    assert has_norm(build("fastnet", num_classes=2))
    assert not has_norm(build("lenet", num_classes=2))


def test_dirac_passes_channels_on():
    net = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 2, 3, padding=1))
    initialise(net, "dirac")
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(net[0](x)[:, :4], x)
    torch.testing.assert_close(net(x), x[:, :2])


@pytest.mark.parametrize(("kernel", "channels"), [(2, 3), (3, 1), (3, 3)])
def test_whitened_outputs_are_uncorrelated(kernel, channels):
    """On the images that were measured: covariance of the first half near the unit matrix."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 24, 24, channels)).astype(np.float64)
    for axis in (1, 2):  # neighbours alike, as in photographs
        images = (images + np.roll(images, 1, axis)) / 2
    images = images.astype(np.uint8)
    found = measure([images[:20], images[20:]])
    shift, scale = shift_and_scale("standardise", found)
    x = torch.from_numpy((images - shift) * scale).permute(0, 3, 1, 2).float()
    count = channels * kernel**2
    net = nn.Sequential(nn.Conv2d(channels, 2 * count, kernel))
    whiten_first(net, patch_covariance("standardise", found))
    y = net(x).permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(y[:count], -y[count:])
    covariance = torch.cov(y[:count])
    torch.testing.assert_close(covariance, torch.eye(count), atol=0.08, rtol=0)
    assert not net[0].weight.requires_grad


def test_whitening_refuses_other_first_layers():
    with pytest.raises(ModelError, match="two for each number"):
        whiten_first(nn.Sequential(nn.Conv2d(3, 64, 3)), np.eye(27))
    with pytest.raises(ModelError, match="no convolution"):
        whiten_first(nn.Linear(3, 2), np.eye(27))


def test_bytes_that_a_step_keeps():
    """By hand: the images, the convolution's output (kept by ReLU as its own), the linear layer's
    input, which is that; float32."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 5)
    )
    assert bytes_per_image(net, 3, 8) == 4 * (3 * 64 + 8 * 64)
