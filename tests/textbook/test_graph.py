"""Computation graphs: the slides' example, and torch on random expressions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.textbook.arrays import TextbookError
from striate.textbook.graph import OPERATIONS, Node, apply


def test_the_lectures_example():
    """L2: f = (x + y) z at −2, 5, −4."""
    x, y, z = Node(-2, "x"), Node(5, "y"), Node(-4, "z")
    q = x + y
    f = q * z
    f.backward()
    assert (q.value, f.value) == (3, -12)
    assert [n.gradient for n in (q, z, x, y)] == [-4, 3, -4, -4]
    assert [float(part) for part in f.parts] == [-4, 3]
    assert [float(part) for part in q.local_gradients(np.array(1.0))] == [1, 1]


POSITIVE = {"log", "**"}
SHAPES = {"+": ((2, 3), (3,)), "-": ((2, 1), (2, 3)), "*": ((), (2, 3)), "/": ((2, 3), (1, 3)),
          "**": ((2, 3), (3,)), "max": ((2, 3), (2, 3)), "@": ((2, 3), (3, 4))}  # fmt: skip
IN_TORCH = {
    "+": torch.add, "-": torch.sub, "*": torch.mul, "/": torch.div, "**": torch.pow,
    "@": torch.matmul, "neg": torch.neg, "exp": torch.exp, "log": torch.log, "relu": torch.relu,
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "sum": torch.sum, "max": torch.maximum,
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
@given(seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_every_operation_as_torch_has_it(name, seed):
    """With broadcasting, where an operation has it."""
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape) for shape in SHAPES.get(name, ((2, 3),))]
    if name in POSITIVE:
        arrays = [np.abs(a) + 0.1 for a in arrays]
    nodes = [Node(a, "x") for a in arrays]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, ty = apply(name, *nodes), IN_TORCH[name](*tensors)
    np.testing.assert_allclose(y.value, ty.detach().numpy(), rtol=1e-12)
    w = rng.normal(size=y.value.shape)
    (y * w).sum().backward()
    (ty * torch.tensor(w)).sum().backward()
    for node, tensor in zip(nodes, tensors, strict=True):
        np.testing.assert_allclose(node.gradient, tensor.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2))])
def test_products_with_vectors(shapes):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in shapes]
    nodes = [Node(a, "x") for a in arrays]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    (nodes[0] @ nodes[1]).sum().backward()
    (tensors[0] @ tensors[1]).sum().backward()
    for node, tensor in zip(nodes, tensors, strict=True):
        np.testing.assert_allclose(node.gradient, tensor.grad.numpy(), rtol=1e-12)


def test_a_value_used_twice_gets_both_gradients():
    x = Node(3.0, "x")
    y = x * x + x
    y.backward()
    assert x.gradient == 7
    y.backward()  # again: not added to the first time
    assert x.gradient == 7


def test_a_node_meets_numbers_and_arrays_on_both_sides():
    x = Node([1.0, 2.0], "x")
    y = (1 - 2 / x + np.array([1, 2]) * x**2 - np.exp(-x)).sum()
    y.backward()
    np.testing.assert_allclose(
        x.gradient, 2 / x.value**2 + 2 * np.array([1, 2]) * x.value + np.exp(-x.value)
    )


def test_a_tie_sends_the_gradient_to_the_first():
    a, b = Node(2.0, "a"), Node(2.0, "b")
    np.maximum(a, b).backward()
    assert (a.gradient, b.gradient) == (1, 0)


def test_powers_at_zero():
    """x⁰ and 0ʸ have derivatives; sums in place make a new node."""
    for a, b, slopes in ((0, 0, (0, None)), (0, 2, (0, 0)), (0, 1, (1, 0))):
        x, y = Node(a, "x"), Node(b, "y", constant=slopes[1] is None)
        (x**y).backward()
        assert x.gradient == slopes[0]
        assert slopes[1] is None or y.gradient == slopes[1]
    total = Node(0.0, "start")
    for node in (x, y):
        total += node
    np.sum(total * 2).backward()
    assert (x.gradient, y.gradient) == (2, 2)


def test_long_chains_do_not_recurse():
    x = y = Node(1.0, "x")
    for _ in range(5000):
        y = y + 0.001
    y.backward()
    assert x.gradient == 1


def test_wrong_input():
    with pytest.raises(TextbookError, match=r"@: shapes \(2, 3\) and \(2,\) do not fit"):
        Node(np.ones((2, 3)), "a") @ Node(np.ones(2), "b")
    with pytest.raises(TextbookError, match="log of 0"):
        np.log(Node(0.0, "x"))
    with pytest.raises(TextbookError, match="x: nan is not finite"):
        Node(np.nan, "x")
    with pytest.raises(TextbookError, match=r"shape \(2,\); take its sum"):
        (Node([1, 2], "x") * 2).backward()
    with pytest.raises(TextbookError, match="no derivative is written for sin"):
        np.sin(Node(1.0, "x"))
    with pytest.raises(TextbookError, match="no derivative is written for add reduce"):
        np.add.reduce(Node([1.0, 2], "x"))
    with pytest.raises(TextbookError, match="sum"):
        Node([[1.0, 2]], "x").sum(axis=0)
    with pytest.raises(TextbookError, match="do not fit"):
        Node(np.ones((2, 3, 4)), "x") @ Node(np.ones(4), "y")
    with pytest.raises(TextbookError, match=r"the gradient of \*\*"):
        (Node(0.0, "x") ** 0.5).backward()
