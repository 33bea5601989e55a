"""What intervals cost beside the figures, and beside scoring 10,000 CIFAR-10 images."""

from __future__ import annotations

import sys
import time

import numpy as np

from striate.metrics.classification import mean_average_precision, per_class, top_k_error
from striate.metrics.summary import summarise

SCORING = 12.0
"""Seconds that fastnet takes for 10,000 CIFAR-10 images in all test views, on two cores."""


def main() -> None:
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


if __name__ == "__main__":
    sys.exit(main())
