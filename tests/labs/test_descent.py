"""Paths over landscapes, and the best rates against a search by hand."""

import numpy as np
import pytest

from striate.core.errors import RecipeError
from striate.labs import descent
from striate.textbook.landscapes import LANDSCAPES
from striate.textbook.updates import RULES


@pytest.mark.parametrize("name", LANDSCAPES)
def test_the_lowest_place_is_the_lowest(name):
    place, at = LANDSCAPES[name], np.array(descent.LOWEST[name])
    assert float(place.f(at)) == pytest.approx(place.lowest, abs=1e-12)
    np.testing.assert_allclose(place.gradient(at), 0, atol=1e-9)
    assert float(descent.heights(name).min()) >= place.lowest


def test_the_best_rates_are_best_on_a_quadratic():
    """No other rate, and no other momentum, gets nearer in as many steps."""
    best = descent.best_rates("ravine")
    assert best.curvatures == pytest.approx((1, 300))

    def left(rate, momentum):
        path = descent.walk("ravine", "momentum", rate, momentum, 300)
        return np.inf if path.left else float(np.abs(path.points[-1]).max())

    plain = left(best.rate, 0.0)
    assert all(left(best.rate * k, 0.0) > plain for k in (0.8, 0.9, 1.004, 1.2))
    moving = left(best.momentum_rate, best.momentum)
    assert moving < 1e-6 * plain
    assert left(best.momentum_rate * 0.7, best.momentum) > moving
    assert left(best.momentum_rate, best.momentum - 0.1) > moving


def test_a_rate_that_is_too_high_is_said_to_diverge():
    limit = 2 / 300
    assert descent.walk("ravine", "sgd", limit * 1.05, None, 2000).left is not None
    near = descent.walk("ravine", "sgd", limit * 0.95, None, 2000)
    assert near.left is None
    assert near.arrived is not None
    above = near.values > LANDSCAPES["ravine"].goal()
    assert not above[near.arrived :].any()
    assert above[near.arrived - 1]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_walks(rule):
    path = descent.walk("saddle", rule, 0.01, 0.9, 50, (0.2, 0.3))
    assert len(path.points) == 51
    assert path.points[0].tolist() == [0.2, 0.3]


@pytest.mark.parametrize("name", descent.PRESETS)
def test_the_three_settings_of_the_lecture(name):
    rule, rate, momentum = descent.PRESETS[name]
    path = descent.walk("ravine", rule, rate, momentum, 150)
    assert path.left is None
    assert path.values[-1] < path.values[0]


@pytest.mark.parametrize(
    "asked", [("hill", "sgd", 0.1, 0.0, 10), ("ravine", "sdg", 0.1, 0.0, 10),
              ("ravine", "sgd", 0, 0.0, 10), ("ravine", "sgd", 0.1, 1.0, 10),
              ("ravine", "sgd", 0.1, 0.0, 0), ("ravine", "sgd", float("inf"), 0.0, 10)],
)  # fmt: skip
def test_what_cannot_be_is_refused(asked):
    with pytest.raises(RecipeError):
        descent.walk(*asked)
