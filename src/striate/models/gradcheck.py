"""Gradient checks (L3) of torch layers, functions and autograd functions, and of textbook layers.

The numeric side is `striate.textbook.gradcheck`; everything is computed in float64 on the CPU.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.errors import ModelError, perhaps
from striate.core.findings import Finding
from striate.textbook.arrays import TextbookError
from striate.textbook.gradcheck import Check, Tensors, check, check_layer
from striate.textbook.layer import Layer

Shape = tuple[int, ...]


def load(target: str) -> Any:
    """The object of `package.module:name` or `package.module:Name(3, 8, padding=1)`.

    A class without arguments written out is called without any. Raises ModelError.
    """
    place, bracket, _ = target.partition("(")
    module, colon, name = place.strip().partition(":")
    if not colon or not name:
        raise ModelError(
            f"'{target}' names nothing to check",
            "Expected package.module:Layer or 'package.module:Layer(3, 8, padding=1)'.",
        )
    if "" not in sys.path:
        sys.path.insert(0, "")  # the console script does not look into the current folder
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise ModelError(f"{module}: {error}", f"Is it in {Path.cwd()} or installed?") from None
    if not hasattr(imported, name):
        raise ModelError(f"{module} has no '{name}'", perhaps(name, dir(imported)))
    found = getattr(imported, name)
    if inspect.isclass(found) and issubclass(found, torch.autograd.Function):
        return found.apply
    if not bracket and not inspect.isclass(found):
        return found
    args, kwargs = _arguments(target, target[target.index("(") :] if bracket else "()")
    try:
        return found(*args, **kwargs)
    except (TypeError, ValueError) as error:
        hint = f"Write its arguments out: '{place}(…)'. It takes {_signature(found)}"
        raise ModelError(f"{target}: {error}", hint) from None


def check_target(
    target: Any, inputs: Sequence[str], *, seed: int = 0, limit: int = 1000
) -> list[Finding]:
    """A finding for each input and each parameter of a module, function or textbook layer.

    inputs: shapes as `2x3x8x8` for normal random numbers, `8:int10` for 8 whole numbers below 10,
    which get no gradient. A module is copied; dropout repeats its mask. Raises ModelError
    where the target cannot be called on the inputs.
    """
    rng = np.random.default_rng(seed)
    values = [_values(text, rng) for text in inputs]
    try:
        if isinstance(target, Layer):
            return [_finding(c) for c in check_layer(target, values[0], seed=seed, limit=limit)]
        return [_finding(c) for c in _check_torch(target, values, seed, limit)]
    except (TextbookError, RuntimeError, TypeError, ValueError, IndexError) as error:
        shapes = ", ".join(inputs)
        raise ModelError(f"the target does not take inputs of {shapes}: {error}") from error


def _check_torch(
    target: Callable[..., Any], values: list[NDArray[Any]], seed: int, limit: int
) -> list[Check]:
    module = copy.deepcopy(target).double() if isinstance(target, nn.Module) else None
    names = ["input"] if len(values) == 1 else [f"input {i + 1}" for i in range(len(values))]
    inputs = dict(zip(names, values, strict=True))
    learned = {n: p for n, p in module.named_parameters() if p.requires_grad} if module else {}
    buffers = {n: b.clone() for n, b in module.named_buffers()} if module else {}
    real = {n: v for n, v in inputs.items() if np.issubdtype(v.dtype, np.floating)}
    tensors = real | {n: p.detach().numpy().copy() for n, p in learned.items()}

    def outputs(at: Tensors, *, track: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The result at `at`, from the start's random state and buffers; and the leaves."""
        torch.manual_seed(seed)
        if module is not None:
            for name, buffer in module.named_buffers():
                buffer.copy_(buffers[name])
        leaves = {n: torch.from_numpy(v).requires_grad_(track) for n, v in at.items()}
        given = [leaves.get(n, torch.from_numpy(v)) for n, v in inputs.items()]
        with torch.set_grad_enabled(track):
            if module is None:
                y = target(*given)
            else:
                parameters = {n: leaves[n] for n in learned}
                y = torch.func.functional_call(module, parameters, tuple(given))
        if not isinstance(y, Tensor):
            raise TypeError(f"it gives a {type(y).__name__}, expected one tensor")
        return y, leaves

    def function(at: Tensors) -> NDArray[Any]:
        return outputs(at, track=False)[0].detach().numpy().copy()

    def derivative(at: Tensors, g: NDArray[Any]) -> dict[str, NDArray[Any] | None]:
        y, leaves = outputs(at, track=True)
        if not y.requires_grad:
            return dict.fromkeys(leaves)
        slopes = torch.autograd.grad(
            y, list(leaves.values()), torch.from_numpy(g), allow_unused=True
        )
        return {n: None if s is None else s.numpy() for n, s in zip(leaves, slopes, strict=True)}

    return check(function, derivative, tensors, seed=seed, limit=limit)


def _finding(check: Check) -> Finding:
    verdicts = {"pass": "pass", "fail": "fail", "kink": "note"}
    remedy = {
        "fail": "Compare the backward rule with the derivative of the forward rule.",
        "kink": "The function has no single slope there; the stated one lies between them.",
    }.get(check.verdict, "")
    keys = ("error", "worst", "stated", "numeric")
    evidence = {k: getattr(check, k) for k in keys if getattr(check, k) is not None}
    return Finding(
        rule="gradcheck",
        verdict=verdicts[check.verdict],  # type: ignore[arg-type]
        text=f"{check.name}: {check.text}",
        evidence={"tensor": check.name, "kink": check.verdict == "kink", **evidence},
        remedy=remedy,
    )


def _values(text: str, rng: np.random.Generator) -> NDArray[Any]:
    """Random numbers for `2x3x8x8` or `8:int10`."""
    sides, colon, kind = text.partition(":")
    below = kind.removeprefix("int")
    sizes = sides.split("x")
    if not all(n.isdigit() and int(n) for n in sizes) or (colon and not below.isdigit()):
        raise ModelError(
            f"--input '{text}' is no shape",
            "Expected sizes such as 2x3x8x8, or 8:int10 for whole numbers below 10.",
        )
    shape = tuple(int(n) for n in sizes)
    return rng.integers(0, int(below), shape) if colon else rng.normal(size=shape)


def _arguments(target: str, brackets: str) -> tuple[list[Any], dict[str, Any]]:
    """Literal arguments of `(3, 8, padding=1)`; nothing is evaluated."""
    try:
        call = ast.parse(f"f{brackets}", mode="eval").body
        assert isinstance(call, ast.Call)
        named = {k.arg: _literal(k.value) for k in call.keywords if k.arg}
        return [_literal(a) for a in call.args], named
    except (SyntaxError, AssertionError, ValueError) as error:
        raise ModelError(
            f"the arguments of '{target}' cannot be read: {error}",
            "Expected numbers, strings, tuples, lists, True, False, None: Layer(3, 8, padding=1).",
        ) from None


def _literal(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Tuple(elts=parts):
            return tuple(_literal(part) for part in parts)
        case ast.List(elts=parts):
            return [_literal(part) for part in parts]
    raise ValueError(f"{ast.unparse(node)} is no literal")


def _signature(found: Any) -> str:
    try:
        return str(inspect.signature(found))
    except (TypeError, ValueError):
        return "(unknown)"
