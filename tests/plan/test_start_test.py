"""The short trainings that choose how trained weights change."""

import numpy as np
import pytest

from striate.plan.start_test import GENTLY, REGIMES, chosen


class Judged:
    def __init__(self, losses):
        self.losses = np.asarray(losses, dtype=float)
        self.scores = {"loss": float(self.losses.mean())}


@pytest.mark.parametrize(
    ("gently", "thoroughly", "expected"),
    [
        ([1.0, 1.1, 0.9, 1.0], [0.2, 0.3, 0.1, 0.2], "thoroughly"),
        ([0.2, 0.3, 0.1, 0.2], [1.0, 1.1, 0.9, 1.0], GENTLY),
        ([0.3, 1.0, 0.1, 1.1], [1.0, 0.2, 1.1, 0.1], GENTLY),
        ([0.5], [0.4], GENTLY),
        ([0.5, 0.5], [0.5, 0.5], GENTLY),
    ],
)
def test_the_smaller_loss_decides_where_it_is_clearly_smaller(gently, thoroughly, expected):
    name, why = chosen({GENTLY: Judged(gently), "thoroughly": Judged(thoroughly)}, 24)
    assert name == expected
    assert "after 24 steps" in why


def test_a_loss_that_exploded_loses():
    assert chosen({"thoroughly": Judged([1.0])}, 24)[0] == "thoroughly"
    assert chosen({}, 24)[0] == GENTLY
    assert REGIMES[GENTLY]["model.freeze_norm"] is True
