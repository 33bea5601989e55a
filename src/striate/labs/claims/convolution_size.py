"""L5: the size of a convolution's output."""

from __future__ import annotations

import torch

from striate.labs.lab import Lab, Trial
from striate.textbook.convolution import output_size


def measure(_: int, __: bool) -> Trial:
    rows = [["input", "kernel", "stride", "padding", "torch", "the formula"]]
    wrong = 0
    for size in (5, 7, 8, 32):
        for kernel in (2, 3, 5):
            for stride in (1, 2, 3):
                for padding in (0, 1, 2):
                    layer = torch.nn.Conv2d(1, 1, kernel, stride, padding)
                    side = layer(torch.zeros(1, 1, size, size)).shape[-1]
                    formula = output_size(size, kernel, stride, padding)
                    wrong += side != formula
                    if (size, kernel, stride, padding) in (
                        (5, 2, 1, 1),
                        (7, 3, 3, 0),
                        (32, 5, 1, 2),
                    ):
                        numbers = (size, kernel, stride, padding, side, formula)
                        rows.append([str(n) for n in numbers])
    deck = torch.nn.Conv2d(3, 2, 2, 1, 1)(torch.zeros(1, 3, 5, 5)).shape[-1]
    return Trial(
        {"side of 5×5, K = 2, pad 1": deck, "cases where the formula errs": wrong}, rows=rows
    )


LAB = Lab(
    "L5", "output-size",
    "Deck E draws a convolution of 5×5×3 with K = 2, stride 1, pad 1 as 4×4×2.",
    "torch convolves images of 108 sizes, kernels, strides and paddings.",
    measure,
    {
        "wrong": lambda f: f["side of 5×5, K = 2, pad 1"] == 6
        and f["cases where the formula errs"] == 0
    },
    "side of 5×5, K = 2, pad 1",
    "⌊(N + 2·pad − K) / stride⌋ + 1 is right everywhere. Where the division leaves a remainder the "
    "last pixels are not read; it is no error.",
    "wrong",
    deck="4 × 4 × 2", truth="6 × 6 × 2", seeds=1,
)  # fmt: skip
