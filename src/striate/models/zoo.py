"""ARCHITECTURES: every network by name, as "module:function" so that listing them needs no torch.

A factory takes the keyword arguments that it declares, of: num_classes, channels, image_size,
width, dropout, small_stem. A user's own `package.module:factory` is called the same way.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.core.errors import ModelError, perhaps
from striate.models import spec

if TYPE_CHECKING:
    from torch import nn

_OWN = ("fastnet", "lenet", "decknet", "alexnet_grouped")
_VGG = tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn"))
_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_TORCHVISION = ("alexnet", *_VGG, "googlenet", "inception_v3", *_RESNETS)
_LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")

ARCHITECTURES: dict[str, str] = {
    **{name: f"striate.models.own:{name}" for name in _OWN},
    **{name: f"striate.models.vision:{name}" for name in _TORCHVISION},
    **{name: f"striate.models.efficientnet:{name}" for name in _LITE},
}

_ANY_CHANNELS = frozenset(_OWN) - {"alexnet_grouped"}


def takes_grey(name: str) -> bool:
    """Whether the network has as many input channels as the images; all others take 3."""
    return name in _ANY_CHANNELS or spec.is_spec(name)


TAKES_STEM = frozenset({"alexnet", "googlenet", "inception_v3", *_RESNETS})
"""Networks with another first layer for small images."""


def check_name(name: str) -> None:
    """Raise ModelError for a misspelt name, before anything slow is done."""
    if spec.is_spec(name):
        close = difflib.get_close_matches(name.replace(" ", ""), ARCHITECTURES, n=1, cutoff=0.9)
        if close:
            raise ModelError(f"unknown architecture '{name}'", f"Perhaps you meant: {close[0]}.")
        spec.read(name)
        return
    if ":" not in name and name not in ARCHITECTURES:
        hint = perhaps(name, ARCHITECTURES)
        raise ModelError(
            f"unknown architecture '{name}'",
            f"{hint} Also timm:NAME, your own package.module:factory, or the layers on one line: "
            "'conv 5x5 10 pad 2, relu, pool 2, fc classes'.",
        )


def find_factory(name: str) -> Callable[..., nn.Module]:
    """The factory behind a zoo name, `timm:NAME`, `package.module:factory` or a one-line spec.

    Raises ModelError.
    """
    if spec.is_spec(name):
        from striate.models.plain import network

        return partial(network, name)
    if name.startswith("timm:"):
        from striate.models.vision import timm_factory

        return timm_factory(name.removeprefix("timm:"))
    check_name(name)
    if name not in ARCHITECTURES and "" not in sys.path:
        sys.path.insert(0, "")  # the console script does not look into the current folder
    module, _, function = ARCHITECTURES.get(name, name).partition(":")
    return _imported(module, function, name)


def build(name: str, *, insist: dict[str, Any] | None = None, **wanted: Any) -> nn.Module:
    """Call the factory with those of `wanted` that it declares and with all of `insist`.

    Raises ModelError if it does not declare num_classes or something insisted on.
    """
    factory = find_factory(name)
    declared = inspect.signature(factory).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in declared.values())
    if "num_classes" not in declared and not anything:
        raise ModelError(
            f"{name}: the factory does not take num_classes",
            "Declare it as `def factory(num_classes, channels, image_size)`; the last two are "
            "optional.",
        )
    lacking = [k for k in insist or {} if not anything and k not in declared]
    if lacking:
        raise ModelError(f"{name} does not take {', '.join(lacking)}", "Leave that knob out.")
    known = {k: v for k, v in wanted.items() if k in declared or k == "num_classes"}
    net = factory(**known, **(insist or {}))
    if not callable(getattr(net, "named_parameters", None)):
        raise ModelError(
            f"{name} gives a {type(net).__name__}, not a torch.nn.Module",
            "A factory returns the network that it builds.",
        )
    if {"channels", "image_size"} <= wanted.keys():
        _fix_sizes(net, name, wanted["channels"], wanted["image_size"])
    return net


def _fix_sizes(net: nn.Module, name: str, channels: int, side: int) -> None:
    """Show an image to a network whose layers (torch's Lazy…) find their sizes by the first one."""
    import torch
    from torch.nn.parameter import is_lazy

    from striate.models.fit import place_of

    if not any(map(is_lazy, net.parameters())):
        return
    was = net.training
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, channels, side, side))
    except Exception as error:  # the user's own code can raise anything
        raise ModelError(f"{name} does not take {side}×{side} images: {place_of(error)}") from error
    net.train(was)


def _imported(module: str, function: str, name: str) -> Callable[..., nn.Module]:
    try:
        found = getattr(importlib.import_module(module), function)
    except ImportError as error:
        raise ModelError(
            f"{name}: {error}", f"Is {module}.py in {Path.cwd()} or installed?"
        ) from None
    except AttributeError:
        names = [n for n in dir(importlib.import_module(module)) if not n.startswith("_")]
        raise ModelError(f"{module} has no '{function}'", perhaps(function, names)) from None
    except Exception as error:  # the user's own file can raise anything
        raise ModelError(
            f"{name}: importing {module} raised {type(error).__name__}: {error}",
            "A network is named package.module:factory.",
        ) from error
    if not callable(found):
        raise ModelError(f"{name} is a {type(found).__name__}, not a function or class")
    factory: Callable[..., nn.Module] = found
    return factory
