"""Deciding: what "auto" becomes, with the reason of each decision, for resolved.json and the user.

Nothing here derives anything from a decision; `settled` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.recipe import Recipe
from striate.core.runtime import device_memory, free_memory
from striate.data.targets import Targets
from striate.models.zoo import TAKES_STEM, takes_grey
from striate.optim.rules import SHALLOW, default_rate, find_rule
from striate.optim.schedules import find_schedule
from striate.plan.decisions import Decisions
from striate.plan.settled import known
from striate.tasks import usual_loss

LARGEST_AUTO_SIZE = 224
SMALL_STEM_BELOW = 96
CUTOUT_FROM_EPOCHS = 16
SHIFT_VIEWS_FROM = 24
MEMORY_SHARE = 0.6
"""Of the free memory, for what a step keeps for its backward pass; the rest is for gradients."""
SELECTIVE_UP_TO = 2_000_000
"""With more training images than this, four epochs are too few to tell easy from hard."""


Headers = dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]


def settle_shape(decisions: Decisions, headers: Headers) -> None:
    """Input size and channels, from (sides (K, 2), channels (K,)) of each split's images."""
    sides, channels = headers["train"]
    if not len(channels):
        return  # nothing can be read: the list of bad images follows
    decisions.settle("data.image_size", lambda: _median_side(sides))
    name = decisions.recipe.model.name
    grey = all((stored == 1).all() for _, stored in headers.values())

    def choose_channels() -> tuple[int, str]:
        if not grey:
            return 3, "there are colour images"
        if takes_grey(name):
            return 1, "every image is stored grey"
        return 3, f"{name} takes 3 channels: grey is repeated"

    decisions.settle("data.channels", choose_channels)
    if name in TAKES_STEM:
        decisions.settle("model.small_stem", lambda: _small_stem(decisions.recipe.data.image_size))
    decisions.default("model.whiten", name == "fastnet", "as fastnet is meant to start")
    if name == "fastnet":
        decisions.settle(
            "model.width",
            lambda: (
                (0.75, "grey images")
                if decisions.recipe.data.channels == 1
                else (1.0, "colour images")
            ),
        )


def _median_side(sides: Any) -> tuple[int, str]:
    median = float(np.median(sides))
    size = int(min(LARGEST_AUTO_SIZE, max(8, 8 * int(median / 8 + 0.5))))
    return size, f"the median side is {median:g} pixels"


def _small_stem(size: Any) -> tuple[bool, str]:
    return size < SMALL_STEM_BELOW, f"images have {size} pixels a side"


def settle_memory(decisions: Decisions, needed: int) -> bool:
    """Whether all splits live decoded in memory, `needed` bytes in total."""
    limit = decisions.settle(
        "data.memory_mb", lambda: (free_memory() // 4 // 2**20, "a quarter of the free memory")
    )
    return needed <= limit * 2**20


def settle_micro_batch(decisions: Decisions, share: int, each: int) -> None:
    """Parts in which a process's share of a batch fits into memory, `each` bytes an image."""
    free = device_memory(decisions.recipe.device.device)
    most = int(MEMORY_SHARE * free / each) if each else share
    parts = -(-share // max(2, most))

    def choose() -> tuple[int, str]:
        if parts == 1:
            return 0, f"{share} images need {share * each / 2**20:,.0f} MB"
        return -(-share // parts), f"{most} images fit into {free / 2**30:.1f} GB"

    decisions.settle("device.micro_batch", choose)


def settle_augmentation(decisions: Decisions, flip: Callable[[], tuple[bool, str]]) -> None:
    """How strongly images are varied; `flip` is asked only if that is left open."""
    size = known(decisions.recipe.data.image_size, "data.image_size")
    crop = decisions.settle("augment.crop", lambda: ("pad", "the default for short trainings"))
    if crop == "pad":
        why = f"a sixteenth of {size} pixels"
        decisions.default("augment.crop_padding", max(1, round(size / 16)), why)
    if crop == "resized":
        decisions.default("augment.crop_scale", 0.35, "mild crops suit short trainings")
    policy = decisions.recipe.augment.policy
    if policy != "none":
        usual = {"trivial": (1.0, "all magnitudes"), "rand": (0.3, "M = 9 of 30")}[policy]
        decisions.settle("augment.policy_strength", lambda: usual)
    mirrored = decisions.settle("augment.flip", flip)
    if decisions.recipe.budget.epochs != "auto":  # with --minutes they are not known yet
        decisions.settle("augment.cutout", lambda: _cutout(decisions.recipe))
    decisions.settle("augment.test_views", lambda: _test_views(size, mirrored=mirrored))


def _cutout(recipe: Recipe) -> tuple[int, str]:
    epochs = known(recipe.budget.epochs, "budget.epochs")
    size = known(recipe.data.image_size, "data.image_size")
    if epochs < CUTOUT_FROM_EPOCHS:
        return 0, f"fewer than {CUTOUT_FROM_EPOCHS} epochs learn more without"
    return size // 4, "a quarter of the side"


def _test_views(size: int, *, mirrored: bool) -> tuple[str, str]:
    flips = "trained with flips" if mirrored else "trained without flips"
    if size < SHIFT_VIEWS_FROM:
        kind = "flip" if mirrored else "single"
        return kind, f"{flips}; a pixel is too far to shift {size}-pixel images"
    return ("flip_shift" if mirrored else "shift"), flips


def settle_loss(decisions: Decisions, targets: Targets) -> None:
    """The loss that is usual for such targets."""
    decisions.settle("loss.name", lambda: (usual_loss(targets.kind), targets.described))


def settle_training(
    decisions: Decisions, images: int, *, normalised: bool, layers: int, per_image: bool
) -> None:
    """Batch size, rates, regularisers and epochs. layers: how many have weights; per_image: whether
    the loss is a sum over images, so that a sampler may go by it."""
    loss = decisions.recipe.loss.name
    if loss == "cross_entropy":
        quick = decisions.recipe.model.name == "fastnet"
        why = "fastnet's short trainings" if quick else "the default of cross-entropy"
        decisions.default("loss.label_smoothing", 0.2 if quick else 0.1, why)
    decisions.settle("data.sampler", lambda: _sampler(decisions.recipe, images, per_image))
    batch = min(images, decisions.settle("optim.batch_size", lambda: _batch_size(images)))
    decisions.settle("optim.rule", lambda: usual_rule(decisions.recipe))
    rule = find_rule(decisions.recipe.optim.rule)
    for knob, value in rule.knobs.items():
        decisions.default(f"optim.{knob}", value, f"{decisions.recipe.optim.rule}'s usual value")
    shallow = "shallow " if layers <= SHALLOW else ""
    kind = "network with" if normalised else f"{shallow}network without"
    name = decisions.recipe.optim.rule
    why = f"{name}, batches of {batch}, a {kind} normalisation"
    rate = default_rate(name, batch, normalised=normalised, layers=layers)
    decisions.settle("optim.lr", lambda: (rate, why))
    decisions.settle("regularise.l2", lambda: _weight_decay(decisions.recipe.optim.rule))
    if decisions.recipe.regularise.average == "ema":
        decisions.settle("regularise.average_decay", lambda: (0.998, "the default"))
    if decisions.recipe.budget.minutes is None:
        settle_epochs(decisions, images)
        settle_schedule(decisions)


def settle_epochs(decisions: Decisions, images: int) -> int:
    """Passes over the data: few for large sets, many for small ones."""
    epochs: int = decisions.settle(
        "budget.epochs", lambda: _epochs(images, decisions.recipe.data.channels == 1)
    )
    return epochs


def settle_schedule(decisions: Decisions) -> None:
    """The knobs of the schedule, some of which depend on the epochs."""
    epochs = known(decisions.recipe.budget.epochs, "budget.epochs")
    name = decisions.recipe.schedule.name
    if name == "one_cycle" and decisions.recipe.optim.rule == "muon":
        decisions.default("schedule.warmup", 0.0, "muon's steps are of one length from the start")
    for knob, value in find_schedule(name).defaults.items():
        if knob == "step_epochs":
            decisions.default("schedule.step_epochs", epochs / 3, "a third of the training")
        else:
            decisions.default(f"schedule.{knob}", value, f"{name}'s usual value")


def usual_rule(recipe: Recipe) -> tuple[str, str]:
    """The chosen rule, or the network's usual one."""
    if recipe.optim.rule != "auto":
        return recipe.optim.rule, "chosen"
    usual = "muon" if recipe.model.name == "fastnet" else "nesterov"
    return usual, f"{recipe.model.name}'s usual rule"


def _sampler(recipe: Recipe, images: int, per_image: bool) -> tuple[str, str]:
    if not per_image:
        return "uniform", "the loss does not belong to single images"
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
