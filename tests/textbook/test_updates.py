"""Update rules against torch.optim over 100 steps, and the lectures' claims (O1–O5, O8)."""

from itertools import islice

import numpy as np
import pytest
import torch

from striate.textbook.landscapes import LANDSCAPES
from striate.textbook.updates import RULES, descend, momentum, momentum_a, momentum_d, nesterov
from striate.textbook.updates import random_search as search

START = np.array([-1.2, 1.0, 0.3])


def slope(w):
    """The gradient of Σ w⁴/4 + w²·(1, 2, 3)/2 − w: bent, so that squares of gradients matter."""
    return w**3 + np.arange(1, 4) * w - 1


def torch_path(optimiser, rates, **options):
    w = torch.tensor(START, requires_grad=True)
    stepper = optimiser([w], lr=rates[0], **options)
    path = []
    for rate in rates:
        stepper.param_groups[0]["lr"] = rate
        w.grad = torch.tensor(slope(w.detach().numpy()))
        stepper.step()
        path.append(w.detach().numpy().copy())
    return np.array(path)


def our_path(rule, rates, **knobs):
    walk = descend(rule, slope, START, lambda step: rates[step], **knobs)
    return np.array(list(islice(walk, len(rates))))


CONSTANT, CUT = [0.02] * 100, [0.02] * 50 + [0.002] * 50
TORCH = {
    "sgd": (torch.optim.SGD, {}, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.8}, {"beta": 0.8}),
    "adagrad": (torch.optim.Adagrad, {}, {}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": 0.95}, {"rho": 0.95}),
    "adam": (torch.optim.Adam, {"betas": (0.8, 0.95)}, {"beta": 0.8, "rho": 0.95}),
}


@pytest.mark.parametrize("rates", [CONSTANT, CUT], ids=["constant", "schedule"])
@pytest.mark.parametrize("name", TORCH)
def test_the_same_path_as_torch(name, rates):
    optimiser, options, knobs = TORCH[name]
    np.testing.assert_allclose(
        our_path(RULES[name], rates, **knobs), torch_path(optimiser, rates, **options), rtol=1e-6
    )


def test_nesterov_stands_behind_torchs_look_ahead_point():
    """O4: torch's parameter is Θ = W + βv, where v is the last step, W − W before."""
    ours = our_path(nesterov, CONSTANT)
    theirs = torch_path(torch.optim.SGD, CONSTANT, momentum=0.9, nesterov=True)
    velocity = np.diff(ours, axis=0, prepend=START[None])
    np.testing.assert_allclose(ours + 0.9 * velocity, theirs, rtol=1e-6)
    assert np.abs(ours - theirs).max() > 1e-3


def test_momentum_has_three_forms_and_one_path_at_a_constant_rate():
    for rule in (momentum_a, momentum_d):
        np.testing.assert_allclose(
            our_path(rule, CONSTANT), our_path(momentum, CONSTANT), rtol=1e-9
        )


def test_momentum_forms_differ_under_a_schedule():
    """O3: A and D keep old velocity as it was, E (torch's) scales it by the new rate."""
    a, d, e = (our_path(rule, CUT) for rule in (momentum_a, momentum_d, momentum))
    np.testing.assert_allclose(a, d, rtol=1e-9)
    np.testing.assert_allclose(a[:50], e[:50], rtol=1e-9)
    assert np.abs(a[50:] - e[50:]).max() > 1e-4


def test_the_lectures_figures_under_a_cut_rate():
    """O3: w²/2 from 1, two steps at 0.1 and four at 0.01: A and D end at 0.113, E at 0.602."""
    ends = {}
    for rule in (momentum_a, momentum_d, momentum):
        walk = descend(rule, lambda w: w, np.array(1.0), lambda step: 0.1 if step < 2 else 0.01)
        ends[rule.__name__] = round(float(list(islice(walk, 6))[-1]), 3)
    assert ends == {"momentum_a": 0.113, "momentum_d": 0.113, "momentum": 0.602}


def test_first_steps_by_hand():
    """∇ = 2 at w = 1, rate 0.1: the bias corrections of Adam make its first step the rate."""
    first = {name: float(next(descend(rule, lambda w: 2 * w, np.array(1.0), 0.1)))
             for name, rule in RULES.items()}  # fmt: skip
    for name in ("sgd", "momentum", "momentum_a", "momentum_d", "nesterov"):
        assert first[name] == pytest.approx(0.8)
    assert first["adam"] == pytest.approx(0.9)
    assert first["adagrad"] == pytest.approx(0.9)
    assert first["rmsprop"] == pytest.approx(0, abs=1e-6)


def test_random_search():
    """O1: the best of many random points."""
    rng = np.random.default_rng(0)
    loss, w = search(lambda w: float(w @ w), lambda: rng.normal(size=3), 200)
    assert loss == w @ w < 0.3


@pytest.mark.parametrize("name", LANDSCAPES)
def test_landscapes_state_their_gradient_and_lowest_value(name):
    place = LANDSCAPES[name]
    left, right, low, up = place.box
    rng = np.random.default_rng(0)
    points = rng.uniform([left, low], [right, up], (200, 2)).T
    for axis in range(2):
        h = np.zeros((2, 1))
        h[axis] = 1e-5
        numeric = (place.f(points + h) - place.f(points - h)) / 2e-5
        np.testing.assert_allclose(place.gradient(points)[axis], numeric, rtol=1e-5, atol=1e-6)
    assert place.f(points).min() >= place.lowest
    assert left < place.start[0] < right
    assert low < place.start[1] < up
    bottom = min(
        (np.array([x, y]) for x in (0.0, 1.0) for y in (0.0, 1.0)), key=lambda w: place.f(w)
    )
    assert place.f(bottom) == pytest.approx(place.lowest, abs=1e-12)
    assert np.abs(place.gradient(bottom)).max() < 1e-12


def test_momentum_suppresses_the_zig_zag():
    """O3: the deck's three settings on a ravine; momentum arrives first."""
    place = LANDSCAPES["ravine"]

    def arrives(rule, rate, **knobs):
        walk = descend(rule, place.gradient, np.array(place.start), rate, **knobs)
        values = [float(place.f(w)) for w in islice(walk, 4000)]
        return max(i for i, v in enumerate(values) if v > place.goal()) + 1

    slow, zigzag = arrives(RULES["sgd"], 1e-3), arrives(RULES["sgd"], 5e-3)
    assert arrives(momentum, 1e-3, beta=0.9) < zigzag < slow
    path = list(islice(descend(RULES["sgd"], place.gradient, np.array(place.start), 5e-3), 6))
    assert [np.sign(w[1]) for w in path] == [-1, 1, -1, 1, -1, 1]


def test_plain_steps_stall_at_a_saddle():
    """O8: near the saddle the gradient vanishes; momentum leaves it sooner."""
    place = LANDSCAPES["saddle"]

    def height(rule, steps=100):
        walk = descend(rule, place.gradient, np.array(place.start), 0.05)
        return float(place.f(list(islice(walk, steps))[-1]))

    assert abs(height(RULES["sgd"])) < 0.02
    assert height(momentum) < -0.2
