"""The recipe: every knob of a training, typed, with a default that works.

The same names are used in Python, in YAML and on the command line (`--optim.lr 0.1`). "auto" means
that Striate decides from the data or by a measurement, says so, and writes the decision to the run.
Knobs and their lecture ids: data D1–D3, augmentation D2, model and initialisation T2, loss L11,
update rule O3–O5, schedule O7, regularisation T4, the whole tree T6.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Strict

Auto = Literal["auto"]
Whole = Annotated[int, Strict(), Ge(0)]
Count = Annotated[int, Strict(), Ge(1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Lt(1)]
Fraction = Annotated[float, Gt(0), Le(1)]

_KNOWN_KEYS_ONLY = {"extra": "forbid"}


@dataclass(frozen=True)
class Data:
    """Which images, how they are split, sized and normalised (D1, D3)."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    source: str = "digits"
    """A folder, archive (zip#folder opens a part of it), IDX folder, CSV, or a built-in name."""
    image_size: Count | Auto = "auto"
    """Side of the square input in pixels; auto: the median side, a multiple of 8, at most 224."""
    channels: Literal[1, 3] | Auto = "auto"
    """1 for grey, 3 for colour; auto: grey only if every image is stored grey."""
    resize: Literal["crop", "squash", "pad"] = "crop"
    """How other shapes become square: cut the centre, stretch, or add black borders."""
    prepare: Literal["standardise", "mean_image", "unit", "symmetric"] = "standardise"
    """Per-channel mean and deviation, mean image, [0,1], or [-1,1] (D1); measured on training."""
    val_fraction: Share = 0.1
    """Share of the training images kept for validation where the data has no such split."""
    test_fraction: Share = 0.2
    """Share of all images kept for the test where the data has no such split."""
    label_levels: tuple[str, ...] = ()
    """Multi-label by folders: a name for each folder level; repeat the flag for each."""
    skip_bad: bool = False
    """Drop and count images that cannot be read, instead of stopping before the first step."""
    allow: tuple[str, ...] = ()
    """Faults to accept, each by name: wrong-extension; repeat the flag for each."""
    max_megapixels: Positive = 100.0
    """Images with more pixels are refused before they are decoded."""
    memory_mb: Whole | Auto = "auto"
    """Decoded sets up to this size live in memory; auto: a quarter of what is free."""
    workers: Whole | Auto = "auto"
    """Processes that decode sets which do not fit in memory; never changes the result."""


@dataclass(frozen=True)
class Augment:
    """Live changes of the training images (D2), and the views averaged at test time."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    flip: bool | Auto = "auto"
    """Mirror half of the images; auto: only if a short probe shows that labels survive it."""
    crop: Literal["auto", "pad", "resized", "none"] = "auto"
    """Random crop of the padded image, random resized crop, or none."""
    crop_padding: Whole | Auto = "auto"
    """Pixels of reflected border for crop=pad; auto: a sixteenth of the side, at least 1."""
    crop_scale: Fraction | Auto = "auto"
    """Smallest share of the area for crop=resized; auto: 0.35."""
    cutout: Whole | Auto = "auto"
    """Side in pixels of a grey square placed at random; 0: none; auto: a quarter of the side if
    there are 16 epochs or more."""
    test_views: Literal["auto", "single", "flip", "shift", "flip_shift"] = "auto"
    """Views of an image averaged by evaluate and predict; auto: shifts, and flips if trained so."""


@dataclass(frozen=True)
class Model:
    """Architecture and initialisation (T2)."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    name: str = "fastnet"
    """A name of the zoo, `timm:NAME`, your own `package.module:factory`, or the layers on one
    line: `conv 5x5 10 pad 2, relu, pool 2, fc classes`."""
    width: Positive | Auto = "auto"
    """Multiplies the channels of fastnet; auto: 1 for colour, 0.75 for grey."""
    small_stem: bool | Auto = "auto"
    """torchvision's ResNets, AlexNet, GoogLeNet, Inception: a first layer that keeps the
    resolution; auto: below 96 pixels."""
    initialiser: str = "auto"
    """auto (the network's own), gaussian, xavier, he, orthogonal."""
    init_std: Positive | Auto = "auto"
    """Deviation of the gaussian initialiser; auto: 0.001 (T2)."""
    bias: float | Auto = "auto"
    """Value of all linear and convolution biases at the start; auto: 0 with an initialiser."""


@dataclass(frozen=True)
class Loss:
    """What is minimised (L11)."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    name: str = "auto"
    """cross_entropy, hinge, mse, sigmoid (several labels an image); auto: by the labels."""
    label_smoothing: Share | Auto = "auto"
    """Cross-entropy only: share of the target spread over all classes; auto: 0.1."""


@dataclass(frozen=True)
class Optim:
    """The update rule (O3–O5)."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    rule: str = "nesterov"
    """sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw."""
    lr: Positive | Auto = "auto"
    """Peak learning rate; auto: a value that suits the rule and the batch size."""
    batch_size: Count | Auto = "auto"
    """Images a step; auto: 256, fewer for small sets so that an epoch has at least 16 steps."""
    momentum: Share | Auto = "auto"
    """momentum and nesterov: 0.9; the first-moment decay of adam and adamw."""
    rho: Share | Auto = "auto"
    """rmsprop: decay of the squared gradient (0.99); adam, adamw: second moment (0.999)."""
    eps: Positive | Auto = "auto"
    """The small number in the denominator of adagrad, rmsprop, adam, adamw."""
    clip_norm: NonNegative = 0.0
    """Gradients longer than this are shortened to it; 0: never."""


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes with the step (O7)."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    name: str = "one_cycle"
    """constant, step, exponential, sqrt, inverse, cosine, one_cycle."""
    warmup: Share | Auto = "auto"
    """Share of all steps in which the rate rises linearly; auto: 0.25 for one_cycle, else 0."""
    gamma: Fraction | Auto = "auto"
    """step: factor of each cut (0.1); exponential: factor an epoch (0.97)."""
    step_epochs: Positive | Auto = "auto"
    """step: epochs between cuts; auto: a third of the training."""


@dataclass(frozen=True)
class Regularise:
    """What keeps the network from learning its training images by heart (T4)."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    l2: NonNegative | Auto = "auto"
    """Weight decay λ of λ/2·‖W‖² (decoupled in adamw), not for biases and norm layers; auto: 5e-4
    for sgd, momentum and nesterov, 0.05 for adamw, else 0."""
    l1: NonNegative = 0.0
    """Weight of the sum of absolute weights."""
    max_norm: NonNegative = 0.0
    """Each unit's incoming weights are scaled back to this length; 0: never."""
    dropout: Share = 0.0
    """Share of the last features dropped in training."""
    patience: Whole = 0
    """Early stopping: epochs without a better validation score; 0: never."""
    average: Literal["none", "ema"] = "none"
    """Evaluate an exponential moving average of the weights instead of the last ones."""
    average_decay: Share | Auto = "auto"
    """ema: share of the old average kept a step; auto: 0.998."""


@dataclass(frozen=True)
class Budget:
    """How long to train."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    epochs: Count | Auto = "auto"
    """Passes over the training images; auto: from the size of the set."""
    minutes: Positive | None = None
    """Plan the epochs to fit this time, start to end; needs epochs=auto."""


@dataclass(frozen=True)
class Device:
    """Where and in which arithmetic."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto: the first accelerator, else cpu."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 (autocast) where a short measurement finds it clearly faster."""
    channels_last: bool = True
    """Memory layout NHWC, faster for convolutions nearly everywhere."""
    threads: Whole | Auto = "auto"
    """Compute threads; auto: the cores that this process may use."""


@dataclass(frozen=True)
class Recipe:
    """Every knob of a training. Frozen: change it with `dataclasses.replace`."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    regularise: Regularise = field(default_factory=Regularise)
    budget: Budget = field(default_factory=Budget)
    device: Device = field(default_factory=Device)
    seed: Whole = 0
    """Everything random follows from it."""


def quick() -> Recipe:
    """Small images and short trainings: the default."""
    return Recipe()


def standard() -> Recipe:
    """ImageNet-style: ResNet-50 at 224 pixels, random resized crops, 90 epochs of SGD, cosine."""
    return Recipe(
        data=Data(image_size=224),
        augment=Augment(crop="resized", crop_scale=0.08, cutout=0, test_views="single"),
        model=Model(name="resnet50"),
        optim=Optim(rule="nesterov", lr=0.1, batch_size=256),
        schedule=Schedule(name="cosine", warmup=0.05),
        regularise=Regularise(l2=1e-4),
        budget=Budget(epochs=90),
    )


PRESETS = {"quick": quick, "standard": standard}

SHORT_FLAGS = {
    "model": "model.name",
    "epochs": "budget.epochs",
    "minutes": "budget.minutes",
    "batch_size": "optim.batch_size",
    "lr": "optim.lr",
    "seed": "seed",
    "skip_bad": "data.skip_bad",
    "allow": "data.allow",
    "image_size": "data.image_size",
}
"""Everyday names and the knobs that they stand for, on the command line and in Python."""
