"""Gradient checks (L3) of torch layers, functions and autograd functions, and of textbook layers.

The numeric side is `striate.textbook.gradcheck`; everything is computed in float64 on the CPU.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from striate.core.errors import ModelError, perhaps
from striate.core.findings import Finding
from striate.models.fit import place_of
from striate.textbook import losses
from striate.textbook.gradcheck import Check, Tensors, check, check_layer
from striate.textbook.layer import Layer

_LARGEST = 100_000_000
_SIZE = r"[1-9]\d{0,8}"
_SHAPE = re.compile(rf"({_SIZE}(?:x{_SIZE})*)(?::(positive|int({_SIZE})))?", re.ASCII)


def load(target: str, seed: int = 0) -> Any:
    """The object of `package.module:name` or `package.module:Name(3, 8, padding=1)`.

    A class without arguments written out is called without any. Weights are drawn from the seed.
    Raises ModelError, also for what the user's file raises.
    """
    place, bracket, _ = target.partition("(")
    module, colon, name = (part.strip() for part in place.partition(":"))
    if not colon or not all(part.isidentifier() for part in (*module.split("."), name)):
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
    except Exception as error:  # the user's own file can raise anything
        raise ModelError(f"{module} cannot be imported: {place_of(error)}") from error
    if not hasattr(imported, name):
        raise ModelError(f"{module} has no '{name}'", perhaps(name, dir(imported)))
    found = getattr(imported, name)
    if inspect.isclass(found) and issubclass(found, torch.autograd.Function):
        return found.apply
    if not bracket and not inspect.isclass(found):
        return found
    args, kwargs = _arguments(target, target[target.index("(") :] if bracket else "()")
    torch.manual_seed(seed)
    try:
        return found(*args, **kwargs)
    except Exception as error:
        hint = f"Write its arguments out: '{place}(…)'. It takes {_signature(found)}"
        raise ModelError(f"{target}: {place_of(error)}", hint) from error


def check_target(
    target: Any, inputs: Sequence[str], *, seed: int = 0, limit: int = 1000, evaluate: bool = False
) -> list[Finding]:
    """A finding for each real input and each parameter of a module, function or textbook layer.

    inputs: shapes as `2x3x8x8` for normal random numbers, `4x5:positive` for positive ones,
    `8:int10` for 8 whole numbers below 10, which get no gradient. evaluate: in test behaviour. A
    module is copied; dropout repeats its mask. Of several outputs all real tensors are checked.
    Raises ModelError where the target cannot be called on the inputs.
    """
    if seed < 0 or limit < 1:
        raise ModelError(f"--seed {seed}, --limit {limit}", "Expected at least 0, and at least 1.")
    rng = np.random.default_rng(seed)
    values = [_values(text, rng) for text in inputs]
    try:
        with np.errstate(all="ignore"):
            checks = _checker(target, evaluate)(target, values, seed=seed, limit=limit)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"called on {', '.join(inputs)} it raises: {place_of(error)}") from error
    if not checks:
        raise ModelError("there is no real input and no parameter to check", "Give a real --input.")
    return [_finding(found) for found in checks]


def _checker(target: Any, evaluate: bool) -> Callable[..., list[Check]]:
    if isinstance(target, Layer):
        target.train(not evaluate)
        return _check_textbook
    if getattr(target, "__module__", "") == losses.__name__:
        return _check_loss
    if not callable(target):
        raise ModelError(f"a {type(target).__name__} cannot be called")
    return partial(_check_torch, evaluate=evaluate)


def _check_textbook(
    layer: Layer, values: list[NDArray[Any]], *, seed: int, limit: int
) -> list[Check]:
    if len(values) != 1:
        raise ModelError(f"{layer} takes one input, {len(values)} are given")
    return check_layer(layer, values[0], seed=seed, limit=limit)


def _check_loss(
    loss: Callable[..., Any], values: list[NDArray[Any]], *, seed: int, limit: int
) -> list[Check]:
    """A textbook loss, which states its gradient with respect to the first input."""
    scores, *rest = values
    return check(
        lambda at: np.array(loss(at["scores"], *rest)[0]),
        lambda at, g: {"scores": g * loss(at["scores"], *rest)[1]},
        {"scores": scores},
        seed=seed,
        limit=limit,
    )


def _check_torch(
    target: Callable[..., Any],
    values: list[NDArray[Any]],
    *,
    seed: int,
    limit: int,
    evaluate: bool,
) -> list[Check]:
    module = copy.deepcopy(target).double() if isinstance(target, nn.Module) else None
    if module is not None:
        module.train(not evaluate)
    names = ["input"] if len(values) == 1 else [f"input {i + 1}" for i in range(len(values))]
    inputs = dict(zip(names, values, strict=True))
    learned = {n: p for n, p in module.named_parameters() if p.requires_grad} if module else {}
    if any(p.is_complex() for p in learned.values()):
        raise ModelError("complex parameters are not supported")
    buffers = {n: b.clone() for n, b in module.named_buffers()} if module else {}
    real = {n: v for n, v in inputs.items() if np.issubdtype(v.dtype, np.floating)}
    tensors = real | {n: p.detach().numpy().copy() for n, p in learned.items()}
    coarse = _Precisions()

    def outputs(at: Tensors, *, track: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The result at `at`, from the start's random state and buffers; and the leaves."""
        torch.manual_seed(seed)
        if module is not None:
            for name, buffer in module.named_buffers():
                buffer.copy_(buffers[name])
        leaves = {n: torch.from_numpy(v).requires_grad_(track) for n, v in at.items()}
        given = [leaves.get(n, torch.from_numpy(v)) for n, v in inputs.items()]
        with torch.set_grad_enabled(track), coarse:
            if module is None:
                found = target(*given)
            else:
                parameters = {n: leaves[n] for n in learned}
                found = torch.func.functional_call(module, parameters, tuple(given))
        return _one_tensor(found), leaves

    def function(at: Tensors) -> NDArray[Any]:
        return outputs(at, track=False)[0].detach().numpy().copy()

    def derivative(at: Tensors, g: NDArray[Any]) -> dict[str, NDArray[Any] | None]:
        y, leaves = outputs(at, track=True)
        if not y.requires_grad:
            return dict.fromkeys(leaves)
        upstream, wanted = torch.from_numpy(g), list(leaves.values())
        slopes = torch.autograd.grad(y, wanted, upstream, allow_unused=True)
        return {n: None if s is None else s.numpy() for n, s in zip(leaves, slopes, strict=True)}

    found = check(function, derivative, tensors, seed=seed, limit=limit)
    if coarse.seen and not any("in place" in one.text for one in found):
        text = f"computes in {', '.join(sorted(coarse.seen))}: the check needs float64 throughout"
        return [Check(one.name, "undetermined", text) for one in found]
    return found


class _Precisions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes floating-point types below float64 that are computed inside `with`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(value, Tensor) and value.is_floating_point():
                self.seen |= {str(value.dtype).removeprefix("torch.")} - {"float64"}
        return out


def _one_tensor(found: Any) -> Tensor:
    """All real tensors of a result, flattened and joined if they are several."""
    if isinstance(found, Tensor) and found.is_floating_point():
        parts = [found]
    else:
        leaves, _ = torch.utils._pytree.tree_flatten(found)
        parts = [x for x in leaves if isinstance(x, Tensor) and x.is_floating_point()]
    if not parts or not sum(part.numel() for part in parts):
        raise ModelError(f"it gives no real numbers but {type(found).__name__}")
    return parts[0] if len(parts) == 1 else torch.cat([part.reshape(-1) for part in parts])


def _finding(check: Check) -> Finding:
    remedy = {
        "fail": "Compare the backward rule with the derivative of the forward rule.",
        "kink": "The function has no single slope there; the stated one lies between them.",
    }.get(check.verdict, "")
    keys = ("error", "worst", "stated", "measured")
    found = {key: getattr(check, key) for key in keys}
    evidence = {k: v for k, v in found.items() if v is not None and np.isfinite(v).all()}
    return Finding(
        rule="gradcheck",
        verdict="note" if check.verdict == "kink" else check.verdict,
        text=f"{check.name}: {check.text}",
        evidence={"tensor": check.name, "kink": check.verdict == "kink", **evidence},
        remedy=remedy,
    )


def _values(text: str, rng: np.random.Generator) -> NDArray[Any]:
    """Random numbers for `2x3x8x8`, `4x5:positive` or `8:int10`."""
    found = re.fullmatch(
        r"([1-9]\d{0,8}(?:x[1-9]\d{0,8})*)(?::(positive|int([1-9]\d{0,8})))?", text, re.A
    )
    if not found:
        raise ModelError(
            f"--input '{text}' is no shape",
            "Expected sizes such as 2x3x8x8; 4x5:positive for positive numbers, 8:int10 for whole "
            "numbers below 10.",
        )
    shape = tuple(int(n) for n in found[1].split("x"))
    if np.prod(shape, dtype=float) > _LARGEST:
        raise ModelError(f"--input '{text}' has more than {_LARGEST:,} entries", "Give fewer.")
    if found[3]:
        return rng.integers(0, int(found[3]), shape)
    return rng.uniform(0.5, 2, shape) if found[2] else rng.normal(size=shape)


def _arguments(target: str, brackets: str) -> tuple[list[Any], dict[str, Any]]:
    """Literal arguments of `(3, 8, padding=1)`; nothing is evaluated."""
    try:
        call = ast.parse(f"f{brackets}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError("more than one pair of brackets")
        if any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("** is not understood")
        named = {str(k.arg): _literal(k.value) for k in call.keywords}
        return [_literal(a) for a in call.args], named
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
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
