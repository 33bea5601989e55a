"""Calibration against scikit-learn, torch, and probabilities that are known to be right."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from striate.metrics.calibration import brier, reliability, resampled_error, temperature


@pytest.fixture
def honest():
    """Logits whose softmax is the true probability of the labels."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 4))
    shares = torch.from_numpy(logits).softmax(dim=1).numpy()
    truth = (shares.cumsum(axis=1) > rng.random((len(shares), 1))).argmax(axis=1)
    return logits, shares, truth


def test_honest_probabilities_have_no_error(honest):
    _, shares, truth = honest
    assert reliability(shares, truth).error < 0.015


def test_bins_against_a_plain_loop(honest):
    _, shares, truth = honest
    shares, truth = shares[:500], truth[:500]
    found = reliability(shares, truth, bins=10)
    sure, right = shares.max(axis=1), shares.argmax(axis=1) == truth
    for b in range(10):
        here = (sure > b / 10) & (sure <= (b + 1) / 10)
        assert found.images[b] == here.sum()
        if here.any():
            assert found.said[b] == pytest.approx(sure[here].mean())
            assert found.right[b] == pytest.approx(right[here].mean())
    assert found.images.sum() == 500


def test_error_against_torchmetrics(honest):
    from torchmetrics.functional import classification

    logits, _, truth = honest
    shares = torch.from_numpy(3 * logits[:2000]).softmax(dim=1)
    wanted = classification.multiclass_calibration_error(
        shares, torch.from_numpy(truth[:2000]), num_classes=4, n_bins=15
    )
    assert reliability(shares.numpy(), truth[:2000]).error == pytest.approx(float(wanted), abs=1e-5)


def test_error_of_resamples_is_that_of_repeated_images(honest):
    _, shares, truth = honest
    shares, truth = shares[:300], truth[:300]
    drawn = np.random.default_rng(0).integers(0, 300, 300)
    wanted = reliability(shares[drawn], truth[drawn]).error
    assert resampled_error(shares, truth, draws=1)[0] == pytest.approx(wanted, abs=1e-6)


def test_brier(honest):
    _, shares, truth = honest
    binary = np.stack([1 - shares[:, 0], shares[:, 0]], axis=1)
    wanted = 2 * sk.brier_score_loss(truth == 0, binary[:, 1])
    assert brier(binary, (truth == 0).astype(int)).mean() == pytest.approx(wanted)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperature_undoes_a_factor(honest, factor):
    logits, _, truth = honest
    found = temperature(factor * logits, truth)
    assert found == pytest.approx(factor, rel=0.05)
    x, y = torch.from_numpy(factor * logits), torch.from_numpy(truth)

    def loss(t):
        return torch.nn.functional.cross_entropy(x / t, y).item()

    assert loss(found) <= min(loss(found * 1.02), loss(found / 1.02))


def test_degenerate_input():
    empty, none = np.zeros((0, 3)), np.zeros(0, dtype=int)
    assert np.isnan(reliability(empty, none).error)
    assert temperature(empty, none) == 1.0
    assert len(brier(empty, none)) == 0
    certain = np.eye(3)
    assert reliability(certain, np.arange(3)).error == 0
    assert 0.05 <= temperature(100 * certain, np.arange(3)) < 20


def test_few_images_change_little():
    """Six right answers once gave a temperature of 0.05, and made wrong answers certain."""
    logits = np.array([[2.0, 0], [1.5, 0], [3, 0], [0, 2], [0, 2.5], [0, 1.8]])
    found = temperature(logits, np.array([0, 0, 0, 1, 1, 1]))
    assert 0.85 < found < 1
    assert temperature(logits[:1], np.array([0])) > 0.9
    assert temperature(np.full((3, 2), np.inf), np.zeros(3, dtype=int)) == 1.0


@pytest.mark.parametrize("n", [6, 20, 60, 200])
def test_the_temperature_of_few_images_does_no_harm(n):
    """On other images of the same kind the loss does not rise by more than a tenth, on average."""
    rng, before, after = np.random.default_rng(0), [], []

    def draw(count):
        logits = 1.5 * rng.normal(size=(count, 3))
        shares = torch.from_numpy(logits).softmax(dim=1).numpy()
        return logits, (shares.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)

    for _ in range(60):
        found = temperature(*draw(n))
        x, y = (torch.from_numpy(a) for a in draw(400))
        before.append(torch.nn.functional.cross_entropy(x, y).item())
        after.append(torch.nn.functional.cross_entropy(x / found, y).item())
    assert np.mean(after) < 1.1 * np.mean(before)
