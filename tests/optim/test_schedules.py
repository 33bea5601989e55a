"""Schedules against torch's schedulers and the lectures' numbers (O7)."""

import math

import pytest
import torch
from torch.optim import lr_scheduler as torch_lr

from striate.core.errors import RecipeError
from striate.optim import schedules as s

TOTAL, PER_EPOCH = 120, 12
KNOBS = {"gamma": 0.5, "step_epochs": 3.0}


def torch_rates(make, steps):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimiser)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def test_deck_a_printout_with_its_true_values():
    rates = [0.01 * s.step_decay(epoch, every=3, gamma=0.99) for epoch in range(10)]
    expected = [0.01] * 3 + [0.0099] * 3 + [0.009801] * 3 + [0.00970299]
    assert rates == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda t: s.step_decay(t, every=7, gamma=0.3), lambda o: torch_lr.StepLR(o, 7, 0.3)),
        (
            lambda t: s.exponential(t, steps_per_epoch=1, gamma=0.97),
            lambda o: torch_lr.ExponentialLR(o, 0.97),
        ),
        (lambda t: s.cosine(t, total=50), lambda o: torch_lr.CosineAnnealingLR(o, 50)),
        (lambda t: s.square_root(t, total=50), lambda o: torch_lr.PolynomialLR(o, 50, power=0.5)),
        (s.warmed_up(s.constant, 10), lambda o: torch_lr.LinearLR(o, 0.1, 1.0, total_iters=9)),
    ],
)
def test_against_torch(ours, theirs):
    assert [ours(t) for t in range(50)] == pytest.approx(
        torch_rates(theirs, 50), rel=1e-6, abs=1e-9
    )


def test_lecture_formulas():
    assert s.inverse(24, steps_per_epoch=12) == pytest.approx(1 / 3)
    assert s.square_root(75, total=100) == pytest.approx(0.5)
    k = 0.3
    by_rate = [s.exponential(t, steps_per_epoch=10, gamma=math.exp(-k)) for t in range(30)]
    assert by_rate == pytest.approx([math.exp(-k * t / 10) for t in range(30)])


def test_one_cycle():
    rates = [s.one_cycle(t, total=100, warmup=0.25) for t in range(100)]
    assert max(rates) == pytest.approx(74.5 / 75)
    assert rates.index(max(rates)) in (24, 25)
    assert min(rates) > 0
    assert rates[:25] == sorted(rates[:25])
    assert rates[25:] == sorted(rates[25:], reverse=True)


@pytest.mark.parametrize("name", s.SCHEDULES)
def test_laws_of_the_family(name):
    """Factors stay in (0, 1], for every member, with and without warm-up; they are pure."""
    for warmup in (0.0, 0.2):
        schedule = s.make_schedule(name, total=TOTAL, per_epoch=PER_EPOCH, warmup=warmup, **KNOBS)
        rates = [schedule(t) for t in range(TOTAL)]
        assert all(0 < rate <= 1 for rate in rates)
        assert rates == [schedule(t) for t in range(TOTAL)]
        if warmup:
            assert rates[0] < rates[TOTAL // 5]


def test_unknown_schedule():
    with pytest.raises(RecipeError, match="Perhaps you meant: cosine"):
        s.find_schedule("cosin")
