"""A tally is the same for all ways of dividing images, and equals torchmetrics."""

import numpy as np
import pytest
import torch
from torchmetrics import classification as tm

from striate.metrics.tally import Tally


def example(n, classes=7, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    logits = torch.from_numpy(rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[truth])
    return truth, logits.float().softmax(dim=1).numpy()


def tally(truth, shares, classes=7):
    found = Tally.of(classes)
    found.update(truth, shares)
    return found


def test_values_are_those_of_torchmetrics():
    truth, shares = example(500)
    found = tally(truth, shares).compute()
    t, s = torch.from_numpy(truth), torch.from_numpy(shares)
    wanted = {
        "accuracy": tm.MulticlassAccuracy(7, average="micro")(s, t),
        "balanced_accuracy": tm.MulticlassAccuracy(7, average="macro")(s, t),
        "macro_f1": tm.MulticlassF1Score(7, average="macro")(s, t),
        "top5_error": 1 - tm.MulticlassAccuracy(7, average="micro", top_k=5)(s, t),
        "calibration_error": tm.MulticlassCalibrationError(7, n_bins=15)(s, t),
        "loss": -np.log(shares[np.arange(500), truth]).mean(),
    }
    for name, value in wanted.items():
        assert found[name] == pytest.approx(float(value), abs=1e-5), name
    assert found["brier"] == pytest.approx(((shares - np.eye(7)[truth]) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("n", [1, 2, 7, 50])
@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_any_division_gives_the_same(n, parts):
    truth, shares = example(n)
    whole, together = tally(truth, shares).compute(), Tally.of(7)
    for part in range(parts):  # a process may have no image at all
        mine = tally(truth[part::parts], shares[part::parts])
        together = together.merge(mine)
    assert together.compute() == pytest.approx(whole, rel=1e-9)


def test_degenerate_input():
    empty = tally(np.zeros(0, dtype=int), np.zeros((0, 3)), 3).compute()
    assert empty["n"] == 0
    assert np.isnan(empty["accuracy"])
    one = tally(np.zeros(4, dtype=int), np.tile([1.0, 0, 0], (4, 1)), 3).compute()
    assert (one["accuracy"], one["balanced_accuracy"], one["loss"]) == (1, 1, 0)
    wrong = tally(np.ones(4, dtype=int), np.tile([1.0, 0, 0], (4, 1)), 3).compute()
    assert (wrong["accuracy"], wrong["brier"]) == (0, 2)
    assert np.isfinite(wrong["loss"])
    with pytest.raises(ValueError, match="expected probabilities"):
        tally(np.zeros(4, dtype=int), np.zeros((4, 2)), 3)
