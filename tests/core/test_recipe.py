"""Recipes: YAML there and back, one validation, helpful refusals."""

import dataclasses

import pytest
import yaml

from striate.core import recipe_io
from striate.core.errors import RecipeError
from striate.core.recipe import PRESETS, SHORT_FLAGS, Recipe


@pytest.mark.parametrize("name", PRESETS)
def test_yaml_round_trip(name, tmp_path):
    recipe = recipe_io.preset(name)
    path = tmp_path / "r.yaml"
    path.write_text(recipe_io.to_yaml(recipe))
    assert recipe_io.load_recipe(path) == recipe


def test_yaml_is_complete():
    tree = yaml.safe_load(recipe_io.to_yaml(Recipe()))
    flat = {f"{g}.{k}" for g, t in tree.items() if isinstance(t, dict) for k in t} | {"seed"}
    assert flat == set(recipe_io.knob_names())


def test_partial_yaml_keeps_the_rest(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("optim:\n  lr: 1e-3\nseed: 4\n")
    recipe = recipe_io.load_recipe(path)
    assert (recipe.optim.lr, recipe.seed, recipe.optim.rule) == (1e-3, 4, "auto")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optim:\n  lrr: 0.1", ["optim.lrr: no such knob", "Perhaps you meant: optim.lr"]),
        ("optm:\n  lr: 0.1", ["optm: no such knob", "optim"]),
        ("lr: 0.1", ["lr: no such knob", "optim.lr"]),
        ("optim:\n  lr: -0.1", ["optim.lr", "greater than 0", "'auto'", "found -0.1"]),
        ("optim:\n  lr: fast", ["optim.lr", "found 'fast'"]),
        ("budget:\n  epochs: 2.5", ["budget.epochs", "found 2.5"]),
        ("budget:\n  epochs: true", ["budget.epochs", "found True"]),
        ("budget:\n  epochs: 0", ["budget.epochs", "found 0"]),
        ("regularise:\n  dropout: 1.5", ["regularise.dropout", "found 1.5"]),
        ("seed: -1", ["seed", "found -1"]),
        ("optim: 3", ["optim", "found 3"]),
        ("- a", ["expected groups", "list"]),
        ("a: [", ["not YAML"]),
    ],
)
def test_bad_recipes(text, expected, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as error:
        recipe_io.load_recipe(path)
    message = str(error.value)
    assert str(path) in message
    for piece in expected:
        assert piece in message


def test_missing_recipe_file(tmp_path):
    with pytest.raises(RecipeError, match="no recipe file"):
        recipe_io.load_recipe(tmp_path / "none.yaml")


def test_overrides_by_short_and_dotted_names():
    recipe = recipe_io.with_overrides(Recipe(), {"epochs": 3, "optim.lr": 0.5, "model": "lenet"})
    assert (recipe.budget.epochs, recipe.optim.lr, recipe.model.name) == (3, 0.5, "lenet")
    with pytest.raises(RecipeError, match="Perhaps you meant: epochs"):
        recipe_io.with_overrides(Recipe(), {"epoch": 3})


def test_short_flags_name_real_knobs():
    assert set(SHORT_FLAGS.values()) <= set(recipe_io.knob_names())


def test_recipes_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().seed = 1


def test_unknown_preset():
    with pytest.raises(RecipeError, match="Perhaps you meant: quick"):
        recipe_io.preset("quik")
