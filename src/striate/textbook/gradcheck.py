"""Gradient check (L3): the analytic derivative, exact and easy to get wrong, against the numeric
one, approximate and hard to get wrong.

L = Σ u · f(tensors) with random u, in float64. For every entry the central difference
(L(x + h) − L(x − h)) / 2h is compared with the derivative that is stated.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from striate.textbook.arrays import Array, finite
from striate.textbook.layer import Layer

Tensors = Mapping[str, Array]
Index = tuple[int, ...]
H, TOLERANCE = 1e-5, 1e-5


@dataclass(frozen=True)
class Check:
    """What was found for one tensor; error: the worst entry's, over the largest derivative."""

    name: str
    verdict: Literal["pass", "fail", "kink"]
    text: str
    error: float | None = None
    worst: Index | None = None
    stated: float | None = None
    numeric: float | None = None


def check(
    function: Callable[[Tensors], Array],
    derivative: Callable[[Tensors, Array], Mapping[str, Array | None]],
    tensors: Tensors,
    *,
    seed: int = 0,
    limit: int = 1000,
) -> list[Check]:
    """A Check for each tensor.

    function: tensors → y. derivative: (tensors, dL/dy) → dL/d(tensor) by name. Of a tensor with
    more than `limit` entries a random sample is compared. A kink, where left and right slopes
    differ and the stated derivative lies between them (a maximum at a tie), is reported, not
    failed. A function that changes a tensor or gives two outputs for one input fails.
    """
    rng = np.random.default_rng((seed, 1))  # a stream of its own: u must not repeat the input
    before = copy.deepcopy(dict(tensors))
    y = np.array(function(tensors))
    u = rng.normal(size=y.shape)
    given = {**tensors, "upstream gradient": u.copy()}
    stated = derivative(tensors, given["upstream gradient"])
    for name, value in {**before, "upstream gradient": u}.items():
        if not np.array_equal(value, given[name]):
            return [Check(name, "fail", "is changed in place by forward or backward")]
    if not np.array_equal(y, function(tensors)):
        return [Check("output", "fail", "two calls with one input give different outputs")]
    noise = 4 * np.finfo(np.float64).eps * float(np.abs(u * y).sum())

    def slopes(name: str, index: Index, h: float) -> tuple[float, float]:
        """(L(x) − L(x − h)) / h and (L(x + h) − L(x)) / h along one entry."""
        moved = {**tensors, name: tensors[name].copy()}
        moved[name][index] -= h
        left = float((u * (y - function(moved))).sum())
        moved[name][index] = tensors[name][index] + h
        return left / h, float((u * (function(moved) - y)).sum()) / h

    found = []
    for name, value in tensors.items():
        at = np.arange(value.size)
        at = at if value.size <= limit else np.sort(rng.choice(at, limit, replace=False))
        entries = [tuple(int(k) for k in np.unravel_index(i, value.shape)) for i in at]
        along = {i: lambda h, name=name, i=i: slopes(name, i, h) for i in entries}
        found.append(_compared(name, stated.get(name), value.shape, along, noise))
    return found


def _compared(
    name: str, stated: Any, shape: Index, slopes: Mapping[Index, Any], noise: float
) -> Check:
    if stated is None:
        return Check(name, "fail", "no gradient reaches it")
    if (found := np.shape(stated)) != shape:
        return Check(name, "fail", f"the gradient has shape {found}, expected {shape}")
    if not np.isfinite(stated).all():
        return Check(name, "fail", "the gradient is not finite")
    numeric = {i: sum(slopes[i](H)) / 2 for i in slopes}
    scale = max((max(abs(n), abs(float(stated[i]))) for i, n in numeric.items()), default=0.0)
    wrong, kinks = [], 0
    for i, near in numeric.items():
        room = TOLERANCE * (max(abs(stated[i]), abs(near)) + 0.1 * scale)
        if abs(stated[i] - near) <= room + noise / H:
            continue
        (left, right), far = slopes[i](H / 100), slopes[i](H)
        room += 200 * noise / H
        if abs(stated[i] - (left + right) / 2) <= room:  # there was a kink beside the point
            numeric[i] = (left + right) / 2
        elif (
            abs(right - left) > max(10 * room, abs(far[1] - far[0]) / 2)  # no mere bend
            and min(left, right) - room <= stated[i] <= max(left, right) + room
        ):
            kinks, numeric[i] = kinks + 1, float(stated[i])
        else:
            wrong.append(i)
    if scale <= noise / H:
        return Check(name, "pass", f"{stated.size} entries are 0 within rounding", error=0.0)
    worst = max(wrong or numeric, key=lambda i: abs(stated[i] - numeric[i]))
    a, n = float(stated[worst]), float(numeric[worst])
    error = abs(a - n) / scale
    text = f"{len(numeric)} of {stated.size} entries agree, relative error {error:.1e}"
    if wrong:
        text = f"{len(wrong)} of {len(numeric)} entries differ, most at {worst}: "
        text += f"{a:.6g} is stated, {n:.6g} is measured"
    elif kinks:
        text = f"{kinks} of {len(numeric)} entries are at a kink, the others agree"
    return Check(name, "fail" if wrong else "kink" if kinks else "pass", text, error, worst, a, n)


def check_layer(layer: Layer, x: ArrayLike, **options: Any) -> list[Check]:
    """Check dL/dx and dL/dθ of a layer at x (`check` has the options).

    Every call works on a copy, so dropout repeats itself and running averages stay as they are.
    """
    layer = copy.deepcopy(layer).astype(np.float64)
    tensors = {"input": finite(x, "gradcheck: the input").astype(np.float64), **layer.parameters()}

    def fresh(at: Tensors) -> Layer:
        probe = copy.deepcopy(layer)
        for path, part in probe.walk():
            part.params = {name: at[path + name] for name in part.params}
        return probe

    def derivative(at: Tensors, g: Array) -> dict[str, Array]:
        probe = fresh(at)
        probe(at["input"])
        return {"input": probe.backward(g), **probe.named("grads")}

    return check(lambda at: fresh(at)(at["input"]), derivative, tensors, **options)
