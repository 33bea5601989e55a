"""`striate layers MODEL`: what a network costs and sees, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from striate.cli.flags import parse
from striate.core.errors import ModelError
from striate.core.strict_json import one_line


def layers(argv: Sequence[str]) -> int:
    """Print the table."""
    return int(parse(_layers, "layers", argv))


def _layers(
    model: Annotated[str, tyro.conf.Positional],
    input: str = "3x224x224",
    classes: int = 1000,
    small_stem: bool = False,
    json: bool = False,
) -> int:
    """Output sizes, parameters, multiply–adds and receptive fields of a network, for one image.

    Args:
        model: a name of the zoo, timm:NAME, package.module:factory, or the layers on one line:
            "conv 5x5 10 pad 2, relu, pool 2, fc 10"
        input: channels x height x width of an image
        classes: outputs of the network
        small_stem: the first layer for small images, where the zoo has one
        json: print {"layers": [...], "total": {...}} instead
    """
    from striate.models.arithmetic import layer_table, totals, zoo_network

    shape = image_shape(input)
    if classes < 1:
        raise ModelError(f"--classes {classes}", "Expected at least 1.")
    net = zoo_network(model, shape, classes, small_stem)
    rows = layer_table(net, shape, model)
    total = totals(rows, net)
    if json:
        print(one_line({"layers": [_as_json(row) for row in rows], "total": total}))
        return 0
    console = Console(highlight=False)
    wide = console.width >= 100 or not console.is_terminal
    Console(highlight=False, soft_wrap=not console.is_terminal).print(_table(rows, wide=wide))
    if not all(row.field for row in rows):
        print("–: the whole image, or not known")
    for row in rows:
        if any(row.dropped):
            left = " and ".join(
                _count(n, what) for n, what in zip(row.dropped, ("row", "column"), strict=True) if n
            )
            print(f"note: {row.name} ({row.kind}): the stride leaves {left} at the border unseen")
    print(_summary(total, rows))
    return 0


def image_shape(text: str) -> tuple[int, int, int]:
    """`3x224x224` → (3, 224, 224). Raises ModelError."""
    sides = text.lower().split("x")
    if len(sides) != 3 or not all(re.fullmatch(r"[1-9]\d{0,5}", n, re.A) for n in sides):
        raise ModelError(f"--input '{text}' is no image", "Expected CxHxW, such as 3x224x224.")
    channels, height, width = (int(n) for n in sides)
    return channels, height, width


def _table(rows: list[Any], *, wide: bool) -> Table:
    table = Table()
    table.add_column("layer", overflow="fold")
    sights = ("sees", "step", "pad")[: 3 if wide else 1]
    for column in ("output", "parameters", "macs", *sights):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        field = row.field
        sight = (field.size, field.stride, field.padding)[: len(sights)] if field else ()
        table.add_row(
            Text(f"{row.name} {row.kind}".strip()),
            "×".join(map(str, row.output)),
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.macs:,}" if row.macs else "",
            *([_sides(pair) for pair in sight] or ["–"]),
        )
    return table


def _summary(total: dict[str, Any], rows: list[Any]) -> str:
    lines = [
        f"{total['parameters']:,} parameters ({total['parameter_bytes'] / 1e6:,.1f} MB), "
        f"{total['macs']:,} multiply–adds (macs) and {total['activation_bytes'] / 1e6:,.1f} MB of "
        "layers' outputs an image, in float32"
    ]
    maps = [row.field for row in rows if len(row.output) == 3 and row.output[1:] != (1, 1)]
    if maps and maps[-1]:
        size, step = _sides(maps[-1].size), _sides(maps[-1].stride)
        lines.append(f"a unit of the last map sees {size} pixels; its neighbour {step} further on")
    return "\n".join(lines)


def _as_json(row: Any) -> dict[str, Any]:
    field = row.field
    return {
        **{
            k: getattr(row, k)
            for k in ("name", "kind", "output", "parameters", "macs", "activations")
        },
        "receptive_field": field and field.size,
        "stride": field and field.stride,
        "padding": field and field.padding,
        "dropped": row.dropped,
    }


def _sides(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}×{pair[1]}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n > 1 else ''}"
