"""A settled recipe in a few sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from striate.core.recipe import Recipe
from striate.core.records import Planned
from striate.plan.settled import strengths_of

_CHANGES = {
    "pad": "moved by up to {:g} px", "flip": "mirrored with probability {:g}",
    "vertical_flip": "turned upside down with probability {:g}",
    "window": "cropped from larger ones",
    "resized": "cropped and resized, by up to {:g} of the area",
    "rotate": "turned by up to {:g}°", "cutout": "a square of {:g} pixels covered",
    "zoom": "cut or surrounded, by up to {:g} of the area",
    "mixup": "mixed in pairs (MixUp, α = {:g})", "cutmix": "patched in pairs (CutMix, α = {:g})",
    "mosaic": "put together in fours with probability {:g} (mosaics)",
}  # fmt: skip
_VIEWS = {
    "single": "one view", "flip": "the mean of an image and its mirror image",
    "shift": "the mean of three places", "flip_shift": "the mean of three places and their mirror "
    "images", "ten_crop": "the mean of ten crops", "auto": "one view",
}  # fmt: skip
_PREPARED = {
    "auto": "each channel centred and divided by its deviation",  # of runs before this knob
    "weights": "prepared as the weights were trained with",
    "standardise": "each channel centred and divided by its deviation",
    "mean_image": "less the mean image", "unit": "scaled to 0 to 1",
    "symmetric": "scaled to -1 to 1", "whiten": "with decorrelated channels",
}  # fmt: skip


def in_words(recipe: Recipe, planned: Planned | None) -> list[str]:
    """The settled recipe in a few sentences."""
    r = recipe
    size = f"{r.data.image_size} × {r.data.image_size} pixels"
    colour = "grey" if r.data.channels == 1 else "colour"
    steps = f", {planned.steps:,} steps" if planned else ""
    rates = f"{r.optim.lr:g}" if isinstance(r.optim.lr, float) else str(r.optim.lr)
    changes = [
        _CHANGES.get(name, name.replace("_", " ") + " {:g}").format(value)
        for name, value in strengths_of(r).items()
        if value
    ]
    smoothing = (
        f" with label smoothing {r.loss.label_smoothing:g}"
        if isinstance(r.loss.label_smoothing, float) and r.loss.label_smoothing
        else ""
    )
    regular = [
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in vars(r.regularise).items()
        if isinstance(value, float) and value and name != "average_decay"
    ]
    if r.regularise.average != "none":
        regular.append("an average of the weights (EMA)")
    if r.optim.clip_norm:
        regular.append(f"gradients clipped at {r.optim.clip_norm:g}")
    if r.regularise.patience:
        regular.append(f"stopping after {r.regularise.patience} epochs without a better score")
    return [
        f"{r.model.name} from {_begin(r)}, on {colour} images of {size}, "
        f"{_PREPARED[r.data.prepare]}.",
        f"The loss is {r.loss.name.replace('_', '-')}{smoothing}; updates by {r.optim.rule} at a "
        f"rate of up to {rates} in batches of {r.optim.batch_size}, schedule "
        f"{r.schedule.name.replace('_', ' ')}, {r.budget.epochs} epochs{steps}.",
        f"Regularised by {', '.join(regular)}." if regular else "No weight is regularised.",
        f"Training images are varied: {', '.join(changes)}." if changes
        else "Training images are not varied.",
        f"Scored by {_VIEWS[r.augment.test_views]}; the "
        f"checkpoint with the best validation score is kept. Seed {r.seed}, {r.device.precision} "
        f"on {r.device.device}.",
    ]  # fmt: skip


def origin_in_words(weights: Mapping[str, Any], score: str) -> str:
    """Where the weights came from that a run started from, by its weights.json."""
    taken = len(weights["tensors"])
    probe = weights.get("probe")
    worth = (
        f" A linear classifier on their features had {score.replace('_', ' ')} {probe:.3f} in "
        "cross-validation before the training."
        if probe is not None
        else ""
    )
    return (
        f"The weights {weights['name']} are of {weights['architecture']}, trained on "
        f"{weights['trained_on']} ({weights['accuracy']}). Source: {weights['source']}; licence: "
        f"{weights['licence']}. {taken} of their tensors were taken.{worth}"
    )


def advice_in_words(advice: Mapping[str, Any]) -> str:
    """What `striate transfer` measured before the training, by the run's advice.json."""
    low, high = advice["interval"]
    name = advice["score"].replace("_", " ")
    return (
        f"Short trainings chose how the weights change: {advice['finding']['text']}. "
        f"They expected {name} {advice['predicted']:.3f} ({low:.3f} to {high:.3f}) on new images."
    )


def _begin(recipe: Recipe) -> str:
    """What the network started from, and what of it learnt."""
    weights, freeze = recipe.model.weights, recipe.model.freeze
    if weights == "none":
        return "first weights of its own"
    kept = {0: "", "auto": "", "backbone": ", of which only the head learnt"}
    stages = f", of which the first {freeze} stages were kept"
    return f"the weights {weights}{kept.get(freeze, stages)}"
