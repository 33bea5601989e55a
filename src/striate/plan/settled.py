"""`Settled`: the recipe with every "auto" decided, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from striate.core.errors import RunError
from striate.core.recipe import Recipe
from striate.data.decode import Resize, Unified
from striate.optim.rules import find_rule
from striate.tasks import make_task
from striate.tasks.task import Task

T = TypeVar("T")
STORE_MARGIN = 0.875
"""Random resized crops are cut from images that are larger by this factor, as 224 of 256."""
PLAIN_STRENGTHS = (
    "rotate", "affine", "vertical_flip", "brightness", "contrast", "saturation", "hue",
    "principal_colours", "greyscale", "blur", "random_erasing", "mixup", "cutmix",
)  # fmt: skip
"""Knobs of augmentation whose value is the strength."""


@dataclass(frozen=True)
class Architecture:
    """Which network, for images of which shape; None: not said, the network has its own."""

    name: str
    image_size: int
    channels: int
    width: float | None
    small_stem: bool | None
    dropout: float


@dataclass(frozen=True)
class Settled:
    """What builders take instead of a recipe. Sides are in pixels, 0 and None mean "not used"."""

    seed: int
    # data
    image_size: int
    channels: int
    stored_size: int
    """Side at which images are kept: larger than the input for random resized crops."""
    resize: Resize
    max_megapixels: float
    interpolation: Literal["bilinear", "bicubic"]
    prepare: Literal["weights", "standardise", "mean_image", "unit", "symmetric", "whiten"]
    sampler: str
    threads: int
    """Threads that load and augment ahead."""
    # augmentation
    strengths: Mapping[str, float]
    test_views: str
    # network
    architecture: Architecture
    weights: str
    """What the network starts from; "none": first weights of its own."""
    frozen_stages: int | Literal["backbone"]
    norm_frozen: bool
    """Whether batch norm layers keep the averages that came with the weights."""
    kept_views: int
    """Views of each image whose outputs of the frozen part are kept; 0: none."""
    probed_head: bool
    """Whether the head starts as a linear classifier on the weights' features."""
    backbone_rate: float
    layer_decay: float
    initialiser: str
    init_std: float
    bias: float | None
    whiten: bool
    # loss and update rule
    detector: str
    """For boxes: which; "" for other targets."""
    loss: str
    smoothing: float
    rule: str
    rule_knobs: Mapping[str, float]
    lr: float
    l2: float
    l1: float
    clip_norm: float
    max_norm: float
    average_decay: float | None
    batch_size: int
    micro_batch: int
    # schedule and budget
    epochs: int
    schedule: str
    warmup: float
    gamma: float | Literal["auto"]
    step_epochs: float | Literal["auto"]
    patience: int
    save_steps: int
    save_minutes: float
    # device
    device: str
    precision: str
    channels_last: bool
    sync_norm: bool
    measure: bool

    def stages_frozen(self, count: int) -> int:
        """How many of `count` stages before the head are frozen."""
        return count if self.frozen_stages == "backbone" else self.frozen_stages

    @property
    def shape(self) -> Unified:
        """How every image becomes the same shape."""
        return Unified(
            self.stored_size, self.channels, self.resize, self.max_megapixels, self.interpolation
        )


def settled_of(recipe: Recipe) -> Settled:
    """The plain values of a recipe. Raises RunError for a knob that is still open."""
    r = recipe
    loss, rule = known(r.loss.name, "loss.name"), known(r.optim.rule, "optim.rule")
    lr = r.optim.lr
    if not isinstance(lr, float):
        raise RunError(f"optim.lr is still open ('{lr}')")
    return Settled(
        seed=r.seed,
        image_size=known(r.data.image_size, "data.image_size"),
        channels=known(r.data.channels, "data.channels"),
        stored_size=stored_size(r),
        resize=or_else(r.data.resize, "crop"),
        max_megapixels=r.data.max_megapixels,
        interpolation=or_else(r.data.interpolation, "bilinear"),
        prepare=or_else(r.data.prepare, "standardise"),
        sampler=r.data.sampler,
        threads=or_else(r.data.workers, 1),
        strengths=strengths_of(r),
        test_views=r.augment.test_views,
        architecture=architecture_of(r),
        weights=r.model.weights,
        frozen_stages=or_else(r.model.freeze, 0),
        norm_frozen=r.model.freeze_norm is True,
        kept_views=0 if or_else(r.model.freeze, 0) == 0 else or_else(r.model.kept_views, 0),
        probed_head=r.model.head == "probe",
        backbone_rate=or_else(r.optim.backbone_rate, 1.0),
        layer_decay=r.optim.layer_decay,
        initialiser=r.model.initialiser,
        init_std=or_else(r.model.init_std, 0.001),
        bias=or_else(r.model.bias, None),
        whiten=r.model.whiten is True,
        detector=or_else(r.model.detector, ""),
        loss=loss,
        smoothing=or_else(r.loss.label_smoothing, 0.0),
        rule=rule,
        rule_knobs={k: getattr(r.optim, k) for k in find_rule(rule).knobs},
        lr=lr,
        l2=known(r.regularise.l2, "regularise.l2"),
        l1=r.regularise.l1,
        clip_norm=r.optim.clip_norm,
        max_norm=r.regularise.max_norm,
        average_decay=or_else(r.regularise.average_decay, None),
        batch_size=known(r.optim.batch_size, "optim.batch_size"),
        micro_batch=or_else(r.device.micro_batch, 0),
        epochs=known(r.budget.epochs, "budget.epochs"),
        schedule=r.schedule.name,
        warmup=known(r.schedule.warmup, "schedule.warmup"),
        gamma=r.schedule.gamma,
        step_epochs=r.schedule.step_epochs,
        patience=r.regularise.patience,
        save_steps=r.checkpoints.every_steps,
        save_minutes=r.checkpoints.every_minutes,
        device=r.device.device,
        precision=r.device.precision,
        channels_last=r.device.channels_last,
        sync_norm=r.device.sync_norm,
        measure=r.doctor.measure,
    )


def task_of(recipe: Recipe, kind: str) -> Task:
    """The task of targets of this kind, as far as a recipe is settled."""
    loss = recipe.loss
    name, smoothing = known(loss.name, "loss.name"), or_else(loss.label_smoothing, 0.0)
    return make_task(kind, name, smoothing, or_else(recipe.model.detector, ""))


def architecture_of(recipe: Recipe) -> Architecture:
    """The network of a recipe whose image size and channels are settled."""
    r = recipe
    return Architecture(
        name=r.model.name,
        image_size=known(r.data.image_size, "data.image_size"),
        channels=known(r.data.channels, "data.channels"),
        width=or_else(r.model.width, None),
        small_stem=or_else(r.model.small_stem, None),
        dropout=r.regularise.dropout,
    )


def strengths_of(recipe: Recipe) -> dict[str, float]:
    """The strength of each augmentation that the recipe chooses; "auto" counts as none."""
    augment, size = recipe.augment, known(recipe.data.image_size, "data.image_size")
    strengths: dict[str, float] = {}
    if augment.crop == "pad":
        strengths["pad"] = or_else(augment.crop_padding, max(1, round(size / 16)))
    if augment.crop == "resized":
        strengths["resized"] = 1 - float(or_else(augment.crop_scale, 0.35))
    strengths["window"] = float(augment.crop == "window")
    strengths["zoom"] = (
        1 - float(or_else(augment.crop_scale, 0.35)) if augment.crop == "zoom" else 0
    )
    for name in PLAIN_STRENGTHS:
        strengths[name] = float(getattr(augment, name))
    strengths["mosaic"] = float(or_else(augment.mosaic, 0))
    strengths["vertical_flip"] /= 2
    if augment.policy != "none":
        strengths[augment.policy] = float(or_else(augment.policy_strength, 0.0))
    strengths["flip"] = 0.5 if augment.flip is True else 0.0
    if augment.cutout != "auto":
        strengths["cutout"] = augment.cutout
    return strengths


def stored_size(recipe: Recipe) -> int:
    """The side at which images are kept."""
    size = known(recipe.data.image_size, "data.image_size")
    return round(size / STORE_MARGIN) if recipe.augment.crop in ("resized", "window") else size


def shape_of(recipe: Recipe) -> Unified:
    """How a recipe whose size and channels are settled makes all images the same shape."""
    data = recipe.data
    channels = known(data.channels, "data.channels")
    return Unified(
        stored_size(recipe), channels, or_else(data.resize, "crop"), data.max_megapixels,
        or_else(data.interpolation, "bilinear"),
    )  # fmt: skip


def known(value: T | Literal["auto"], knob: str) -> T:
    """A value that must have been decided by now."""
    if value == "auto":
        raise RunError(f"{knob} is still open", "A run's resolved.json holds what was decided.")
    return value


def or_else(value: T | Literal["auto"], otherwise: T) -> T:
    """A value, or what an "auto" stands for where the knob is not used."""
    return otherwise if value == "auto" else value
