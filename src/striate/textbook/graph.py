"""Computation graphs and backpropagation (L2): f = (x + y) * z of Nodes, then f.backward()."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import ArrayLike

from striate.textbook.arrays import Array, TextbookError, finite


def _matmul_gradients(g: Array, _: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """dL/dA = G Bᵀ, dL/dB = Aᵀ G; a vector stands for a row on the left, a column on the right."""
    rows, columns = np.atleast_2d(a), b if len(b.shape) == 2 else b[:, None]
    g = g.reshape(len(rows), columns.shape[1])
    return (g @ columns.T).reshape(a.shape), (rows.T @ g).reshape(b.shape)


def _power_gradients(g: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """d(aᵇ)/da = b·aᵇ⁻¹, d(aᵇ)/db = aᵇ log a; where a factor is 0 so is the product."""
    return np.where(b == 0, 0, g * b * a ** (b - 1)), np.where(y == 0, 0, g * y * np.log(a))


# Each operation: its value, and upstream g, value y, inputs a, b → g times each local gradient.
OPERATIONS: dict[str, tuple[Callable[..., Array], Callable[..., tuple[Array, ...]]]] = {
    "+": (lambda a, b: a + b, lambda g, y, a, b: (g, g)),
    "-": (lambda a, b: a - b, lambda g, y, a, b: (g, -g)),
    "*": (lambda a, b: a * b, lambda g, y, a, b: (g * b, g * a)),
    "/": (lambda a, b: a / b, lambda g, y, a, b: (g / b, -g * a / b**2)),
    "**": (lambda a, b: a**b, _power_gradients),
    "@": (lambda a, b: a @ b, _matmul_gradients),
    "neg": (lambda a: -a, lambda g, y, a: (-g,)),
    "exp": (np.exp, lambda g, y, a: (g * y,)),
    "log": (np.log, lambda g, y, a: (g / a,)),
    "relu": (lambda a: np.maximum(a, 0), lambda g, y, a: (g * (a > 0),)),
    "sigmoid": (lambda a: np.exp(-np.logaddexp(0, -a)), lambda g, y, a: (g * y * (1 - y),)),
    "tanh": (np.tanh, lambda g, y, a: (g * (1 - y * y),)),
    "sum": (np.sum, lambda g, y, a: (g * np.ones_like(a),)),
    "max": (np.maximum, lambda g, y, a, b: (g * (a >= b), g * (a < b))),  # a tie: to the first
}
UFUNCS = {
    np.add: "+", np.subtract: "-", np.multiply: "*", np.divide: "/", np.power: "**",
    np.matmul: "@", np.negative: "neg", np.exp: "exp", np.log: "log", np.tanh: "tanh",
    np.maximum: "max",
}  # fmt: skip


_births = itertools.count()


class Node(NDArrayOperatorsMixin):
    """A number or array: a named variable, or the result of an operation on `parents`.

    After `backward`: gradient is dL/d(this), parts are what it sent to each parent.
    """

    def __init__(self, value: ArrayLike, name: str = "", *, constant: bool = False) -> None:
        self.value: Array = finite(value, name or "a constant")
        self.name, self.constant = name, constant
        self.gradient: Array = np.zeros_like(self.value)
        self.operation, self.age = "", next(_births)
        self.parents: tuple[Node, ...] = ()
        self.parts: tuple[Array, ...] = ()

    __eq__, __hash__ = object.__eq__, object.__hash__  # nodes are equal if they are one node

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **out: Any) -> Node:
        """`a + b`, `np.exp(a)` … on nodes make nodes; `a += b` too makes a new one."""
        if ufunc not in UFUNCS or method != "__call__" or out.keys() - {"out"}:
            raise TextbookError(f"no derivative is written for {ufunc.__name__} {method} {out}")
        return apply(UFUNCS[ufunc], *inputs)

    def local_gradients(self, upstream: Array) -> tuple[Array, ...]:
        """upstream × each local gradient, summed where a parent was broadcast."""
        values = [parent.value for parent in self.parents]
        with np.errstate(all="ignore"):
            parts = OPERATIONS[self.operation][1](upstream, self.value, *values)
        return tuple(_shrunk(np.asarray(p), v.shape) for p, v in zip(parts, values, strict=True))

    def order(self) -> list[Node]:
        """All nodes that this one needs, oldest first: a node is younger than its parents."""
        found, new = {self}, [self]
        while new:
            new = list({parent for node in new for parent in node.parents} - found)
            found.update(new)
        return sorted(found, key=lambda node: node.age)

    def backward(self) -> None:
        """Fill the gradient of every node with d(this)/d(node), last node first (L2)."""
        if self.value.size != 1:
            raise TextbookError(
                f"backward starts at one number, this value has shape {self.value.shape}; "
                "take its sum()"
            )
        order = self.order()
        for node in order:
            node.gradient = np.zeros_like(node.value)
        self.gradient = np.ones_like(self.value)
        for node in reversed(order):
            node.parts = node.local_gradients(node.gradient) if node.parents else ()
            for parent, part in zip(node.parents, node.parts, strict=True):
                if not parent.constant:
                    parent.gradient = parent.gradient + finite(
                        part, f"the gradient of {node.operation}"
                    )

    def sum(self, **options: Any) -> Node:
        """The sum of all values; along one axis there is none."""
        if any(value is not None for value in options.values()):
            raise TextbookError(f"sum() takes all values; {options} is not known")
        return apply("sum", self)


def apply(operation: str, *inputs: Any) -> Node:
    """A new node: `operation` on nodes or numbers. Raises TextbookError for shapes that differ."""
    parents = tuple(i if isinstance(i, Node) else Node(i, constant=True) for i in inputs)
    shapes = " and ".join(str(parent.value.shape) for parent in parents)
    try:
        if operation == "@" and max(len(parent.value.shape) for parent in parents) > 2:
            raise ValueError
        with np.errstate(all="ignore"):
            value = OPERATIONS[operation][0](*(parent.value for parent in parents))
    except ValueError:
        raise TextbookError(f"{operation}: shapes {shapes} do not fit") from None
    values = (p.value if len(p.value.shape) else f"{p.value:g}" for p in parents)
    node = Node(finite(value, f"{operation} of {', '.join(map(str, values))}"))
    node.operation, node.parents = operation, parents
    return node


def _shrunk(gradient: Array, shape: tuple[int, ...]) -> Array:
    """A value that was repeated by broadcasting gets the sum of what reaches its copies."""
    gradient = gradient.sum(axis=tuple(range(len(gradient.shape) - len(shape))))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=axes, keepdims=True)
