"""The laws of networks."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import nn

from striate.models.stages import number_by_parameter, set_frozen, staged, stages_of
from striate.models.zoo import build, takes_grey
from striate.testing.laws import Laws, difference


def check_network(
    name: str,
    *,
    image_size: int = 32,
    channels: int = 3,
    classes: int = 5,
    without_gradient: tuple[str, ...] = (),
) -> list[str]:
    """The laws of a network: a name of the zoo, `timm:NAME`, `module:function`, or a one-line spec.

    without_gradient: parameters that may be left without one (of the position of a class token in a
    network that does not use it).
    """
    laws = Laws(f"the network {name}")
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        channels = channels if takes_grey(name) or channels == 3 else 3
        net = build(name, num_classes=classes, channels=channels, image_size=image_size)
        images = torch.rand(4, channels, image_size, image_size)
        _outputs(laws, net, images, classes)
        _gradients(laws, net, images, without_gradient)
        _stages(laws, net, images)
    return laws.kept


def _outputs(laws: Laws, net: nn.Module, images: torch.Tensor, classes: int) -> None:
    net.eval()
    with torch.no_grad():
        whole, again = net(images), net(images)
        alone = torch.cat([net(images[i : i + 1]) for i in range(len(images))])
    shape = tuple(whole.shape)
    laws.check("it gives (images, classes)", shape == (len(images), classes), str(shape))
    laws.check("in evaluation it repeats", torch.equal(whole, again))
    apart = difference(whole, alone) / max(1e-6, float(whole.abs().max()))
    law = "in evaluation an image does not depend on the batch"
    laws.check(law, apart < 1e-3, f"{apart:.1e} of the largest output")


def _gradients(laws: Laws, net: nn.Module, images: torch.Tensor, without: tuple[str, ...]) -> None:
    net.train()
    outputs = net(images)
    nn.functional.cross_entropy(outputs, torch.arange(len(images)) % outputs.shape[1]).backward()  # type: ignore[no-untyped-call]
    missing = [
        n for n, p in net.named_parameters()
        if p.requires_grad and p.grad is None and n not in without
    ]  # fmt: skip
    laws.check("every parameter gets a gradient", not missing, ", ".join(missing[:5]))
    net.zero_grad(set_to_none=True)


def _stages(laws: Laws, net: nn.Module, images: torch.Tensor) -> None:
    channels, size = images.shape[1], images.shape[2]
    stages = stages_of(net, channels, size)
    held = [name for name, _ in net.named_parameters()]
    twice = [n for n in held if sum(stage.holds(n) for stage in stages) > 1]
    laws.check("no parameter is in two stages", not twice, ", ".join(twice[:3]))
    strides = [stage.stride for stage in stages[:-1]]
    laws.check("stages go from fine to coarse", strides == sorted(strides), str(strides))
    maps = staged(net.eval(), channels, size).features(images)
    wrong = [
        f"{stages[i].name}: {tuple(found.shape)}" for i, found in maps.items()
        if found.shape[1] != stages[i].channels
        or round(size / found.shape[2]) != stages[i].stride
    ]  # fmt: skip
    laws.check("maps have the stages' strides and channels", not wrong, "; ".join(wrong))
    frozen = copy.deepcopy(net)
    parts = set_frozen(frozen, stages[0].modules)
    frozen.train()
    for part in parts:
        part.eval()
    numbers = number_by_parameter(frozen, stages)
    before = {k: v.clone() for k, v in frozen.state_dict().items() if stages[0].holds(k)}
    learning = [p for p in frozen.parameters() if p.requires_grad]
    if learning and len(stages) > 1:
        frozen(images).sum().backward()
        torch.optim.SGD(learning, lr=0.1).step()
    after = frozen.state_dict()
    moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
    laws.check("a frozen stage stays, its averages too", not moved, ", ".join(moved[:3]))
    laws.check("every parameter has a stage", set(numbers) == set(held))
