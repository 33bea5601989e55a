"""M2: top-5 error."""

from __future__ import annotations

import string

import numpy as np
import torch
from torch import nn

from striate.core.arrays import Floats, Ids
from striate.labs.bench import Size, digits, fit, share_of, small_convolutional
from striate.labs.lab import Lab, Trial
from striate.labs.letters import rendered
from striate.metrics.classification import top_k_error

_LETTERS = string.ascii_letters


def _scored(net: nn.Module, x: torch.Tensor) -> Floats:
    net.eval()
    with torch.no_grad():
        return net(x).double().numpy()


def measure(seed: int, full: bool) -> Trial:
    data = digits(seed)
    torch.manual_seed(seed)
    net = small_convolutional(10)
    fit(net, data.x, data.y, steps=200 if full else 60, lr=0.05, batch=64, momentum=0.9, seed=seed)
    x, y = rendered(_LETTERS, 4000, seed)
    reader = small_convolutional(len(_LETTERS))
    fit(reader, x[:3000], y[:3000], steps=2000 if full else 400, lr=0.05, batch=64, momentum=0.9,
        seed=seed)  # fmt: skip
    judged = {
        "10 digits": (data.test_y.numpy(), _scored(net, data.test_x)),
        "52 letters": (y[3000:].numpy(), _scored(reader, x[3000:])),
    }
    figures: dict[str, float] = {}
    for name, (truth, scores) in judged.items():
        guess = np.random.default_rng(seed).normal(size=scores.shape)
        for k in (1, 5):
            figures[f"{name}: top-{k} error"] = Size(top_k_error(truth, scores, k))
        figures[f"{name}: top-5 error of guessing"] = Size(top_k_error(truth, guess, 5))
    figures["52 letters: errors that only confuse small and capital"] = _only_by_case(
        *judged["52 letters"]
    )
    return Trial(figures)


def _only_by_case(truth: Ids, scores: Floats) -> float:
    said, half = scores.argmax(axis=1), len(_LETTERS) // 2
    wrong = said != truth
    return share_of((said % half == truth % half)[wrong])


LAB = Lab(
    "M2", "top-five",
    "Top-5 error: an answer is right if the truth is among the five best.",
    "Small convolutional networks learn 10 digits, and 3,000 rendered letters, small and capital, "
    "of which many look alike (c and C, o and O); their errors on other images, and those of "
    "guessing.",
    measure,
    {
        "conditional": lambda f: f["10 digits: top-5 error"] < 0.02
        and f["10 digits: top-5 error of guessing"] < 0.6
        and f["52 letters: top-5 error"] < f["52 letters: top-1 error"] / 2
        and f["52 letters: errors that only confuse small and capital"] > 0.1
    },
    "10 digits: top-5 error of guessing",
    "It suits many classes of which some are alike, so that one answer is hardly fair: letters, or "
    "ImageNet's 1,000 classes. Among ten classes guessing already has an error of a half and any "
    "classifier almost none, so look at top-1 there.",
    "conditional", seeds=3,
)  # fmt: skip
