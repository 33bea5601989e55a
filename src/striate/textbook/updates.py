"""Update rules (O2–O5): w ← rule(w, gradient, state, rate), where gradient is a function of the
point and state the rule's own dict. Gradient descent is SGD with all data behind gradient.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from striate.textbook.arrays import Array

Gradient = Callable[[Array], Array]
State = dict[str, Any]
Rate = float | Array
Rule = Callable[..., Array]


def sgd(w: Array, gradient: Gradient, state: State, rate: Rate) -> Array:
    """w ← w − ε ∇."""
    return w - rate * gradient(w)


def momentum(w: Array, gradient: Gradient, state: State, rate: Rate, beta: float = 0.9) -> Array:
    """v ← βv − ∇; w ← w + εv: deck E's form and torch's. The rate scales old velocity too (O3)."""
    v = state["v"] = beta * state.get("v", 0.0) - gradient(w)
    return w + rate * v


def momentum_a(w: Array, gradient: Gradient, state: State, rate: Rate, beta: float = 0.9) -> Array:
    """v ← βv − ε∇; w ← w + v: deck A's form. Old velocity keeps the rate of its time."""
    v = state["v"] = beta * state.get("v", 0.0) - rate * gradient(w)
    return w + v


def momentum_d(w: Array, gradient: Gradient, state: State, rate: Rate, beta: float = 0.9) -> Array:
    """v ← βv + ε∇; w ← w − v: deck D's form, deck A's with the sign of v turned."""
    v = state["v"] = beta * state.get("v", 0.0) + rate * gradient(w)
    return w - v


def nesterov(w: Array, gradient: Gradient, state: State, rate: Rate, beta: float = 0.9) -> Array:
    """v ← βv − ε∇(w + βv); w ← w + v (O4). torch keeps the look-ahead point w + βv instead of w."""
    v = state.get("v", np.zeros_like(w))
    v = state["v"] = beta * v - rate * gradient(w + beta * v)
    return w + v


def adagrad(w: Array, gradient: Gradient, state: State, rate: Rate, delta: float = 1e-10) -> Array:
    """r ← r + g²; w ← w − ε g / (δ + √r) (O5)."""
    g = gradient(w)
    r = state["r"] = state.get("r", 0.0) + g * g
    return w - rate * g / (delta + np.sqrt(r))


def rmsprop(
    w: Array, gradient: Gradient, state: State, rate: Rate, rho: float = 0.99, delta: float = 1e-8
) -> Array:
    """r ← ρr + (1 − ρ)g²; w ← w − ε g / (δ + √r) (O5)."""
    g = gradient(w)
    r = state["r"] = rho * state.get("r", 0.0) + (1 - rho) * g * g
    return w - rate * g / (delta + np.sqrt(r))


def adam(
    w: Array, gradient: Gradient, state: State, rate: Rate,
    beta: float = 0.9, rho: float = 0.999, delta: float = 1e-8,
) -> Array:  # fmt: skip
    """s ← βs + (1 − β)g, r ← ρr + (1 − ρ)g²; w ← w − ε ŝ / (√r̂ + δ) (O5).

    ŝ = s/(1 − βᵗ) and r̂ = r/(1 − ρᵗ) undo the start at zero; deck D drops these hats.
    """
    g = gradient(w)
    t = state["t"] = state.get("t", 0) + 1
    s = state["s"] = beta * state.get("s", 0.0) + (1 - beta) * g
    r = state["r"] = rho * state.get("r", 0.0) + (1 - rho) * g * g
    return w - rate * (s / (1 - beta**t)) / (np.sqrt(r / (1 - rho**t)) + delta)


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (sgd, momentum, momentum_a, momentum_d, nesterov, adagrad, rmsprop, adam)
}


def descend(
    rule: Rule, gradient: Gradient, w: Array, rate: Rate | Callable[[int], float], **knobs: float
) -> Iterator[Array]:
    """w after each step, without end. rate: a number, or a schedule of the step (0, 1, …)."""
    state: State = {}
    for step in itertools.count():
        w = rule(w, gradient, state, rate(step) if callable(rate) else rate, **knobs)
        yield w


def random_search(
    loss: Callable[[Array], float], draw: Callable[[], Array], tries: int
) -> tuple[float, Array]:
    """O1: the best of `tries` random points, and its loss: a bad algorithm, and a baseline."""
    return min(((loss(w), w) for w in (draw() for _ in range(tries))), key=lambda pair: pair[0])
