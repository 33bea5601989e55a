"""The playground is a training like any other: the same rules, the same weights for a seed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from striate.core.errors import RecipeError
from striate.core.randomness import permutation
from striate.labs import plane
from striate.labs.playground import (
    ACTIVATIONS,
    NAMED,
    PRESETS,
    Playground,
    Settings,
    checked,
    network,
)
from striate.optim.rules import UPDATE_RULES
from striate.optim.schedules import SCHEDULES


def weights(game):
    return torch.cat([p.detach().ravel() for p in game.net.parameters()])


@pytest.mark.parametrize("kind", plane.KINDS)
def test_points_lie_in_the_plane_and_have_both_labels(kind):
    drawn = plane.draw(kind, 200, 0.0, 0.25, 3)
    xy, label = drawn.train
    assert (len(xy), len(drawn.test[0])) == (150, 50)
    assert np.abs(xy).max() <= plane.SIDE
    assert drawn.heights == (kind in ("plane", "hills"))
    if not drawn.heights:
        assert 0.3 < label.mean() < 0.7
    again = plane.draw(kind, 200, 0.0, 0.25, 3)
    np.testing.assert_array_equal(again.train[0], xy)
    assert not np.array_equal(plane.draw(kind, 200, 0.0, 0.25, 4).train[0], xy)


def test_labels_are_what_the_pictures_say():
    """Against the definitions, without noise."""
    xy, label = plane.draw("xor", 500, 0, 0, 0).train
    np.testing.assert_array_equal(label, xy[:, 0] * xy[:, 1] > 0)
    xy, label = plane.draw("circle", 500, 0, 0, 0).train
    np.testing.assert_array_equal(label, np.hypot(*xy.T) < 2.5)
    xy, label = plane.draw("plane", 500, 0, 0, 0).train
    np.testing.assert_allclose(label, xy.sum(axis=1) / 10)


def test_training_is_that_of_torch():
    """Momentum by hand, on the same batches, gives the same weights bit by bit."""
    s = Settings(data="moons", count=50, batch_size=7, layers=(5, 3), l2=0.01, lr=0.1)
    game, net = Playground(s), network(s)
    rule = torch.optim.SGD(
        [{"params": [p for p in net.parameters() if p.dim() > 1], "weight_decay": 0.01},
         {"params": [p for p in net.parameters() if p.dim() == 1]}],
        lr=0.1, momentum=0.9,
    )  # fmt: skip
    xy, label = plane.draw("moons", 50, 0, 0.5, 0).train
    x, y = torch.tensor(xy, dtype=torch.float32), torch.tensor(label, dtype=torch.float32)
    for epoch in range(3):
        order = permutation(0, epoch, "batches", len(x))
        for start in range(0, len(x), 7):
            ids = torch.from_numpy(order[start : start + 7])
            loss = nn.functional.binary_cross_entropy_with_logits(net(x[ids])[:, 0], y[ids])
            rule.zero_grad()
            loss.backward()
            rule.step()
    assert game.advance(12) == 12
    torch.testing.assert_close(
        weights(game), torch.cat([p.detach().ravel() for p in net.parameters()]), rtol=0, atol=0
    )


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_equal_seeds_give_equal_weights(rule):
    one, other = (Playground(Settings(rule=rule, lr=0.01, dropout=0.2, seed=3)) for _ in range(2))
    one.advance(30)
    for _ in range(30):
        other.advance(1)
        other.losses()
        other.maps(5)
    assert torch.equal(weights(one), weights(other))
    third = Playground(Settings(rule=rule, lr=0.01, dropout=0.2, seed=4))
    third.advance(30)
    assert not torch.equal(weights(one), weights(third))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_schedule_and_activation_trains(schedule, activation):
    game = Playground(
        Settings(data="gaussians", schedule=schedule, activation=activation, epochs=5)
    )
    before = game.losses().train
    game.advance(10_000)
    assert game.done
    assert game.epoch == 5
    assert game.losses().train < before


@pytest.mark.slow
def test_the_spiral_is_learnt_with_the_preset_that_is_offered():
    game = Playground(PRESETS["spiral"][1])
    game.advance(game.total)
    assert game.losses().test < 0.05


@pytest.mark.slow
def test_the_doctor_names_an_exploding_rate():
    said = set()
    game = Playground(PRESETS["too fast"][1])
    while not game.done and not said:
        game.advance(50)
        said |= {f.rule for f in game.findings}
    assert said & {"learning_rate_too_high", "exploding_gradient", "not_finite"}
    healthy = Playground(PRESETS["regression"][1])
    healthy.advance(healthy.total)
    assert not healthy.findings


def test_overfitting_is_shown_and_l2_helps():
    s = PRESETS["overfitting"][1]
    game, decayed = Playground(s), Playground({**vars(s), "l2": 0.05})
    for one in (game, decayed):
        one.advance(one.total)
    found = game.losses()
    assert found.test > 2 * found.train
    assert decayed.losses().test < found.test
    assert "overfitting" in {f.rule for f in game.findings}


def test_a_loss_that_is_not_finite_ends_it():
    game = Playground(Settings(data="hills", rule="sgd", lr=100.0, activation="linear"))
    game.advance(5000)
    assert game.failed
    assert game.done
    assert game.advance(10) == 0
    assert game.findings[0].rule in NAMED


def test_without_test_points_nothing_is_called_not_finite():
    game = Playground(Settings(test_share=0.0))
    game.advance(2000)
    assert game.losses().train < 0.2
    assert game.findings == []


def test_maps_are_the_outputs_on_the_grid():
    game = Playground(Settings(features=("x1", "sin x2"), layers=(3, 2)))
    game.advance(20)
    maps = game.maps(8)
    assert [m.shape for m in maps] == [(2, 8, 8), (3, 8, 8), (2, 8, 8), (1, 8, 8)]
    xy = plane.grid(8)
    assert xy[0].tolist() == [-5.25, 5.25]  # the upper left
    x = torch.from_numpy(plane.features(("x1", "sin x2"), xy))
    with torch.inference_mode():
        np.testing.assert_allclose(maps[-1].ravel(), game.net(x)[:, 0].numpy(), atol=1e-6)
        np.testing.assert_allclose(
            maps[1].reshape(3, -1), torch.tanh(game.net[0](x)).T.numpy(), atol=1e-6
        )


def test_weights_and_rates_can_be_changed():
    game = Playground(Settings(layers=(3,)))
    game.set_weight(0, 1, 0, 2.5)
    game.set_weight(1, 0, -1, -1.5)
    assert game.net[0].weight[1, 0].item() == 2.5
    assert game.net[2].bias[0].item() == -1.5
    for place in ((9, 0, 0, 1.0), (0, 9, 0, 1.0), (0, 0, 9, 1.0), (0, 0, -2, 1.0),
                  (0, 0, 0, float("nan"))):  # fmt: skip
        with pytest.raises(RecipeError):
            game.set_weight(*place)
    game.change(lr=0.0001, l2=0.5)
    assert game.settings.lr == 0.0001
    assert {g["weight_decay"] for g in game.optimiser.param_groups} == {0.0, 0.5}
    with pytest.raises(RecipeError):
        game.change(layers=5)


@pytest.mark.parametrize(
    "wrong",
    [{"data": "cats"}, {"rule": "adan"}, {"features": ()}, {"features": ("x3",)},
     {"layers": (9,)}, {"layers": (1,) * 7}, {"lr": 0}, {"lr": float("nan")}, {"count": 10**6},
     {"noise": -1}, {"seed": -1}, {"unknown": 1}, {"batch_size": 0}, {"test_share": 1},
     {"data": "painted", "points": ((0, 0, 2),)}, {"data": "painted", "points": ((99, 0, 1),)}],
)  # fmt: skip
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(RecipeError):
        Playground({**vars(Settings()), **wrong})


def test_painted_points_may_be_none_one_or_of_one_class():
    for points in ((), ((1, 1, 1),), ((1, 1, 1), (2, 2, 1))):
        game = Playground(Settings(data="painted", points=points))
        game.advance(20)
        assert game.done == (not points)
        assert game.losses().train == game.losses().train or not points


@settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries({
    "data": st.sampled_from([*plane.KINDS]), "count": st.integers(10, 60),
    "noise": st.floats(0, 0.5), "test_share": st.floats(0, 0.99),
    "features": st.lists(st.sampled_from([*plane.FEATURES]), min_size=1, max_size=7, unique=True),
    "layers": st.lists(st.integers(1, 8), max_size=6), "lr": st.floats(1e-6, 100),
    "activation": st.sampled_from([*ACTIVATIONS]), "rule": st.sampled_from([*UPDATE_RULES]),
    "batch_size": st.integers(1, 100), "l1": st.floats(0, 10), "l2": st.floats(0, 10),
    "dropout": st.floats(0, 0.95), "seed": st.integers(0, 2**31),
}))  # fmt: skip
def test_whatever_is_asked_runs(wanted):
    game = Playground({**vars(Settings()), **wanted})
    game.advance(30)
    game.losses()
    assert checked(game.settings) == game.settings
