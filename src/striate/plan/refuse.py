"""What a recipe must not say: unknown names, and knobs that nothing uses or that contradict."""

from __future__ import annotations

from striate.core.errors import RecipeError, perhaps
from striate.core.recipe import Recipe
from striate.core.recipe_io import get_knob
from striate.models.initialise import INITIALISERS
from striate.models.pretrained.catalogue import NONE
from striate.models.zoo import check_name
from striate.optim.rules import UPDATE_RULES, find_rule
from striate.optim.schedules import SCHEDULES, find_schedule
from striate.plan.auto import usual_rule
from striate.plan.weights import PARTIAL
from striate.tasks import known_losses

OPT_OUTS = ("wrong-extension", "leakage", PARTIAL)
"""Faults of the data and of weights that `--allow` accepts."""


def check_used(recipe: Recipe) -> None:
    """Refuse unknown names, and a knob that the chosen rule, schedule, crop … does not use."""
    _check_names(recipe)
    name, schedule = usual_rule(recipe)[0], find_schedule(recipe.schedule.name)
    unused = [
        *_foreign(recipe, "optim", name, find_rule(name).knobs, ("momentum", "rho", "eps")),
        *_foreign(
            recipe, "schedule", recipe.schedule.name, schedule.defaults, ("gamma", "step_epochs")
        ),
    ]
    crop, loss = recipe.augment.crop, recipe.loss.name
    started, unweighted = recipe.model.weights != NONE, "there are no model.weights to start from"
    conditions = {
        "augment.crop_padding": (crop in ("auto", "pad"), "crop is " + crop),
        "augment.crop_scale": (crop in ("resized", "zoom"), "crop is " + crop),
        "augment.policy_strength": (
            recipe.augment.policy != "none", f"policy is {recipe.augment.policy}",
        ),
        "model.width": (
            recipe.model.name in ("auto", "fastnet"), f"model is {recipe.model.name}",
        ),
        "model.freeze": (started, unweighted),
        "model.freeze_norm": (started, unweighted),
        "model.head": (started, unweighted),
        "optim.backbone_rate": (started, unweighted),
        "model.init_std": (
            recipe.model.initialiser == "gaussian", f"initialiser is {recipe.model.initialiser}",
        ),
        "loss.label_smoothing": (loss in ("auto", "cross_entropy"), f"loss is {loss}"),
        "regularise.average_decay": (recipe.regularise.average != "none", "average is none"),
    }  # fmt: skip
    for knob, (used, why) in conditions.items():
        if not used and get_knob(recipe, knob) != "auto":
            unused.append(f"{knob}: not used: {why}")
    unused += _contradictions(recipe)
    if recipe.budget.minutes is not None and recipe.budget.epochs != "auto":
        unused.append("budget.epochs and budget.minutes both given: one follows from the other")
    if unused:
        raise RecipeError("\n".join(unused), "Leave these knobs out, or change what uses them.")


def _contradictions(recipe: Recipe) -> list[str]:
    """Pairs of knobs of which one makes the other meaningless."""
    data, augment, model = recipe.data, recipe.augment, recipe.model
    started, named = model.weights != NONE, model.weights not in (NONE, "auto")
    stored_larger = augment.crop in ("resized", "window")
    rules = {
        "augment.test_views: ten_crop needs images that are stored larger: crop resized or window":
            augment.test_views == "ten_crop" and not stored_larger,
        "data.group_by and data.time_by both given: a group may last for long":
            bool(data.group_by and data.time_by),
        "optim.layer_decay: not used: there are no model.weights to start from":
            recipe.optim.layer_decay != 1 and not started,
        "data.prepare: weights needs model.weights to start from":
            data.prepare == "weights" and not started,
        f"model.initialiser: not used: the network starts from {model.weights}":
            model.initialiser != "auto" and named,
        f"model.whiten: not used: the network starts from {model.weights}":
            model.whiten is True and named,
        f"data.folds: {data.folds} folds; two or more are needed": data.folds == 1,
        f"data.fold: {data.fold} of {data.folds} folds": data.fold > data.folds,
        "data.folds: the latest images are one part, not several (data.time_by)":
            bool(data.folds and data.time_by),
        "data.weight_by: not used: sampler is " + data.sampler:
            bool(data.weight_by) and data.sampler != "weighted",
        "data.sampler: weighted needs data.weight_by, a CSV column":
            data.sampler == "weighted" and not data.weight_by,
    }  # fmt: skip
    return [text for text, broken in rules.items() if broken]


def _check_names(recipe: Recipe) -> None:
    if recipe.model.name != "auto":
        check_name(recipe.model.name)
    for knob, known in (("loss.name", known_losses()), ("model.initialiser", INITIALISERS)):
        name = get_knob(recipe, knob)
        if name != "auto" and name not in known:
            raise RecipeError(f"{knob}: unknown '{name}'", perhaps(name, [*known, "auto"]))
    for opt_out in recipe.data.allow:
        if opt_out not in OPT_OUTS:
            raise RecipeError(f"data.allow: unknown '{opt_out}'", perhaps(opt_out, OPT_OUTS))


def _foreign(
    recipe: Recipe, group: str, chosen: str, uses: dict[str, float], names: tuple[str, ...]
) -> list[str]:
    members = UPDATE_RULES if group == "optim" else SCHEDULES
    lines = []
    for name in names:
        if name not in uses and get_knob(recipe, f"{group}.{name}") != "auto":
            users = [
                n
                for n, m in members.items()
                if name in getattr(m, "knobs", getattr(m, "defaults", {}))
            ]
            lines.append(f"{group}.{name}: {chosen} does not use it ({', '.join(users)} do)")
    return lines
