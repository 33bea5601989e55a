"""The textbook's convolution against torch's, forward and backward, one thread each, in one run.

    python benchmarks/textbook.py

float32, 32×16×28×28 → 32 maps, 3×3, padding 1. The two are timed in turn, so that both meet the
same machine; the ratio of the medians may be at most 8.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from striate.core.runtime import processor_name
from striate.textbook.layers import Conv2d

LIMIT, ROUNDS = 8.0, 60


def main() -> int:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 16, 28, 28)).astype(np.float32)
    g = rng.normal(size=(32, 32, 28, 28)).astype(np.float32)
    ours = Conv2d(16, 32, 3, padding=1).astype(np.float32)
    theirs = torch.nn.Conv2d(16, 32, 3, padding=1)
    theirs.load_state_dict({n: torch.tensor(v) for n, v in ours.state_dict().items()})
    tx, tg = torch.tensor(x, requires_grad=True), torch.tensor(g)

    def by_hand() -> None:
        ours(x)
        ours.backward(g)

    def by_torch() -> None:
        torch.autograd.grad(theirs(tx), [tx, *theirs.parameters()], tg)

    with threadpool_limits(1):
        hand, library = in_turn(by_hand, by_torch)
    ratio = float(np.median(hand) / np.median(library))
    print(f"{processor_name()}, one thread, NumPy {np.__version__}, torch {torch.__version__}\n")
    print("| convolution, forward and backward | fastest ms | median ms |")
    print("|---|---|---|")
    for name, times in (("textbook", hand), ("torch", library)):
        print(f"| {name} | {min(times):.1f} | {np.median(times):.1f} |")
    print(f"\nratio of the medians {ratio:.1f} (at most {LIMIT:g})")
    return int(ratio > LIMIT)


def in_turn(*jobs: Callable[[], None]) -> list[list[float]]:
    """Milliseconds of each job, ROUNDS times, after ten rounds of warming up."""
    times: list[list[float]] = [[] for _ in jobs]
    for round_number in range(ROUNDS + 10):
        for job, kept in zip(jobs, times, strict=True):
            start = time.perf_counter()
            job()
            if round_number >= 10:
                kept.append((time.perf_counter() - start) * 1e3)
    return times


if __name__ == "__main__":
    sys.exit(main())
