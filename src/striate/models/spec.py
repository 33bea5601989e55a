"""Networks written on one line: `conv 5x5 10 pad 2, relu, pool 2, fc 10`.

This module needs no torch: the layers are made from torch.nn or from the textbook, which share
names and parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from striate.core.errors import ModelError, perhaps
from striate.textbook.arrays import TextbookError, pair
from striate.textbook.convolution import output_size

GRAMMAR = """\
  conv KxK MAPS [stride S] [pad P|same] [dilation D] [groups G] [nobias]
  pool K [stride S] [pad P] [dilation D]      avgpool K [stride S] [pad P]
  gap (global average)   flatten   fc OUT|classes [nobias]   batchnorm   dropout P
  relu   leakyrelu   elu   sigmoid   tanh"""


@dataclass(frozen=True)
class _Kind:
    layer: str
    numbers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


_WINDOW = ("stride", "pad", "dilation")
_KINDS = {
    "conv": _Kind("Conv2d", ("kernel_size", "out_channels"), (*_WINDOW, "groups", "nobias")),
    "pool": _Kind("MaxPool2d", ("kernel_size",), _WINDOW),
    "avgpool": _Kind("AvgPool2d", ("kernel_size",), _WINDOW[:2]),
    "gap": _Kind("GlobalAvgPool"),
    "flatten": _Kind("Flatten"),
    "fc": _Kind("Linear", ("out_features",), ("nobias",)),
    "batchnorm": _Kind("BatchNorm"),
    "dropout": _Kind("Dropout", ("p",)),
    "relu": _Kind("ReLU"),
    "leakyrelu": _Kind("LeakyReLU"),
    "elu": _Kind("ELU"),
    "sigmoid": _Kind("Sigmoid"),
    "tanh": _Kind("Tanh"),
}


@dataclass(frozen=True)
class Part:
    """One layer of a spec: its text, the layer's name in torch and the textbook, its arguments."""

    text: str
    layer: str
    arguments: dict[str, Any]


def is_spec(name: str) -> bool:
    """Whether a model's name is a network on one line."""
    return " " in name.strip() or "," in name or name.strip().lower() in _KINDS


def read(spec: str) -> list[Part]:
    """The layers of a spec. Raises ModelError for a word that the grammar does not have."""
    return [_read(text.strip()) for text in spec.split(",")]


def build(
    spec: str, shape: tuple[int, ...], layers: Any, *, classes: int, **given: Any
) -> list[Any]:
    """The spec's layers for images (C, H, W), from `plain` or `striate.textbook.layers`.

    classes: what `fc classes` stands for. given: more arguments for layers that draw random
    numbers. Raises ModelError where a layer does not fit.
    """
    built = []
    for part in read(spec):
        if part.arguments.get("out_features") == "classes":
            part.arguments["out_features"] = classes
        if part.layer == "Linear" and len(shape) == 3:
            built.append(layers.Flatten())
            shape = (prod(shape),)
        arguments, shape = _fitted(part, shape)
        random = part.layer in ("Conv2d", "Linear", "Dropout")
        built.append(getattr(layers, part.layer)(**arguments, **(given if random else {})))
    return built


def _read(text: str) -> Part:
    kind, *words = text.lower().split() or [""]
    if kind not in _KINDS:
        raise ModelError(
            f"no layer '{kind}' in '{text}'", f"{perhaps(kind, _KINDS)} The layers:\n{GRAMMAR}"
        )
    known, arguments = _KINDS[kind], {}
    for name in known.numbers:
        if not words or not (words[0][0] in ".0123456789" or words[0] == "classes"):
            raise ModelError(f"'{text}' lacks its {name}", f"The layers:\n{GRAMMAR}")
        arguments[name] = _number(words.pop(0), text, name)
    while words:
        option = words.pop(0)
        if option not in known.options:
            raise ModelError(f"'{text}': what is '{option}'?", f"The layers:\n{GRAMMAR}")
        if option == "nobias":
            arguments["bias"] = False
            continue
        if not words:
            raise ModelError(f"'{text}': {option} lacks its number", f"The layers:\n{GRAMMAR}")
        name = {"pad": "padding"}.get(option, option)
        if name in arguments:
            raise ModelError(f"'{text}' has {option} twice", "Write it once.")
        word = words.pop(0)
        arguments[name] = word if (name, word) == ("padding", "same") else _number(word, text, name)
    if arguments.get("padding") == "same":
        dilation = pair(arguments.get("dilation", 1))
        spans = [d * (k - 1) for k, d in zip(pair(arguments["kernel_size"]), dilation, strict=True)]
        if any(span % 2 for span in spans):
            raise ModelError(
                f"'{text}': no padding keeps the size with an even kernel",
                "Take an odd kernel, or give the padding as a number.",
            )
        arguments["padding"] = tuple(span // 2 for span in spans)
    return Part(text, known.layer, arguments)


def _number(word: str, text: str, name: str) -> Any:
    if name == "p":
        try:
            if 0 <= float(word) < 1:
                return float(word)
        except ValueError:
            pass
        raise ModelError(f"'{text}': '{word}' is no probability", "Expected 0 to below 1.")
    if (name, word) == ("out_features", "classes"):
        return word
    least = 0 if name == "padding" else 1
    sides = word.split("x") if name in ("kernel_size", "stride", "padding", "dilation") else [word]
    if len(sides) > 2 or not all(n.isascii() and n.isdigit() and int(n) >= least for n in sides):
        raise ModelError(f"'{text}': {name} is '{word}'", f"Expected a whole number from {least}.")
    return int(word) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def _fitted(part: Part, shape: tuple[int, ...]) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The layer's arguments with its number of inputs, and its output shape."""
    arguments = dict(part.arguments)
    if part.layer in ("Conv2d", "MaxPool2d", "AvgPool2d", "GlobalAvgPool"):
        if len(shape) != 3:
            raise ModelError(
                f"'{part.text}' needs maps, but {shape[0]} features arrive",
                "It must come before flatten, gap and fc.",
            )
        if part.layer == "GlobalAvgPool":
            return arguments, shape[:1]
        return _windowed(part, arguments, shape)
    if part.layer == "Linear":
        return {"in_features": shape[0], **arguments}, (arguments["out_features"],)
    if part.layer == "BatchNorm":
        return {"num_features": shape[0]}, shape
    return arguments, (prod(shape),) if part.layer == "Flatten" else shape


def _windowed(
    part: Part, arguments: dict[str, Any], shape: tuple[int, ...]
) -> tuple[dict[str, Any], tuple[int, ...]]:
    kernel, conv = pair(arguments["kernel_size"]), part.layer == "Conv2d"
    given = (("stride", 1 if conv else kernel), ("padding", 0), ("dilation", 1))
    step = [pair(arguments.get(name, default)) for name, default in given]
    try:
        sides = tuple(output_size(*side) for side in zip(shape[1:], kernel, *step, strict=True))
    except TextbookError as error:
        raise ModelError(f"'{part.text}' on {shape[1]}×{shape[2]} maps: {error}") from None
    if not conv:
        if any(2 * p > k for p, k in zip(step[1], kernel, strict=True)):
            raise ModelError(f"'{part.text}': padding may be at most half the kernel")
        return arguments, (shape[0], *sides)
    groups = arguments.get("groups", 1)
    if shape[0] % groups or arguments["out_channels"] % groups:
        raise ModelError(
            f"'{part.text}': {shape[0]} and {arguments['out_channels']} maps do not divide into "
            f"{groups} groups"
        )
    return {"in_channels": shape[0], **arguments}, (arguments["out_channels"], *sides)
