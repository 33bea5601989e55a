"""What intervals cost beside the figures, and how often they hold.

python benchmarks/intervals.py             seconds
python benchmarks/intervals.py coverage    400 draws each of small sets and rare classes
"""

from __future__ import annotations

import sys
import time

import numpy as np

from striate.metrics.classification import mean_average_precision, per_class, top_k_error
from striate.metrics.summary import summarise

SCORING = 12.0
"""Seconds that fastnet takes for 10,000 CIFAR-10 images in all test views, on two cores."""


SETS = ((1000, 5, 0.93, 0.2), (300, 5, 0.98, 0.2), (100, 10, 0.96, 0.008))
"""(images, classes, accuracy, share of the rarest class)."""
FIGURES = (
    "accuracy", "balanced_accuracy", "macro_f1", "loss", "brier", "calibration_error",
    "mean_average_precision", "mean_area_under_roc",
)  # fmt: skip


def coverage(draws: int = 400) -> None:
    """How often the 95 % interval of a sample holds the figure of 300,000 images, and how often
    there is none ("too few images")."""
    print("| images, classes, accuracy, rarest | too sure |", " | ".join(FIGURES), "|")
    print("|" + "---|" * (len(FIGURES) + 2))
    for n, classes, right, rarest in SETS:
        priors = np.full(classes, (1 - rarest) / (classes - 1))
        priors[-1] = rarest
        strength = _strength(classes, right)
        for sureness in (1.0, 2.0):
            rng = np.random.default_rng(1)
            true = _figures(*_draw(rng, 300_000, priors, strength, sureness)).scores
            held: dict[str, list[bool]] = {name: [] for name in FIGURES}
            for _ in range(draws):
                found = _figures(*_draw(rng, n, priors, strength, sureness))
                for name, inside in held.items():
                    low, high = found.intervals[name]
                    if np.isfinite(low):
                        inside.append(low - 1e-9 <= true[name] <= high + 1e-9)
            cells = [
                f"{np.mean(inside):.1%}" + (f" of {len(inside)}" if len(inside) < draws else "")
                if inside
                else "too few images"
                for inside in held.values()
            ]
            print(f"| {n}, {classes}, {right}, {rarest:.1%} | {sureness:g}× |",
                  " | ".join(cells), "|", flush=True)  # fmt: skip


def _draw(rng, n, priors, strength, sureness):  # type: ignore[no-untyped-def]
    truth = rng.choice(len(priors), n, p=priors)
    z = rng.normal(size=(n, len(priors)))
    z[np.arange(n), truth] += strength
    logits = z * strength * sureness
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return truth, shares / shares.sum(axis=1, keepdims=True)


def _figures(truth, shares):  # type: ignore[no-untyped-def]
    losses = -np.log(np.maximum(shares[np.arange(len(truth)), truth], 1e-30))
    right = float((shares.argmax(axis=1) == truth).mean())
    scores = {"accuracy": right, "loss": float(losses.mean()), "n": len(truth)}
    return summarise(truth, shares, losses, scores)


def _strength(classes: int, accuracy: float) -> float:
    """Of the signal that gives this accuracy."""
    noise = np.random.default_rng(0).normal(size=(100_000, classes))
    low, high = 0.0, 8.0
    for _ in range(30):
        middle = (low + high) / 2
        right = (noise[:, 0] + middle > noise[:, 1:].max(axis=1)).mean()
        low, high = (middle, high) if right < accuracy else (low, middle)
    return low


def main() -> None:
    if sys.argv[1:] == ["coverage"]:
        return coverage()
    for n, classes in ((1_797, 10), (10_000, 10), (10_000, 100), (50_000, 1000)):
        rng = np.random.default_rng(0)
        truth = rng.integers(0, classes, n)
        logits = rng.normal(size=(n, classes)).astype(np.float32)
        logits[np.arange(n), truth] += 3
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        losses = -np.log(shares[np.arange(n), truth])
        right = float((shares.argmax(axis=1) == truth).mean())
        began = time.perf_counter()
        summarise(truth, shares, losses, {"accuracy": right, "loss": 0.0, "n": n})
        whole = time.perf_counter() - began
        began = time.perf_counter()
        per_class(truth, shares, list(map(str, range(classes))))
        top_k_error(truth, shares)
        mean_average_precision(np.eye(classes, dtype=np.int8)[truth], shares)
        plain = time.perf_counter() - began
        shown = f"{n:>7,} images, {classes:>4} classes: {whole:6.2f} s, {whole - plain:6.2f} s "
        share = (
            f", {(whole - plain) / SCORING:.1%} of scoring" if (n, classes) == (10_000, 10) else ""
        )
        print(f"{shown}for intervals{share}")
    return None


if __name__ == "__main__":
    sys.exit(main())
