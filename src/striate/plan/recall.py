"""What a run directory says of its training: the settled recipe, and where its data are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from striate.core import recipe_io
from striate.core.errors import RecipeError, RunError
from striate.core.files import write_json
from striate.core.recipe import Recipe
from striate.core.run import MOVED, RunDirectory
from striate.data.sources import is_there, lasting
from striate.models.pretrained.catalogue import NONE
from striate.plan.data import UNKNOWN, PreparedData
from striate.plan.keep import EXCLUDED


def settled_recipe(directory: RunDirectory) -> Recipe:
    """The run's recipe with every "auto" as it was decided then."""
    recipe = recipe_io.load_recipe(directory.path / "recipe.yaml")
    if (directory.path / EXCLUDED).is_file():
        recipe = recipe_io.set_knob(recipe, "data.exclude", str(directory.path / EXCLUDED))
    if (directory.path / MOVED).is_file():
        source = str(directory.read_json(MOVED)["source"])
        recipe = recipe_io.set_knob(recipe, "data.source", source)
    decided = directory.read_json("resolved.json")
    try:
        settled = recipe_io.with_overrides(recipe, {k: v["value"] for k, v in decided.items()})
    except (KeyError, TypeError, RecipeError) as error:
        raise RunError(f"{directory.path / 'resolved.json'} is damaged: {error}") from None
    if settled.model.weights == "auto":  # a run from before networks could start from weights
        return recipe_io.set_knob(settled, "model.weights", NONE)
    return settled


def keep_place(directory: RunDirectory, source: str | Path) -> None:
    """Remember where the data of a run are now."""
    write_json(directory.path / MOVED, {"source": lasting(str(source))})


def refuse_lost_data(directory: RunDirectory, source: Any, verb: str) -> None:
    """Raise RunError where a run's own data are not there any more."""
    if not isinstance(source, str | Path) or is_there(str(source)):
        return
    raise RunError(
        f"the data of {directory.path} are no longer at {source}",
        f"If they were moved, say where they are now: {verb}",
    )


def refuse_other_data(directory: RunDirectory, data: PreparedData) -> None:
    """Raise RunError where the images are not those that the run began with."""
    known = directory.read_json("dataset.json")["splits"]
    for name, value in data.fingerprints.items():
        if UNKNOWN in (value, known.get(name, {}).get("fingerprint")):
            continue  # not all images were read, so nothing can be compared
        if known.get(name, {}).get("fingerprint") != value:
            raise RunError(
                f"the {name} images of {data.dataset.source} changed since {directory.path} began",
                "Restore them, or train anew.",
            )
