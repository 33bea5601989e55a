"""L11: the sign in deck B's hinge loss."""

from __future__ import annotations

import numpy as np
import torch

from striate.labs.bench import Size
from striate.labs.lab import Lab, Trial


def measure(seed: int, _: bool) -> Trial:
    rng = np.random.default_rng(seed)
    w, x, y = rng.normal(size=(10, 20)), rng.normal(size=20), int(rng.integers(10))
    others = [j for j in range(10) if j != y]
    scores = w @ x
    defined = sum(max(0.0, scores[j] - scores[y] + 1) for j in others)
    minus = sum(max(0.0, w[j] @ x - w[y] @ x + 1) for j in others)
    plus = sum(max(0.0, w[j] @ x + w[y] @ x + 1) for j in others)
    theirs = torch.nn.functional.multi_margin_loss(
        torch.from_numpy(scores)[None], torch.tensor([y]), reduction="sum"
    )
    return Trial(
        {
            "with −W_y·x: error": Size(abs(minus - float(theirs) * 10)),
            "with +W_y·x: error": Size(abs(plus - defined)),
        }
    )


LAB = Lab(
    "L11", "hinge",
    "Deck B writes the hinge loss out as Σ max(0, W_j·x + W_y·x + 1).",
    "The loss of random weights and images, by its definition, by torch, and by both expansions.",
    measure,
    {"wrong": lambda f: f["with −W_y·x: error"] < 1e-9 and f["with +W_y·x: error"] > 0.1},
    "with +W_y·x: error",
    "The right class's score is taken away: the loss asks that it beats the others by a margin of "
    "1.",
    "wrong",
    deck="+ W_y·x", truth="− W_y·x",
)  # fmt: skip
