"""How the nodes and edges of a computation graph are written."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.textbook.graph import Node

_WIDE = 4
"""Arrays with more values are shown by their shape."""


def name_nodes(root: Node) -> dict[Node, str]:
    """A short name for every node: variables keep theirs, results are q1, q2 … and at last f."""
    order = root.order()
    taken = {node.name for node in order}
    free = (f"q{i}" for i in range(1, 2 * len(order) + 2) if f"q{i}" not in taken)
    names = {}
    for node in order:
        if node.constant:
            names[node] = shown(node.value)
        elif node.parents:
            names[node] = "f" if node is root and "f" not in taken else next(free)
        else:
            names[node] = node.name
    return names


def formula(node: Node, names: dict[Node, str]) -> str:
    """`x + y` of the node that adds them."""
    inputs = [names[parent] for parent in node.parents]
    if not inputs:
        return ""
    if node.operation == "neg":
        return f"−{inputs[0]}"
    if len(inputs) == 2 and node.operation != "max":
        return f"{inputs[0]} {node.operation} {inputs[1]}"
    return f"{node.operation}({', '.join(inputs)})"


def shown(value: NDArray[Any]) -> str:
    """A number with at most six digits, a small array, or a shape."""
    if len(value.shape) == 0:
        return f"{float(value):.6g}"
    if value.size <= _WIDE:
        return np.array2string(value, precision=3, separator=" ").replace("\n", "")
    return f"array {value.shape}"


def edges_into(node: Node) -> list[tuple[Node, str, str, str]]:
    """(parent, upstream, local, their product) of each edge; constants take no gradient."""
    found = []
    scalar = all(len(n.value.shape) == 0 for n in (node, *node.parents))
    local = node.local_gradients(np.ones_like(node.value)) if node.parents else ()
    for parent, share, part in zip(node.parents, local, node.parts, strict=True):
        if not parent.constant:
            known = shown(share) if scalar else "…"
            found.append((parent, shown(node.gradient), known, shown(part)))
    return found
