"""`striate textbook graph "(x+y)*z" x=-2 y=5 z=-4`: values forward, gradients back (L2)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from striate.cli.flags import parse
from striate.cli.textbook.drawing import graph_svg
from striate.core.errors import StriateError
from striate.core.files import write_atomically
from striate.labs.expression import parse as parse_expression
from striate.labs.expression import parse_value
from striate.labs.naming import edges_into, formula, name_nodes, shown
from striate.textbook.graph import Node


def graph(argv: Sequence[str]) -> int:
    """Print the graph, and draw it."""
    options, positional = _sorted_out(argv)
    return int(parse(_graph, "textbook graph", [*options, "--", *positional]))


def _sorted_out(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options first: an expression such as `-x*y` would be taken for one."""
    options, positional, rest = [], [], list(argv)
    while rest:
        word = rest.pop(0)
        if word.startswith("--") or word == "-h":
            options.append(word)
            options += [rest.pop(0)] if word == "--svg" and rest else []
        else:
            positional.append(word)
    return options, positional


def _graph(
    expression: Annotated[str, tyro.conf.Positional],
    values: Annotated[tuple[str, ...], tyro.conf.Positional],
    svg: Path | None = None,
) -> int:
    """The computation graph of an expression, with value and gradient of every node.

    Args:
        expression: numbers, names, + - * / ** @ and exp log max relu sigmoid sum tanh
        values: a number or a list for each name: x=-2 w=[[1,2],[3,4]]
        svg: draw the graph into this file
    """
    given = [_value(text) for text in values]
    names = [name for name, _ in given]
    for name in names:
        if names.count(name) > 1:
            raise StriateError(f"{name} is given {names.count(name)} times", "Give it once.")
    root = parse_expression(expression, dict(given))
    if not root.parents:
        raise StriateError(f"'{expression}' has no operation on a named value", "Such as: x*2 x=3")
    root.backward()
    shown_as = name_nodes(root)
    console = Console(highlight=False)
    console.print(_nodes(root, shown_as))
    print("\nbackwards, from the result to its inputs:")
    console.print(_edges(root, shown_as))
    if svg is not None:
        write_atomically(svg, graph_svg(root, shown_as, expression))
        print(f"drawn: {svg}")
    return 0


def _value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise StriateError(f"'{text}' is no value", "Expected NAME=NUMBER, such as x=-2.")
    return unicodedata.normalize("NFKC", name.strip()), parse_value(value, text)


def _nodes(root: Node, names: dict[Node, str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column, side in (("node", "left"), ("", "left"), ("value", "right"), ("gradient", "right")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for node in root.order():
        if not node.constant:
            made = formula(node, names)
            row = (
                names[node],
                f"= {made}" if made else "",
                shown(node.value),
                shown(node.gradient),
            )
            table.add_row(*map(Text, row))
    return table


def _edges(root: Node, names: dict[Node, str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("edge", "upstream", "× local", "= gradient"):
        table.add_column(column, justify="left" if column == "edge" else "right")
    for node in reversed(root.order()):
        for parent, upstream, local, part in edges_into(node):
            row = (f"{names[node]} → {names[parent]}", upstream, local, part)
            table.add_row(*map(Text, row))
    return table
