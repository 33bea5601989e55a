"""torchvision's and timm's architectures, with a first layer that suits small images.

Auxiliary classifiers are left out, so GoogLeNet and Inception-v3 have one output like the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torchvision import models as zoo

from striate.core.errors import MissingExtraError, ModelError, perhaps


def _vgg(name: str) -> Callable[..., nn.Module]:
    def factory(num_classes: int, dropout: float = 0.5) -> nn.Module:
        return getattr(zoo, name)(weights=None, num_classes=num_classes, dropout=dropout)

    return factory


def _resnet(name: str) -> Callable[..., nn.Module]:
    def factory(num_classes: int, dropout: float = 0.0, small_stem: bool = False) -> nn.Module:
        net = getattr(zoo, name)(weights=None, num_classes=num_classes)
        if small_stem:  # keep the resolution: the published stem divides it by 4
            net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            net.maxpool = nn.Identity()
        if dropout:
            net.fc = nn.Sequential(nn.Dropout(dropout), net.fc)
        return net

    return factory


vgg11, vgg13, vgg16, vgg19 = (_vgg(f"vgg{depth}") for depth in (11, 13, 16, 19))
vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn = (_vgg(f"vgg{depth}_bn") for depth in (11, 13, 16, 19))
resnet18, resnet34, resnet50 = _resnet("resnet18"), _resnet("resnet34"), _resnet("resnet50")
resnet101, resnet152 = _resnet("resnet101"), _resnet("resnet152")


def alexnet(num_classes: int, dropout: float = 0.5, small_stem: bool = False) -> nn.Module:
    """torchvision's one-column AlexNet; small images: 5×5 first layer without stride."""
    net = zoo.alexnet(weights=None, num_classes=num_classes, dropout=dropout)
    if small_stem:
        net.features[0] = nn.Conv2d(3, 64, 5, padding=2)
    return net


def googlenet(num_classes: int, dropout: float = 0.2, small_stem: bool = False) -> nn.Module:
    """GoogLeNet with batch norm; small images: 3×3 first layer without stride and pooling."""
    net = zoo.googlenet(
        weights=None, num_classes=num_classes, aux_logits=False, init_weights=True, dropout=dropout
    )
    if small_stem:
        net.conv1.conv = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        net.maxpool1 = nn.Identity()
    return net


def inception_v3(num_classes: int, dropout: float = 0.5, small_stem: bool = False) -> nn.Module:
    """Inception-v3; small images: no stride in the first layer, no first pooling."""
    net = zoo.inception_v3(
        weights=None, num_classes=num_classes, aux_logits=False, init_weights=True, dropout=dropout
    )
    if small_stem:
        net.Conv2d_1a_3x3.conv.stride = (1, 1)
        net.maxpool1 = nn.Identity()
    return net


def timm_factory(name: str) -> Callable[..., nn.Module]:
    """A factory for timm's NAME. Raises MissingExtraError without timm, and ModelError if it has no
    such network."""
    try:
        import timm
    except ImportError:
        raise MissingExtraError("timm", "timm", f"for timm:{name}") from None
    if not timm.is_model(name):
        raise ModelError(f"timm has no network '{name}'", perhaps(name, timm.list_models()))

    def factory(num_classes: int, dropout: float = 0.0) -> nn.Module:
        net: Any = timm.create_model(
            name, pretrained=False, num_classes=num_classes, drop_rate=dropout
        )
        module: nn.Module = net
        return module

    return factory
