"""Learning with the textbook alone, on images that torch has not seen either."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from striate.textbook import layers
from striate.textbook.learning import learn
from striate.textbook.updates import RULES


def stripes(n, seed):
    """Vertical and horizontal stripes with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    ramp = np.tile([1.0, 1.0, -1.0, -1.0], 2)
    images = np.where(labels[:, None, None] > 0, ramp[:, None], ramp[None])[:, None]
    return images + rng.normal(0, 0.7, (n, 1, 8, 8)), labels


def network(seed=0):
    rng = np.random.default_rng(seed)
    return layers.Sequential(
        layers.Conv2d(1, 4, 3, rng=rng), layers.ReLU(), layers.MaxPool2d(2), layers.Flatten(),
        layers.Linear(36, 2, rng=rng),
    )  # fmt: skip


RATES = {"sgd": 0.1, "adagrad": 0.05, "rmsprop": 0.005, "adam": 0.01}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns(rule):
    images, labels = stripes(120, 0)
    net = network()
    history = list(learn(net, images, labels, RULES[rule], rate=RATES.get(rule, 0.02), epochs=4))
    assert [epoch for epoch, _, _ in history] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert np.mean([loss for _, loss, _ in history[-4:]]) < 0.5 * history[0][1]
    fresh, truth = stripes(200, 1)
    assert (net.train(False)(fresh).argmax(axis=1) == truth).mean() > 0.95


def test_the_same_training_in_torch():
    """Same weights, same batches, form E of momentum: the same losses and weights."""
    images, labels = stripes(64, 0)
    ours, theirs = network(), nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)
    ).double()  # fmt: skip
    theirs.load_state_dict({n: torch.tensor(v) for n, v in ours.state_dict().items()})
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    steps = learn(ours, images, labels, RULES["momentum"], rate=0.05, epochs=30, batch_size=64)
    for _, loss, norm in steps:
        expected = F.cross_entropy(theirs(torch.tensor(images)), torch.tensor(labels))
        optimiser.zero_grad()
        expected.backward()
        squares = sum(float((p.grad**2).sum()) for p in theirs.parameters())
        assert loss == pytest.approx(expected.item(), rel=1e-9)
        assert norm == pytest.approx(np.sqrt(squares), rel=1e-6)
        optimiser.step()
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], value, rtol=1e-6, atol=1e-9)


def test_a_rest_of_one_image_is_a_batch():
    images, labels = stripes(9, 0)
    steps = learn(network(), images, labels, RULES["sgd"], rate=0.1, epochs=1, batch_size=4)
    assert len(list(steps)) == 3
