"""Update rules and regularisers against formulas written out (O3–O5, T4)."""

import numpy as np
import pytest
import torch
from torch import nn

from striate.core.errors import RecipeError
from striate.optim.regularise import MovingAverage, add_l1_gradient, limit_norms
from striate.optim.rules import UPDATE_RULES, default_rate, find_rule, make_optimiser

LR, STEPS = 0.05, 20


def path_of(name, l2=0.0):
    """A network of one weight matrix on a fixed quadratic: its weights after each step."""
    net = nn.Linear(3, 2, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.arange(6.0, dtype=torch.float64).reshape(2, 3) / 3 - 1)
    rule = make_optimiser(net, name, lr=LR, l2=l2, knobs=find_rule(name).knobs)
    scale = torch.tensor([1.0, 3.0, 10.0]).double()
    path = []
    for _ in range(STEPS):
        rule.zero_grad()
        (0.5 * (scale * net.weight**2).sum()).backward()
        rule.step()
        path.append(net.weight.detach().numpy().copy())
    return np.array(path)


def written_out(name):
    """The same path by the lectures' formulas (momentum in form E; Nesterov's look-ahead point)."""
    w = np.arange(6.0).reshape(2, 3) / 3 - 1
    scale = np.array([1.0, 3.0, 10.0])
    v, r, m = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    path = []
    for t in range(1, STEPS + 1):
        g = scale * w
        if name == "sgd":
            w = w - LR * g
        elif name == "momentum":
            v = 0.9 * v - g
            w = w + LR * v
        elif name == "nesterov":
            v = 0.9 * v - g
            w = w + LR * (0.9 * v - g)
        elif name == "adagrad":
            r = r + g**2
            w = w - LR * g / (1e-10 + np.sqrt(r))
        elif name == "rmsprop":
            r = 0.99 * r + 0.01 * g**2
            w = w - LR * g / (np.sqrt(r) + 1e-8)
        else:
            m, r = 0.9 * m + 0.1 * g, 0.999 * r + 0.001 * g**2
            w = w - LR * (m / (1 - 0.9**t)) / (np.sqrt(r / (1 - 0.999**t)) + 1e-8)
        path.append(w)
    return np.array(path)


@pytest.mark.parametrize("name", sorted(set(UPDATE_RULES) - {"muon"}))  # see test_muon.py
def test_paths_equal_the_formulas(name):
    np.testing.assert_allclose(path_of(name), written_out(name), rtol=1e-8, atol=1e-10)


def test_weight_decay_spares_biases_and_norms():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    rule = make_optimiser(net, "sgd", lr=0.1, l2=0.5, knobs={})
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    rule.step()
    for n, p in net.named_parameters():
        shrunk = before[n] * (1 - 0.1 * 0.5) if n == "0.weight" else before[n]
        torch.testing.assert_close(p.detach(), shrunk)


def test_l2_is_the_gradient_of_the_penalty():
    """λ/2·‖W‖² adds λW to the gradient (T4)."""
    with_l2, without = path_of("sgd", l2=0.7)[0], path_of("sgd")[0]
    start = np.arange(6.0).reshape(2, 3) / 3 - 1
    np.testing.assert_allclose(without - with_l2, LR * 0.7 * start)


def test_default_rates_grow_with_the_batch():
    assert default_rate("sgd", 512, normalised=True) == 2 * default_rate(
        "sgd", 256, normalised=True
    )
    assert default_rate("adam", 1024, normalised=True) == 2 * default_rate(
        "adam", 256, normalised=True
    )
    assert default_rate("nesterov", 256, normalised=False) < default_rate(
        "nesterov", 256, normalised=True
    )


def test_shallow_networks_bear_higher_rates_than_deep_ones():
    rates = [default_rate("momentum", 256, normalised=False, layers=n) for n in (4, 16)]
    rates.append(default_rate("momentum", 256, normalised=True, layers=4))
    assert rates[1] < rates[0] < rates[2]


def test_unknown_rule():
    with pytest.raises(RecipeError, match="Perhaps you meant: adam"):
        find_rule("adm")


def test_l1_gradient():
    net = nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[-2.0, 3.0]]))
    net.weight.grad, net.bias.grad = torch.zeros(1, 2), torch.zeros(1)
    add_l1_gradient(net, 0.1)
    torch.testing.assert_close(net.weight.grad, torch.tensor([[-0.1, 0.1]]))
    assert net.bias.grad.item() == 0


def test_max_norm():
    net = nn.Conv2d(2, 3, 3)
    with torch.no_grad():
        net.weight.mul_(100)
        net.weight[0].mul_(1e-4)
    small = net.weight[0].detach().clone()
    limit_norms(net, 2.0)
    lengths = net.weight.detach().flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths[1:], torch.full((2,), 2.0))
    torch.testing.assert_close(net.weight[0].detach(), small)


def test_moving_average():
    net = nn.BatchNorm1d(1)
    average = MovingAverage(net, 0.5)
    expected = net.weight.item()
    for step in range(20):
        with torch.no_grad():
            net.weight.add_(1.0)
            net.num_batches_tracked.add_(1)
        average.update(net, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * net.weight.item()
    assert average.net.weight.item() == pytest.approx(expected)
    assert average.net.num_batches_tracked.item() == 20
