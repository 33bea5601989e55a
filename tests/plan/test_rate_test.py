"""The rate test: reads range tests, chooses among short trainings, and finds a rate that trains."""

import itertools
import json
import math

import numpy as np
import pytest

import striate
from striate.core.errors import RecipeError, TrainingError
from striate.core.recipe_io import load_recipe
from striate.plan.rate_test import (
    GRID,
    Sweep,
    Tried,
    candidates,
    choose,
    read_sweep,
    smoothed,
    trial_steps,
)

PLAIN = "conv 3x3 8 pad 1, relu, pool 2, fc 32, relu, fc classes"
KNOBS = {"model": PLAIN, "epochs": 6, "augment.flip": False, "device.precision": "float32",
         "data.workers": 1}  # fmt: skip


def curve(fall_at=1e-2, rise_at=1.0, noise=0.0):
    """A range test whose loss falls fastest at one rate and explodes at another."""
    rates = np.geomspace(1e-5, 10, 120)
    drop = 1.5 / (1 + np.exp(-3 * np.log(rates / fall_at)))
    losses = 2.3 - drop + (rates / rise_at) ** 3 * 0.05
    return Sweep(rates, losses + noise * np.random.default_rng(0).normal(size=len(rates)))


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_range_test_is_read(noise):
    steepest, rises = read_sweep(curve(noise=noise))
    assert 0.004 < steepest < 0.03
    assert 0.5 < rises < 4


def test_a_range_test_that_ended_at_once():
    assert read_sweep(Sweep(np.array([1e-3, 1e-2]), np.array([2.3, 9.0]))) == (1e-3, 1e-2)


def test_smoothing_keeps_a_line():
    line = np.linspace(3, 1, 50)
    assert np.allclose(smoothed(line, 2.0)[10:-10], line[10:-10], atol=1e-6)


def test_candidates_cover_the_sweeps():
    found = candidates([0.01, 0.02], [0.5, 1.0])
    assert found[0] < 0.01
    assert found[-1] == pytest.approx(1.0)
    assert all(b / a < 1.3 * GRID for a, b in itertools.pairwise(found))


def tried(*rows):
    return [Tried(lr, score, 0.02, loss) for lr, score, loss in rows]


def test_the_middle_of_what_is_as_good_as_the_best():
    rows = tried(
        (0.01, 0.7, 1.0), (0.03, 0.9, 0.4), (0.1, 0.91, 0.38), (0.3, 0.895, 0.4), (1, 0.5, 2)
    )
    assert choose(rows) == (0.095, 0.03, 0.3)


def test_a_gap_ends_the_range_and_explosions_do_not_count():
    rows = tried((0.01, 0.9, 0.4), (0.03, 0.7, 0.8), (0.1, 0.91, 0.38), (0.3, 0.0, math.inf))
    assert choose(rows) == (0.1, 0.1, 0.1)
    with pytest.raises(TrainingError, match="no learning rate"):
        choose(tried((0.1, 0.0, math.inf)))


def test_short_trainings_are_short():
    assert trial_steps(50) == 50
    assert trial_steps(1000) == 250
    assert trial_steps(100_000) == 400


@pytest.fixture(scope="module")
def measured():
    return striate.find_rate("digits", **KNOBS)


def test_it_finds_a_rate_that_trains(measured):
    assert measured.low <= measured.lr <= measured.high
    assert len(measured.sweeps) == 3
    best = max(t.score for t in measured.tried)
    assert best > 0.85
    assert max(abs(math.log10(s / measured.lr)) for s in measured.steepest) < 2


def test_it_repeats(measured):
    again = striate.find_rate("digits", **KNOBS)
    assert again.lr == measured.lr
    assert [t.score for t in again.tried] == [t.score for t in measured.tried]


def test_the_verb_draws_and_says(striate_cli, tmp_path):
    flags = ("digits", "--model", PLAIN, "--epochs", "3", "--augment.flip", "False")
    code, out, _ = striate_cli("lr", *flags, "--plot", tmp_path / "lr.svg")
    assert code == 0
    assert "learning rate 0." in out
    assert (tmp_path / "lr.svg").read_text().startswith("<?xml")
    code, out, err = striate_cli("lr", *flags, "--plot", tmp_path / "lr.gif")
    assert code == 2
    assert ".png or .svg" in err
    code, out, _ = striate_cli("lr", *flags, "--json")
    assert json.loads(out)["lr"] > 0


def test_lr_auto_measures_and_the_recipe_repeats_it(striate_cli, tmp_path):
    flags = ("digits", "--model", PLAIN, "--epochs", "2", "--augment.flip", "False")
    code, _, _ = striate_cli("train", *flags, "--lr", "auto", "--run", tmp_path / "a")
    assert code == 0
    decided = json.loads((tmp_path / "a" / "resolved.json").read_text())["optim.lr"]
    assert "trainings of" in decided["why"]
    assert load_recipe(tmp_path / "a" / "recipe.yaml").optim.lr == decided["value"]
    code, _, _ = striate_cli("train", *flags, "--run", tmp_path / "b")
    assert (
        "usual" not in json.loads((tmp_path / "b" / "resolved.json").read_text())["optim.lr"]["why"]
    )
    assert load_recipe(tmp_path / "b" / "recipe.yaml").optim.lr == "auto"


def test_a_rate_of_another_kind_is_refused():
    with pytest.raises(RecipeError):
        striate.train("digits", lr="search")
