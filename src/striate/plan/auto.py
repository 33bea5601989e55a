"""What "auto" becomes. Every decision is recorded with its reason, for resolved.json and the user.

This is the builder: it unpacks the recipe, and below it functions take plain arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import RecipeError, perhaps
from striate.core.recipe import Recipe
from striate.core.recipe_io import get_knob, set_knob
from striate.core.runtime import device_memory, free_memory
from striate.models.initialise import INITIALISERS
from striate.models.zoo import TAKES_STEM, build, check_name, takes_grey
from striate.optim.rules import SHALLOW, UPDATE_RULES, default_rate, find_rule
from striate.optim.schedules import SCHEDULES, find_schedule
from striate.tasks.losses import LOSSES

OPT_OUTS = ("wrong-extension", "leakage")
"""Faults of the data that `--allow` accepts."""
LARGEST_AUTO_SIZE = 224
SMALL_STEM_BELOW = 96
CUTOUT_FROM_EPOCHS = 16
SHIFT_VIEWS_FROM = 24
PLAIN_STRENGTHS = (
    "rotate", "affine", "vertical_flip", "brightness", "contrast", "saturation", "hue",
    "principal_colours", "greyscale", "blur", "random_erasing", "mixup", "cutmix",
)  # fmt: skip
"""Knobs of augmentation whose value is the strength."""
MEMORY_SHARE = 0.6
"""Of the free memory, for what a step keeps for its backward pass; the rest is for gradients."""
SELECTIVE_UP_TO = 2_000_000
"""Beyond so many images a training of four epochs has no time to tell easy from hard."""
STORE_MARGIN = 0.875
"""Random resized crops are cut from images that are larger by this factor, as 224 of 256."""


@dataclass
class Decisions:
    """A recipe whose "auto" knobs are settled one by one, and why."""

    recipe: Recipe
    made: dict[str, dict[str, Any]] = field(default_factory=dict)

    def settle(self, knob: str, choose: Callable[[], tuple[Any, str]]) -> Any:
        """The knob's value; if it is "auto", what `choose` says, with its reason."""
        value = get_knob(self.recipe, knob)
        if value != "auto":
            return value
        value, why = choose()
        return self.decide(knob, value, why)

    def default(self, knob: str, value: Any, why: str) -> Any:
        """`settle` for a value that costs nothing to name."""
        return self.settle(knob, lambda: (value, why))

    def decide(self, knob: str, value: Any, why: str) -> Any:
        self.made[knob] = {"value": value, "why": why}
        self.recipe = set_knob(self.recipe, knob, value)
        return value


def check_used(recipe: Recipe) -> None:
    """Refuse unknown names, and a knob that the chosen rule, schedule, crop … does not use."""
    _check_names(recipe)
    name, schedule = _usual_rule(recipe)[0], find_schedule(recipe.schedule.name)
    unused = [
        *_foreign(recipe, "optim", name, find_rule(name).knobs, ("momentum", "rho", "eps")),
        *_foreign(
            recipe, "schedule", recipe.schedule.name, schedule.defaults, ("gamma", "step_epochs")
        ),
    ]
    crop, loss = recipe.augment.crop, recipe.loss.name
    conditions = {
        "augment.crop_padding": (crop in ("auto", "pad"), "crop is " + crop),
        "augment.crop_scale": (crop == "resized", "crop is " + crop),
        "augment.policy_strength": (
            recipe.augment.policy != "none", f"policy is {recipe.augment.policy}",
        ),
        "model.width": (recipe.model.name == "fastnet", f"model is {recipe.model.name}"),
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
    data, augment = recipe.data, recipe.augment
    stored_larger = augment.crop in ("resized", "window")
    rules = {
        "augment.test_views: ten_crop needs images that are stored larger: crop resized or window":
            augment.test_views == "ten_crop" and not stored_larger,
        "data.group_by and data.time_by both given: a group may last for long":
            bool(data.group_by and data.time_by),
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
    check_name(recipe.model.name)
    for knob, known in (("loss.name", LOSSES), ("model.initialiser", INITIALISERS)):
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


Headers = dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]


def settle_shape(at: Decisions, headers: Headers) -> None:
    """Input size and channels, from (sides (K, 2), channels (K,)) of each split's images."""
    sides, channels = headers["train"]
    if not len(channels):
        return  # nothing can be read: the list of bad images follows
    at.settle("data.image_size", lambda: _median_side(sides))
    name = at.recipe.model.name
    grey = all((stored == 1).all() for _, stored in headers.values())

    def choose_channels() -> tuple[int, str]:
        if not grey:
            return 3, "there are colour images"
        if takes_grey(name):
            return 1, "every image is stored grey"
        return 3, f"{name} takes 3 channels: grey is repeated"

    at.settle("data.channels", choose_channels)
    if name in TAKES_STEM:
        at.settle("model.small_stem", lambda: _small_stem(at.recipe.data.image_size))
    at.default("model.whiten", name == "fastnet", "as fastnet is meant to start")
    if name == "fastnet":
        at.settle(
            "model.width",
            lambda: (
                (0.75, "grey images") if at.recipe.data.channels == 1 else (1.0, "colour images")
            ),
        )


def _median_side(sides: Any) -> tuple[int, str]:
    median = float(np.median(sides))
    size = int(min(LARGEST_AUTO_SIZE, max(8, 8 * int(median / 8 + 0.5))))
    return size, f"the median side is {median:g} pixels"


def _small_stem(size: Any) -> tuple[bool, str]:
    return size < SMALL_STEM_BELOW, f"images have {size} pixels a side"


def settle_memory(at: Decisions, needed: int) -> bool:
    """Whether all splits live decoded in memory, `needed` bytes in total."""
    limit = at.settle(
        "data.memory_mb", lambda: (free_memory() // 4 // 2**20, "a quarter of the free memory")
    )
    return needed <= limit * 2**20


def settle_micro_batch(at: Decisions, share: int, each: int) -> None:
    """Parts in which a process's share of a batch fits into memory, `each` bytes an image."""
    free = device_memory(at.recipe.device.device)
    most = int(MEMORY_SHARE * free / each) if each else share
    parts = -(-share // max(2, most))

    def choose() -> tuple[int, str]:
        if parts == 1:
            return 0, f"{share} images need {share * each / 2**20:,.0f} MB"
        return -(-share // parts), f"{most} images fit into {free / 2**30:.1f} GB"

    at.settle("device.micro_batch", choose)


def settle_augmentation(at: Decisions, flip: Callable[[], tuple[bool, str]]) -> dict[str, float]:
    """Strengths of the augmentations; `flip` is asked only if it is left open."""
    size = at.recipe.data.image_size
    assert size != "auto"
    crop = at.settle("augment.crop", lambda: ("pad", "the default for short trainings"))
    strengths: dict[str, float] = {}
    if crop == "pad":
        why = f"a sixteenth of {size} pixels"
        strengths["pad"] = at.settle(
            "augment.crop_padding", lambda: (max(1, round(size / 16)), why)
        )
    if crop == "resized":
        at.settle("augment.crop_scale", lambda: (0.35, "mild crops suit short trainings"))
        strengths["resized"] = 1 - float(at.recipe.augment.crop_scale)
    strengths["window"] = float(crop == "window")
    for name in PLAIN_STRENGTHS:
        strengths[name] = float(getattr(at.recipe.augment, name))
    strengths["vertical_flip"] /= 2
    policy = at.recipe.augment.policy
    if policy != "none":
        usual = {"trivial": (1.0, "all magnitudes"), "rand": (0.3, "M = 9 of 30")}[policy]
        strengths[policy] = at.settle("augment.policy_strength", lambda: usual)
    mirrored = at.settle("augment.flip", flip)
    strengths["flip"] = 0.5 if mirrored else 0.0
    if at.recipe.budget.epochs != "auto":  # with --minutes they are not known yet
        strengths["cutout"] = at.settle("augment.cutout", lambda: _cutout(at.recipe))
    at.settle("augment.test_views", lambda: _test_views(size, mirrored=mirrored))
    return strengths


def _cutout(recipe: Recipe) -> tuple[int, str]:
    epochs, size = recipe.budget.epochs, recipe.data.image_size
    assert size != "auto"
    assert epochs != "auto"
    if epochs < CUTOUT_FROM_EPOCHS:
        return 0, f"fewer than {CUTOUT_FROM_EPOCHS} epochs learn more without"
    return size // 4, "a quarter of the side"


def _test_views(size: int, *, mirrored: bool) -> tuple[str, str]:
    flips = "trained with flips" if mirrored else "trained without flips"
    if size < SHIFT_VIEWS_FROM:
        kind = "flip" if mirrored else "single"
        return kind, f"{flips}; a pixel is too far to shift {size}-pixel images"
    return ("flip_shift" if mirrored else "shift"), flips


def store_size(recipe: Recipe) -> int:
    """Side at which images are kept: larger than the input for random resized crops."""
    size = recipe.data.image_size
    assert size != "auto"
    return round(size / STORE_MARGIN) if recipe.augment.crop in ("resized", "window") else size


def settle_training(
    at: Decisions, images: int, *, multi_label: bool, normalised: bool, layers: int
) -> None:
    """Loss, batch size, rates, regularisers and epochs. layers: that have weights."""
    loss = at.settle("loss.name", lambda: _default_loss(multi_label))
    if loss == "cross_entropy":
        quick = at.recipe.model.name == "fastnet"
        why = "fastnet's short trainings" if quick else "the default of cross-entropy"
        at.default("loss.label_smoothing", 0.2 if quick else 0.1, why)
    at.settle("data.sampler", lambda: _sampler(at.recipe, images))
    batch = min(images, at.settle("optim.batch_size", lambda: _batch_size(images)))
    at.settle("optim.rule", lambda: _usual_rule(at.recipe))
    rule = find_rule(at.recipe.optim.rule)
    for knob, value in rule.knobs.items():
        at.default(f"optim.{knob}", value, f"{at.recipe.optim.rule}'s usual value")
    shallow = "shallow " if layers <= SHALLOW else ""
    kind = "network with" if normalised else f"{shallow}network without"
    name = at.recipe.optim.rule
    why = f"{name}, batches of {batch}, a {kind} normalisation"
    rate = default_rate(name, batch, normalised=normalised, layers=layers)
    at.settle("optim.lr", lambda: (rate, why))
    at.settle("regularise.l2", lambda: _weight_decay(at.recipe.optim.rule))
    if at.recipe.regularise.average == "ema":
        at.settle("regularise.average_decay", lambda: (0.998, "the default"))
    if at.recipe.budget.minutes is None:
        settle_epochs(at, images)
        settle_schedule(at)


def settle_epochs(at: Decisions, images: int) -> int:
    """Passes over the data: few for large sets, many for small ones."""
    epochs: int = at.settle("budget.epochs", lambda: _epochs(images, at.recipe.data.channels == 1))
    return epochs


def settle_schedule(at: Decisions) -> None:
    """The knobs of the schedule, some of which depend on the epochs."""
    epochs = at.recipe.budget.epochs
    assert epochs != "auto"
    name = at.recipe.schedule.name
    if name == "one_cycle" and at.recipe.optim.rule == "muon":
        at.default("schedule.warmup", 0.0, "muon's steps are of one length from the start")
    for knob, value in find_schedule(name).defaults.items():
        if knob == "step_epochs":
            at.default("schedule.step_epochs", epochs / 3, "a third of the training")
        else:
            at.default(f"schedule.{knob}", value, f"{name}'s usual value")


def _usual_rule(recipe: Recipe) -> tuple[str, str]:
    """The chosen rule, or the network's usual one."""
    if recipe.optim.rule != "auto":
        return recipe.optim.rule, "chosen"
    usual = "muon" if recipe.model.name == "fastnet" else "nesterov"
    return usual, f"{recipe.model.name}'s usual rule"


def _default_loss(multi_label: bool) -> tuple[str, str]:
    if multi_label:
        return "sigmoid", "several labels an image"
    return "cross_entropy", "one label an image"


def _sampler(recipe: Recipe, images: int) -> tuple[str, str]:
    if recipe.model.name != "fastnet" or images > SELECTIVE_UP_TO:
        return "uniform", "the default"
    return "selective", "short trainings learn more from what is not learnt yet"


def _batch_size(images: int) -> tuple[int, str]:
    sixteenth = 2 ** int(np.log2(max(8, images / 16)))
    size = int(min(256, max(8, sixteenth)))
    return size, f"{images:,} training images"


def _weight_decay(rule: str) -> tuple[float, str]:
    value = {"adamw": 0.05, "adam": 0.0, "rmsprop": 0.0, "adagrad": 0.0, "muon": 1.5e-3}.get(
        rule, 5e-4
    )
    return value, f"{rule}'s usual value"


def _epochs(images: int, grey: bool) -> tuple[int, str]:
    """Image presentations are held near a constant: 330,000, for grey images 400,000."""
    presentations = 400_000 if grey else 330_000
    epochs = int(min(40, max(4, round(presentations / images))))
    return epochs, f"about {presentations:,} {'grey ' * grey}images in all, 4 to 40 epochs"


def build_network(recipe: Recipe, classes: int) -> Any:
    """The backbone that the recipe names, for `classes` outputs.

    Raises ModelError if it does not take a knob that the recipe sets.
    """
    return build(
        recipe.model.name,
        num_classes=classes,
        channels=recipe.data.channels,
        image_size=recipe.data.image_size,
        insist=_insisted(recipe),
    )


def _insisted(recipe: Recipe) -> dict[str, Any]:
    knobs: dict[str, Any] = {}
    if recipe.model.width != "auto":
        knobs["width"] = recipe.model.width
    if recipe.model.small_stem != "auto":
        knobs["small_stem"] = recipe.model.small_stem
    if recipe.regularise.dropout:
        knobs["dropout"] = recipe.regularise.dropout
    return knobs
