"""Networks that no rule of the doctor was made with, whole and with a fault built in.

`foreign:NAME` is a network, `foreign:NAME_FAULT` the same with a fault of FAULTS.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models as zoo


class Grouped(nn.Module):
    """Residual blocks with group norm, rectifiers as functions."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(24, 24, 3, padding=1) for _ in range(4))
        self.norms = nn.ModuleList(nn.GroupNorm(4, 24) for _ in range(4))
        self.head = nn.Linear(24 * 16, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(x), 2)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = x + F.relu(norm(block(x)))
        return self.head(F.adaptive_avg_pool2d(x, 4).flatten(1))


def plain_vgg(num_classes: int) -> nn.Module:
    """Five convolutions, no norm layers."""
    layers: list[nn.Module] = []
    inputs = 3
    for outputs, pooled in ((16, True), (32, True), (48, False), (48, True)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pooled else []
        inputs = outputs
    net = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(64), nn.ReLU(),
                        nn.Linear(64, num_classes))  # fmt: skip
    with torch.no_grad():
        net(torch.zeros(1, 3, 32, 32))
        for m in net.modules():
            if isinstance(m, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
                nn.init.zeros_(m.bias)
    return net


def small_densenet(num_classes: int) -> nn.Module:
    """torchvision's DenseNet with three short blocks."""
    return zoo.DenseNet(12, (3, 3, 3), 24, num_classes=num_classes)


def _timm(name: str, num_classes: int) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False, num_classes=num_classes)


def _torchvision(name: str, num_classes: int) -> nn.Module:
    return getattr(zoo, name)(weights=None, num_classes=num_classes)


WHOLE: dict[str, Callable[[int], nn.Module]] = {
    "squeezenet": partial(_torchvision, "squeezenet1_1"),
    "mobilenet": lambda classes: _momentum(_torchvision("mobilenet_v3_small", classes), 0.1),
    "mobilenet_published": partial(_torchvision, "mobilenet_v3_small"),
    "shufflenet": partial(_torchvision, "shufflenet_v2_x0_5"),
    "mnasnet_published": partial(_torchvision, "mnasnet0_5"),
    "densenet": small_densenet,
    "vgg": plain_vgg,
    "resnet10t": partial(_timm, "resnet10t"),
    "grouped": Grouped,
}


class Changed(nn.Module):
    """A network whose input or output is changed."""

    def __init__(self, net: nn.Module, before: Any = None, after: Any = None) -> None:
        super().__init__()
        self.net, self.before, self.after = net, before, after

    def forward(self, x: Tensor) -> Tensor:
        x = self.net(self.before(x) if self.before else x)
        return self.after(x) if self.after else x


class Detached(nn.Module):
    """The head learns; what comes before it is cut off from the gradient."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.head = nn.Linear(head_of(net).out_features, head_of(net).out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.net(x).detach())


def head_of(net: nn.Module) -> Any:
    """The last layer with weights."""
    return [m for m in net.modules() if isinstance(m, nn.Linear)][-1]


def _momentum(net: nn.Module, value: float) -> nn.Module:
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = value
    return net


def _frozen(net: nn.Module) -> nn.Module:
    head = {id(p) for p in head_of(net).parameters()}
    for p in net.parameters():
        p.requires_grad = id(p) in head
    return net


def _dead(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, nn.Conv2d) and m.bias is not None:
                m.bias.fill_(-2.0)
    return net


FAULTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "softmax": lambda net: Changed(net, after=lambda x: x.softmax(dim=1)),
    "relu": lambda net: Changed(net, after=F.relu),
    "tiny": lambda net: Changed(net, before=lambda x: x * 1e-3),
    "constant": lambda net: Changed(net, before=lambda x: x * 0 + 0.5),
    "lagging": lambda net: _momentum(net, 5e-4),
    "frozen": _frozen,
    "detached": Detached,
    "dead": _dead,
}


def _factory(name: str, fault: str) -> Callable[..., nn.Module]:
    def make(num_classes: int) -> nn.Module:
        net = WHOLE[name](num_classes)
        return FAULTS[fault](net) if fault else net

    return make


for _name in WHOLE:
    globals()[_name] = _factory(_name, "")
    for _fault in FAULTS:
        globals()[f"{_name}_{_fault}"] = _factory(_name, _fault)
