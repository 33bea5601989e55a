"""What labs learn with: networks that are trained together learn what each would alone."""

from copy import deepcopy
from itertools import islice

import pytest
import torch
from torch import nn

from striate.labs.bench import Share, Size, _batches, dense, digits, fit, fit_each, loss_of
from striate.labs.lab import summary

RATES = [0.01, 0.1, 0.3]
STEPS = 25


def normed():
    return nn.Sequential(nn.BatchNorm1d(16), nn.ReLU())


def three(activation):
    torch.manual_seed(0)
    net = dense([64, 16, 10], activation)
    return [deepcopy(net) for _ in RATES]


@pytest.mark.parametrize("activation", [nn.ReLU, normed])
@pytest.mark.parametrize("batch", [0, 64])
def test_networks_trained_together_learn_as_alone(activation, batch):
    data = digits(0)
    how = {"steps": STEPS, "batch": batch, "momentum": 0.9, "seed": 3}
    alone, together = three(activation), three(activation)
    expected = [fit(net, data.x, data.y, lr=lr, **how)
                for net, lr in zip(alone, RATES, strict=True)]  # fmt: skip
    found = fit_each(together, data.x, data.y, lrs=torch.tensor(RATES), **how)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    for one, other in zip(alone, together, strict=True):
        assert loss_of(other, data.test_x, data.test_y) == pytest.approx(
            loss_of(one, data.test_x, data.test_y), rel=1e-4
        )
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4)


def test_each_may_have_a_schedule_of_its_own():
    data = digits(0)
    before, after = torch.tensor(RATES), torch.tensor([0.02, 0.1, 0.01])
    lrs = torch.stack([before, after]).repeat_interleave(5, dim=0)
    found = fit_each(three(nn.ReLU), data.x, data.y, steps=10, lrs=lrs, batch=32)
    for k, net in enumerate(three(nn.ReLU)):
        expected = fit(net, data.x, data.y, steps=10, batch=32,
                       lr=lambda step, k=k: float(lrs[step, k]))  # fmt: skip
        torch.testing.assert_close(found[k], torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_one_that_diverges_leaves_the_others_alone():
    data = digits(0)
    found = fit_each(three(nn.ReLU), data.x, data.y, steps=STEPS, batch=64,
                     lrs=torch.tensor([0.1, 1e20, 0.3]))  # fmt: skip
    alone = fit(three(nn.ReLU)[2], data.x, data.y, steps=STEPS, batch=64, lr=0.3)
    assert not torch.isfinite(found[1]).all()
    torch.testing.assert_close(found[2], torch.tensor(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("count", "size"), [(10, 3), (10, 10), (4, 10), (7, 0)])
def test_batches_show_every_image_of_an_epoch_once(count, size):
    steps = [*islice(_batches(count, size, 0), 7)]
    if size == 0:
        assert steps == [slice(None)] * 7
        return
    each = max(count // size, 1)
    for epoch in range(7 // each):
        seen = torch.cat(steps[epoch * each : (epoch + 1) * each]).tolist()
        assert len(seen) == len({*seen}) == min(each * size, count)
        assert {*seen} <= {*range(count)}


def test_intervals_end_where_a_figure_does():
    losses = [Size(0.01), Size(0.5), Size(0.02)]
    assert summary("loss", losses).interval[0] == 0
    assert summary("gain", [float(loss) for loss in losses]).interval[0] < 0
    shares = [Share(0.99), Share(0.5), Share(1.0)]
    assert summary("accuracy", shares).interval[1] == 1
    diverged = summary("loss", [Size(0.1), Size("inf")])
    assert diverged.interval is None
    assert diverged.line() == "∞"
