"""M2: top-5 error."""

from __future__ import annotations

import string

import numpy as np
import torch
from torch import Tensor

from striate.labs.bench import Share, digits, fit, small_convolutional
from striate.labs.lab import Lab, Trial
from striate.labs.letters import rendered
from striate.metrics.classification import top_k_error

_LETTERS = string.ascii_letters
_LEARNED = 3000


def _errors(x: Tensor, y: Tensor, test: Tensor, truth: Tensor, steps: int) -> dict[str, Share]:
    """Of a small network after so many steps, and of guessing."""
    net = small_convolutional(int(y.max()) + 1)
    fit(net, x, y, steps=steps, lr=0.05, batch=64, momentum=0.9)
    net.eval()
    with torch.no_grad():
        scores = net(test).double().numpy()
    guess, right = np.random.default_rng(0).normal(size=scores.shape), truth.numpy()
    return {
        "top-1 error": Share(top_k_error(right, scores, 1)),
        "top-5 error": Share(top_k_error(right, scores, 5)),
        "top-5 error of guessing": Share(top_k_error(right, guess, 5)),
    }


def measure(seed: int, full: bool) -> Trial:
    data = digits(seed)
    torch.manual_seed(seed)
    found = {"10 digits": _errors(data.x, data.y, data.test_x, data.test_y, 60)}
    x, y = rendered(_LETTERS, _LEARNED + 1000, seed)
    found["52 letters"] = _errors(
        x[:_LEARNED], y[:_LEARNED], x[_LEARNED:], y[_LEARNED:], 2000 if full else 400
    )
    return Trial({f"{name}: {error}": value for name, errors in found.items()
                  for error, value in errors.items()})  # fmt: skip


LAB = Lab(
    "M2", "top-five",
    "Top-5 error: an answer is right if the truth is among the five best.",
    "Small convolutional networks learn 10 digits, and 3,000 rendered letters, small and capital; "
    "their errors on other images, and those of guessing.",
    measure,
    {
        "conditional": lambda f: f["10 digits: top-1 error"] > 4 * f["10 digits: top-5 error"]
        and f["10 digits: top-5 error"] < 0.02
        and f["10 digits: top-5 error of guessing"] < 0.6
        and f["52 letters: top-5 error"] > 0.1
        and f["52 letters: top-5 error of guessing"] > 0.85
    },
    "10 digits: top-5 error of guessing",
    "It suits many classes: among 52 letters guessing has an error of nine tenths, and that of a "
    "network still says how good it is. Among ten classes guessing has a half, and a network that "
    "is wrong for many digits is almost never wrong by this measure: look at top-1 there.",
    "conditional", seeds=3,
)  # fmt: skip
