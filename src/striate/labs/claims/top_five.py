"""M2: top-5 error."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from striate.labs.bench import digits, fit
from striate.labs.lab import Lab, Trial
from striate.metrics.classification import top_k_error


def measure(seed: int, _: bool) -> Trial:
    data = digits(seed)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    fit(net, data.x, data.y, steps=30, lr=0.1, batch=64, seed=seed)
    with torch.no_grad():
        scores = net(data.test_x).numpy()
    truth = data.test_y.numpy()
    chance = np.random.default_rng(seed).normal(size=(20_000, 10))
    guessed = np.random.default_rng(seed + 1).integers(0, 10, 20_000)
    return Trial({
        "top-1 error": top_k_error(truth, scores, 1), "top-5 error": top_k_error(truth, scores, 5),
        "top-5 error of guessing among 10 classes": top_k_error(guessed, chance, 5),
    })  # fmt: skip


LAB = Lab(
    "M2", "top-five",
    "Top-5 error: an answer is right if the truth is among the five best.",
    "A linear classifier after 30 steps on digits, and guessing.",
    measure,
    {
        "conditional": lambda f: f["top-5 error"] < f["top-1 error"] / 3
        and abs(f["top-5 error of guessing among 10 classes"] - 0.5) < 0.02
    },
    "top-5 error of guessing among 10 classes",
    "It suits 1,000 classes, many of which are alike. Among ten classes guessing already has an "
    "error of a half, so look at top-1 there.",
    "conditional",
)  # fmt: skip
