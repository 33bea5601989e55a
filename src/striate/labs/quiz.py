"""Exercises with checked answers, drawn from a seed: the competences that the lectures test."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from striate.core.errors import StriateError, perhaps
from striate.textbook.convolution import output_size

Rng = np.random.Generator


@dataclass(frozen=True)
class Question:
    """text: asks for one number; why: how to come to the answer, a sentence or a formula."""

    topic: str
    text: str
    answer: float
    why: str

    def right(self, given: str) -> bool:
        """Whether an answer as typed is right: `1/3`, `0,333` and `0.333` are the same. Raises
        StriateError for what is no number."""
        value = number(given)
        return math.isclose(value, self.answer, rel_tol=5e-3, abs_tol=5e-4)


def number(text: str) -> float:
    """A number as people type it: decimals with point or comma, a fraction. Raises StriateError."""
    plain = text.strip().replace("−", "-").replace(" ", "")
    above, slash, below = plain.partition("/")
    try:
        value = float(above.replace(",", ".")) / (float(below.replace(",", ".")) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise StriateError(f"'{text.strip()}' is no number", "Type 5, 0.25 or 1/4.") from None
    if not math.isfinite(value):
        raise StriateError(f"'{text.strip()}' is no number", "Type 5, 0.25 or 1/4.")
    return value


def _output(rng: Rng) -> Question:
    size, kernel = int(rng.integers(7, 65)), int(rng.choice([2, 3, 5, 7]))
    stride, padding = int(rng.integers(1, 4)), int(rng.integers(0, 4))
    dilation = int(rng.choice([1, 1, 2])) if size > 2 * kernel else 1
    answer = output_size(size, kernel, stride, padding, dilation)
    said = f", dilation {dilation}" if dilation > 1 else ""
    inner = f"({size} + 2·{padding} − {dilation}·({kernel} − 1) − 1) / {stride}"
    return Question(
        "sizes",
        f"A convolution has kernel {kernel}×{kernel}, stride {stride}, padding {padding}{said}. "
        f"Its input is {size}×{size}. How long is a side of its output?",
        answer, f"⌊{inner}⌋ + 1 = {answer} (L4)",
    )  # fmt: skip


def _parameters(rng: Rng) -> Question:
    inputs, outputs = int(rng.choice([1, 3, 8, 16, 32])), int(rng.choice([6, 10, 16, 64]))
    kernel, bias = int(rng.choice([1, 3, 5])), bool(rng.integers(2))
    answer = outputs * (inputs * kernel**2 + bias)
    return Question(
        "parameters",
        f"A convolution makes {outputs} maps of {inputs} with kernels of {kernel}×{kernel}, "
        f"{'with' if bias else 'without'} biases. How many parameters has it?",
        answer, f"{outputs} · ({inputs} · {kernel}²{' + 1' if bias else ''}) = {answer:,} (L4)",
    )  # fmt: skip


def _field(rng: Rng) -> Question:
    layers, seen, jump, terms = [], 1, 1, []
    for _ in range(int(rng.integers(2, 5))):
        kernel, stride = int(rng.choice([2, 3, 5])), int(rng.choice([1, 1, 2]))
        seen += (kernel - 1) * jump
        terms.append(f"{kernel - 1}·{jump}")
        jump *= stride
        layers.append(f"{kernel}×{kernel} with stride {stride}")
    return Question(
        "receptive fields",
        f"Convolutions follow each other: {', '.join(layers)}. How many pixels on a side does a "
        "value of the last map depend on?",
        seen,
        f"1 + {' + '.join(terms)} = {seen}: each layer adds K − 1 times the strides before (L13)",
    )  # fmt: skip


def _graph(rng: Rng) -> Question:
    x, y, z = (int(v) for v in rng.choice([-5, -4, -3, -2, 2, 3, 4, 5], 3))
    asked = str(rng.choice(["x", "y", "z"]))
    kind = int(rng.integers(2))
    if kind == 0:
        text, slopes = f"f = (x + y)·z at x = {x}, y = {y}, z = {z}", {"x": z, "y": z, "z": x + y}
        why = {"x": "∂f/∂x = z", "y": "∂f/∂y = z", "z": "∂f/∂z = x + y"}[asked]
    else:
        text = f"f = max(x, y)·z at x = {x}, y = {y}, z = {z}"
        if x == y:
            y = x + 1
            text = f"f = max(x, y)·z at x = {x}, y = {y}, z = {z}"
        slopes = {"x": z if x > y else 0, "y": z if y > x else 0, "z": max(x, y)}
        why = "the gradient of a maximum goes to the larger one only" if asked != "z" else (
            "∂f/∂z = max(x, y)")  # fmt: skip
    return Question(
        "backpropagation", f"{text}. What is ∂f/∂{asked}?", slopes[asked],
        f"{why}, which is {slopes[asked]} here (L2)",
    )  # fmt: skip


def _counts(rng: Rng) -> Question:
    tp, fp, fn, tn = (int(v) for v in rng.integers(1, 20, 4))
    said = (
        f"A detector has {tp} true positives, {fp} false positives, {fn} false negatives and {tn} "
        "true negatives."
    )
    name, answer, why = {
        0: ("precision", tp / (tp + fp), f"TP / (TP + FP) = {tp}/{tp + fp}"),
        1: ("recall", tp / (tp + fn), f"TP / (TP + FN) = {tp}/{tp + fn}"),
        2: ("accuracy", (tp + tn) / (tp + fp + fn + tn),
            f"(TP + TN) / all = {tp + tn}/{tp + fp + fn + tn}"),
    }[int(rng.integers(3))]  # fmt: skip
    return Question("counts", f"{said} What is its {name}?", answer, f"{why} ≈ {answer:.3f} (E1)")


def _schedule(rng: Rng) -> Question:
    start, every = float(rng.choice([0.1, 0.01])), int(rng.integers(2, 6))
    gamma, epoch = float(rng.choice([0.1, 0.5])), int(rng.integers(2, 16))
    cuts = epoch // every
    answer = start * gamma**cuts
    return Question(
        "schedules",
        f"The learning rate starts at {start:g} and is multiplied by {gamma:g} every {every} "
        f"epochs. Epochs count from 0. What is 1,000 times the rate in epoch {epoch}?",
        1000 * answer, f"{cuts} cuts: {start:g} · {gamma:g}^{cuts} = {answer:.4g} (O7)",
    )  # fmt: skip


TOPICS: dict[str, Callable[[Rng], Question]] = {
    "sizes": _output,
    "parameters": _parameters,
    "receptive-fields": _field,
    "backpropagation": _graph,
    "counts": _counts,
    "schedules": _schedule,
}


def questions(topic: str = "", seed: int = 0) -> Iterator[Question]:
    """Questions without end, of one topic or of all in turn. Raises StriateError."""
    if topic and topic not in TOPICS:
        raise StriateError(f"no topic '{topic}'", perhaps(topic, TOPICS))
    rng, names = np.random.default_rng(seed), [topic] if topic else [*TOPICS]
    while True:
        for name in names:
            yield TOPICS[name](rng)
