"""`striate textbook descend`: an update rule's path over a landscape (O3, O8)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from striate.cli.flags import parse
from striate.cli.textbook.drawing import path_svg
from striate.core.errors import StriateError, perhaps
from striate.core.files import write_atomically
from striate.textbook.landscapes import LANDSCAPES, Landscape
from striate.textbook.updates import RULES, Rule
from striate.textbook.updates import descend as steps_of

_RATES = np.logspace(-5, 0, 21)


def descend(argv: Sequence[str]) -> int:
    """Walk, compare, draw."""
    return int(parse(_descend, "textbook descend", argv))


def _descend(
    rule: str = "momentum",
    on: str = "ravine",
    lr: float | Literal["auto"] = "auto",
    beta: float | None = None,
    steps: int = 2000,
    noise: float = 0.0,
    seed: int = 0,
    svg: Path | None = None,
) -> int:
    """How an update rule walks down a landscape, and how many steps each rule needs.

    Args:
        rule: sgd, momentum (also momentum_a, momentum_d), nesterov, adagrad, rmsprop, adam
        on: ravine, saddle, minima, rosenbrock
        lr: learning rate; auto: the quickest of 21 rates from 1e-5 to 1
        beta: momentum of the rules that have one (default 0.9)
        steps: length of the walk
        noise: deviation of Gaussian noise on the gradient, as mini-batches bring it (O2)
        seed: of the noise
        svg: draw the path into this file
    """
    for name, known in ((rule, RULES), (on, LANDSCAPES)):
        if name not in known:
            raise StriateError(f"unknown '{name}'", perhaps(name, known))
    if steps < 1 or not 0 <= noise < np.inf or seed < 0 or (lr != "auto" and not 0 < lr < np.inf):
        raise StriateError("--steps and --lr must be above 0, --noise and --seed at least 0")
    place, knobs = LANDSCAPES[on], _knobs(rule, beta)
    rate = best_rate(place, RULES[rule], steps, knobs)[0] if lr == "auto" else lr
    path = walk(place, RULES[rule], rate, steps, (noise, seed), **knobs)
    title = ", ".join([rule, f"lr {rate:.3g}", *(f"{k} {v:g}" for k, v in knobs.items())])
    print(f"{on}: {place.about}")
    print(f"{title}: {_outcome(place, path, steps)}")
    print(f"steps until f stays at most {place.goal():.6g} (of {steps:,}, without noise):")
    Console(highlight=False).print(_comparison(place, steps, rate, rule, knobs))
    if svg is not None:
        write_atomically(svg, path_svg(place, path, f"{title} on {on}"))
        print(f"drawn: {svg}")
    return 0


def walk(
    on: Landscape, rule: Rule, rate: float, steps: int, noise: tuple[float, int], **knobs: float
) -> NDArray[Any]:
    """The path (≤ steps + 1, 2) from the start; it ends where a value is not finite.

    noise: the deviation of what is added to the gradient, and its seed.
    """
    deviation, rng = noise[0], np.random.default_rng(noise[1])

    def gradient(w: NDArray[Any]) -> NDArray[Any]:
        return on.gradient(w) + deviation * rng.normal(size=w.shape)

    points = [np.array(on.start)]
    with np.errstate(all="ignore"):
        for w in islice(steps_of(rule, gradient, points[0], rate, **knobs), steps):
            if not np.isfinite(on.f(w)):
                break
            points.append(w)
    return np.array(points)


def best_rate(
    on: Landscape, rule: Rule, steps: int, knobs: dict[str, float], rates: NDArray[Any] = _RATES
) -> tuple[float, int | None]:
    """(rate, steps until it stays at the goal) of the quickest rate; if none stays, of the lowest.

    A walker that jumps over the goal has not arrived; the last twentieth proves that it stays.
    """
    above = np.zeros(len(rates), int)
    start = np.repeat(np.array(on.start)[:, None], len(rates), axis=1)
    last = np.full(len(rates), np.inf)
    with np.errstate(all="ignore"):
        for step, w in enumerate(islice(steps_of(rule, on.gradient, start, rates, **knobs), steps)):
            last = np.nan_to_num(on.f(w), nan=np.inf)
            above[last > on.goal()] = step + 1
    best = int(np.lexsort((last, above))[0])
    return float(rates[best]), int(above[best]) + 1 if above[best] < 0.95 * steps else None


def _knobs(rule: str, beta: float | None) -> dict[str, float]:
    if beta is None:
        return {}
    if "beta" not in inspect.signature(RULES[rule]).parameters:
        having: list[str] = [
            n for n, r in RULES.items() if "beta" in inspect.signature(r).parameters
        ]
        raise StriateError(f"{rule} has no beta", f"It belongs to {', '.join(having)}.")
    if not 0 <= beta < 1:
        raise StriateError(f"--beta {beta:g}", "Expected 0 to below 1.")
    return {"beta": beta}


def _outcome(on: Landscape, path: NDArray[Any], steps: int) -> str:
    values = on.f(path.T)
    if values[-1] <= on.goal():
        arrived = int(np.flatnonzero(values > on.goal())[-1]) + 1
        return f"goal reached in {arrived:,} steps; f = {values[-1]:.4g} after {len(path) - 1:,}"
    if len(path) <= steps or values[-1] > 10 * values[0]:
        return f"diverged after {len(path) - 1:,} steps"
    where = ", ".join(f"{v:.3g}" for v in path[-1])
    return f"goal not reached in {steps:,} steps; f = {values[-1]:.4g} at ({where})"


def _comparison(
    on: Landscape, steps: int, rate: float, chosen: str, knobs: dict[str, float]
) -> Table:
    """Steps of every rule at the chosen rate and at its own quickest; the chosen rule's knobs."""
    table = Table()
    for column in ("rule", f"at {rate:.3g}", "quickest rate", "steps"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    for name, rule in RULES.items():
        own = knobs if name == chosen else {}
        _, here = best_rate(on, rule, steps, own, np.array([rate]))
        best, count = best_rate(on, rule, steps, own)
        mark = f"{name} *" if own else name
        table.add_row(mark, _steps(here), f"{best:.3g}", _steps(count))
    return table


def _steps(count: int | None) -> str:
    return "not reached" if count is None else f"{count:,}"
