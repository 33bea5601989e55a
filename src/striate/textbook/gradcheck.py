"""Gradient check (L3): the derivative that is stated, exact and easy to get wrong, against the
measured one, (L(x + h) − L(x − h)) / 2h, with L = Σ u · f(tensors), random u, and float64.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from striate.textbook.arrays import Array, finite
from striate.textbook.layer import Layer

Tensors = Mapping[str, Array]
Index = tuple[int, ...]
Verdict = Literal["pass", "fail", "kink", "undetermined"]
ORDER: tuple[Verdict, ...] = ("fail", "kink", "pass", "undetermined")
H, TOLERANCE, COARSE = 1e-5, 1e-5, 0.02


@dataclass(frozen=True)
class Check:
    """What was found for one tensor; error: the worst entry's, over the larger of its slopes."""

    name: str
    verdict: Verdict
    text: str
    error: float | None = None
    worst: Index | None = None
    stated: float | None = None
    measured: float | None = None


class Slope(NamedTuple):
    """L along one entry: the central slope, its rounding error, and the least and greatest that
    choosing left or right for each output gives."""

    middle: float
    noise: float
    least: float
    greatest: float

    def fits(self, stated: float, room: float = 0.0) -> bool:
        return abs(stated - self.middle) <= room + TOLERANCE * abs(stated) + self.noise


def check(
    function: Callable[[Tensors], Array],
    derivative: Callable[[Tensors, Array], Mapping[str, Array | None]],
    tensors: Tensors,
    *,
    seed: int = 0,
    limit: int = 1000,
) -> list[Check]:
    """A Check for each tensor.

    function: tensors → y. derivative: (tensors, dL/dy) → dL/d(tensor) by name. limit: entries of a
    tensor; of more, a random sample. A stated slope between left and right ones at a kink (a tie)
    is reported, not failed; where rounding hides the slope the verdict is undetermined.
    """
    rng = np.random.default_rng((seed, 1))  # a stream of its own: u must not repeat the input
    before = copy.deepcopy(dict(tensors))
    y = np.array(function(tensors))
    if not np.isfinite(y).all():
        text = f"{int((~np.isfinite(y)).sum())} of {y.size} values are not finite"
        return [Check("output", "undetermined", f"{text}: choose another input")]
    u = rng.normal(size=y.shape)
    given = {**tensors, "upstream gradient": u.copy()}
    changed = [name for name, value in before.items() if not np.array_equal(value, given[name])]
    stated = {} if changed else derivative(tensors, given["upstream gradient"])
    for name, value in {**before, "upstream gradient": u}.items():
        if not np.array_equal(value, given[name]):
            return [Check(name, "fail", "is changed in place by forward or backward")]
    if not np.array_equal(y, function(tensors)):
        return [Check("output", "fail", "two calls with one input give different outputs")]

    def slope(name: str, index: Index, h: float) -> Slope:
        moved = {**tensors, name: tensors[name].copy()}
        moved[name][index] -= h
        left = u * (y - (low := np.array(function(moved)))) / h
        moved[name][index] = tensors[name][index] + h
        right = u * ((high := np.array(function(moved))) - y) / h
        largest = np.abs(u) * np.maximum(np.abs(y), np.maximum(np.abs(low), np.abs(high)))
        touched = largest[(low != y) | (high != y)].sum()
        ends = np.minimum(left, right).sum(), np.maximum(left, right).sum()
        noise = 4 * np.finfo(np.float64).eps * touched / h
        return Slope(float((left + right).sum() / 2), float(noise), *map(float, ends))

    found = []
    for name, value in tensors.items():
        at = np.arange(value.size)
        at = at if value.size <= limit else np.sort(rng.choice(at, limit, replace=False))
        entries = [tuple(int(k) for k in np.unravel_index(i, value.shape)) for i in at]
        found.append(_compared(name, stated.get(name), value.shape, entries, slope))
    return found


def _compared(
    name: str, stated: Any, shape: Index, entries: list[Index], slope: Callable[..., Slope]
) -> Check:
    if stated is None:
        return Check(name, "fail", "no gradient reaches it")
    if (found := np.shape(stated)) != shape:
        return Check(name, "fail", f"the gradient has shape {found}, expected {shape}")
    if not np.isfinite(stated).all():
        return Check(name, "fail", "the gradient is not finite")
    judged: dict[Verdict, list[tuple[float, Index, float]]] = {}
    for i in entries:
        a = float(stated[i])
        verdict, n = _judged(a, partial(slope, name, i))
        error = abs(a - n) / max(abs(a), abs(n), 1e-300)
        judged.setdefault(verdict, []).append((error, i, n))
    verdict = next((v for v in ORDER if v in judged), "pass")
    error, worst, n = max(judged.get(verdict, [(0.0, (), 0.0)]))
    a = float(stated[worst]) if worst in entries else 0.0
    text = (
        f"{len(judged.get(verdict, ()))} of {stated.size} entries "
        + {
            "fail": f"differ, most at {worst}: {a:.6g} is stated, {n:.6g} measured",
            "kink": "are at a kink, the others agree",
            "pass": f"agree, relative error {error:.1e}",
            "undetermined": "cannot be judged: rounding hides the slope",
        }[verdict]
    )
    hidden = len(judged.get("undetermined", ()))
    text += f"; rounding hides {hidden} others" if hidden and verdict != "undetermined" else ""
    return Check(name, verdict, text, error, worst, a, n)


def _judged(a: float, at: Callable[[float], Slope]) -> tuple[Verdict, float]:
    """The verdict on one stated slope, and the measured one."""
    with np.errstate(all="ignore"):
        first, near, half = at(H), at(H / 100), at(H / 200)
        if first.fits(a) and (first.noise <= COARSE * abs(a) or a == first.middle):
            return "pass", first.middle
        clear = near.noise <= COARSE * max(abs(a), abs(near.middle))
        if not first.fits(a) and clear and (near.noise > 0 or near.middle == a):
            room = abs(near.middle - half.middle)  # shorter steps pass over kinks beside the point
            if near.fits(a, room):
                return "pass", near.middle
            room += near.noise + TOLERANCE * abs(a)
            jump, before = near.greatest - near.least, first.greatest - first.least
            between = near.least - room <= a <= near.greatest + room
            return ("kink", a) if jump > max(10 * room, before / 2) and between else (
                "fail", near.middle)  # fmt: skip
        one, two = at(30 * H), at(1000 * H)  # longer ones stand out of the rounding
        clear = max(one.noise, two.noise) <= COARSE / 2 * max(abs(a), abs(one.middle))
        if clear and abs(one.middle - two.middle) <= COARSE * abs(two.middle):
            return "pass" if abs(a - one.middle) <= 2 * COARSE * abs(a) else "fail", one.middle
        zero = max(abs(a), abs(first.middle)) <= first.noise < TOLERANCE
        return ("pass", a) if zero else ("undetermined", first.middle)


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
