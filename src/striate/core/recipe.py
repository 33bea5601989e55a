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
Whole = Annotated[int, Strict(), Ge(0), Le(2**62)]
Count = Annotated[int, Strict(), Ge(1), Le(10**9)]
Side = Annotated[int, Strict(), Ge(1), Le(16_384)]
Positive = Annotated[float, Gt(0), Le(1e9)]
NonNegative = Annotated[float, Ge(0), Le(1e9)]
Degrees = Annotated[float, Ge(0), Le(360)]
Share = Annotated[float, Ge(0), Lt(1)]
Fraction = Annotated[float, Gt(0), Le(1)]
Probability = Annotated[float, Ge(0), Le(1)]

_KNOWN_KEYS_ONLY = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True)
class Data:
    """Which images, how they are split, sized and normalised (D1, D3)."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    source: str = "digits"
    """A folder, archive (zip#folder opens a part of it), IDX folder, CSV, or a built-in name."""
    image_size: Side | Auto = "auto"
    """Side of the square input in pixels; auto: the median side, a multiple of 8, at most 224; with
    weights to start from the side that they were trained at."""
    channels: Literal[1, 3] | Auto = "auto"
    """1 for grey, 3 for colour; auto: grey only if every image is stored grey."""
    resize: Literal["auto", "crop", "squash", "pad"] = "auto"
    """How other shapes become square: cut the centre, stretch, or add black borders; auto: pad
    where objects have places in the image, else crop."""
    interpolation: Literal["auto", "bilinear", "bicubic"] = "auto"
    """How pixels are computed when images are resized; auto: as the weights had it (model.weights),
    else bilinear."""
    prepare: Literal[
        "auto", "weights", "standardise", "mean_image", "unit", "symmetric", "whiten"
    ] = "auto"
    """Per-channel mean and deviation, mean image, [0,1], [-1,1], or PCA whitening of the colours
    (D1), measured on training; weights: as the weights were trained with; auto: that where there
    are weights to start from, else standardise."""
    val_fraction: Share | Auto = "auto"
    """Share of the training images kept for validation where the data has no such split; auto: a
    tenth, of large sets about 2,500 images, or ten of each class."""
    test_fraction: Share = 0.2
    """Share of all images kept for the test where the data has no such split."""
    group_by: str = ""
    """Keep groups whole when splitting: a CSV column, or a regular expression whose first group in
    an image's path names its patient, video or writer."""
    time_by: str = ""
    """Validate and test on the latest images: a CSV column, or an expression as in group_by."""
    score_test: bool = True
    """Read the test split when the training has ended; no: it waits for `striate evaluate`."""
    folds: Whole = 0
    """Parts into which the images are cut, each the test part of one training; 0: no folds."""
    fold: Whole = 0
    """Which part is the test part, from 1; 0: all in turn, each in a run of its own."""
    sampler: Literal["auto", "uniform", "balanced", "weighted", "hard", "selective"] = "auto"
    """Each image once an epoch; classes equally often; by the weights of weight_by; from the third
    epoch in proportion to the last loss (hard), or the easier half half as often (selective). auto:
    selective for fastnet, else uniform."""
    weight_by: str = ""
    """CSV column of the weights of sampler=weighted."""
    label_levels: tuple[str, ...] = ()
    """Multi-label by folders: a name for each folder level; repeat the flag for each."""
    class_level: Whole | Auto = "auto"
    """Folder level that names the class: 1 is the first below the split's folder, 0 the folder that
    holds the image; auto: the only level there is; where there are several you are asked."""
    label_column: str = ""
    """Column of a table that names the class, whatever it is called."""
    label_pattern: str = ""
    """Classes by the names of files: a regular expression whose first group is the class, such as
    '^([a-z]+)\\.' for cat.0.jpg."""
    skip_bad: bool = False
    """Drop and count images that cannot be read, instead of stopping before the first step."""
    allow: tuple[str, ...] = ()
    """Faults to accept, each by name: wrong-extension, leakage; repeat the flag for each."""
    exclude: str = ""
    """CSV written by `striate data check --csv`: images marked yes are left out."""
    check: Literal["full", "sample", "off"] = "full"
    """Before training, decode and compare all images, 2,000 of each split, or none. Sets that are
    kept decoded are always decoded whole."""
    max_megapixels: Positive = 100.0
    """Images with more pixels are refused before they are decoded."""
    memory_mb: Whole | Auto = "auto"
    """Decoded sets up to this size live in memory; auto: a quarter of what is free."""
    cache_mb: Whole | Auto = "auto"
    """Larger sets are decoded once into a cache on disk of up to this size; 0: none; auto: a fifth
    of the free disk."""
    workers: Whole | Auto = "auto"
    """Threads that load and augment ahead of the network; auto: by a measurement; never changes
    the result."""


@dataclass(frozen=True)
class Augment:
    """Live changes of the training images (D2), and the views averaged at test time."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    flip: bool | Auto = "auto"
    """Mirror half of the images; auto: only if a short probe shows that labels survive it."""
    vertical_flip: bool = False
    """Turn half of the images upside down, as for microscopes and satellites."""
    crop: Literal["auto", "pad", "resized", "window", "zoom", "none"] = "auto"
    """Random crop of the padded image, random resized crop, random window of an image stored an
    eighth larger (AlexNet), a window that may be larger than the image, with black around (zoom),
    or none; auto: pad, with weights resized, for boxes zoom."""
    crop_padding: Annotated[int, Strict(), Ge(0), Le(16_384)] | Auto = "auto"
    """Pixels of reflected border for crop=pad; auto: a sixteenth of the side, at least 1."""
    crop_scale: Fraction | Auto = "auto"
    """Smallest share of the area for crop=resized and zoom, whose largest is 1 over it; auto:
    0.35."""
    rotate: Degrees = 0.0
    """Turn by up to this number of degrees either way."""
    affine: Share = 0.0
    """Shift by up to this share of the side, scale by up to 1 ± it, shear by up to it."""
    policy: Literal["none", "trivial", "rand"] = "none"
    """One random operation an image of random strength, or two of a fixed one."""
    policy_strength: Fraction | Auto = "auto"
    """Largest magnitude for trivial (auto: 1), the magnitude for rand (auto: 0.3, M = 9 of 30)."""
    brightness: Share = 0.0
    """Multiply by 1 ± this."""
    contrast: Share = 0.0
    """Multiply the distance from the mean grey by 1 ± this."""
    saturation: Share = 0.0
    """Multiply the distance from grey by 1 ± this."""
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0
    """Turn the colour circle by up to this share of a turn either way."""
    principal_colours: NonNegative = 0.0
    """AlexNet's alteration along the principal colours of the training images; theirs was 0.1."""
    greyscale: Probability = 0.0
    """Share of the images that lose their colours."""
    blur: Annotated[float, Ge(0), Le(100)] = 0.0
    """Gaussian blur with a deviation of up to this number of pixels."""
    cutout: Annotated[int, Strict(), Ge(0), Le(16_384)] | Auto = "auto"
    """Side in pixels of a grey square placed at random; 0: none; auto: a quarter of the side if
    there are 16 epochs or more."""
    random_erasing: Probability = 0.0
    """Share of the images with a rectangle of noise."""
    mixup: NonNegative = 0.0
    """Blend each image with another, by λ from Beta(α, α) with this α; 0: never. With boxes the
    objects of both count."""
    cutmix: NonNegative = 0.0
    """Put a box of another image into each, of the area 1 − λ; with mixup too a coin chooses."""
    mosaic: Probability | Auto = "auto"
    """Share of the images that become mosaics of four, with the objects of all; only for boxes;
    auto: a half of them."""
    test_views: Literal["auto", "single", "flip", "shift", "flip_shift", "ten_crop"] = "auto"
    """Views of an image averaged by evaluate and predict; auto: shifts, and flips if trained so."""


@dataclass(frozen=True)
class Model:
    """Architecture and initialisation (T2)."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    name: str = "auto"
    """A name of the zoo, `timm:NAME`, your own `package.module:factory`, or the layers on one
    line: `conv 5x5 10 pad 2, relu, pool 2, fc classes`; auto: the network of the weights, without
    weights fastnet."""
    weights: str = "auto"
    """Weights to start from (M3): imagenet, a name that `striate zoo` lists, torchvision:NAME,
    timm:NAME.TAG, a run, a file (.safetensors, .pth), none; auto: imagenet for up to 20,000
    photographs (64 pixels or more) where these weights are on this machine."""
    detector: str = "auto"
    """For boxes: one_stage (no anchors), anchors, faster_rcnn, fast_rcnn (selective search), grid
    (3×3 cells, as in the lecture); auto: one_stage."""
    freeze: Whole | Literal["auto", "backbone"] = "auto"
    """With weights: the number of stages, from the input on, that keep theirs (`striate layers`
    shows stages); backbone: all but the head; 0: none; auto: 2."""
    freeze_norm: bool | Auto = "auto"
    """With weights: all batch norm layers keep the averages that they came with, which small
    batches would blur; auto: by two short trainings."""
    kept_views: Whole | Auto = "auto"
    """With frozen stages: augmented views of each image whose outputs there are computed once and
    kept in memory; 0: they are computed each time; auto: one an epoch, at most 8, if memory holds
    them."""
    head: Literal["auto", "random", "probe"] = "auto"
    """With weights: the new head starts at random, or as a linear classifier fitted to the
    weights' features; auto: probe."""
    width: Annotated[float, Gt(0), Le(64)] | Auto = "auto"
    """Multiplies the channels of fastnet; auto: 1 for colour, 0.75 for grey."""
    small_stem: bool | Auto = "auto"
    """torchvision's ResNets, AlexNet, GoogLeNet, Inception: a first layer that keeps the
    resolution; auto: below 96 pixels."""
    initialiser: str = "auto"
    """auto (the network's own), gaussian, xavier, he, orthogonal, dirac."""
    whiten: bool | Auto = "auto"
    """Fix the first layer to the principal directions of the training images' patches; auto: for
    fastnet."""
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
    """Cross-entropy only: share of the target spread over all classes; auto: 0.1, for fastnet
    0.2."""


@dataclass(frozen=True)
class Optim:
    """The update rule (O3–O5)."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    rule: str = "auto"
    """sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw, muon; auto: muon for fastnet, adamw
    for a start from weights, else nesterov."""
    lr: Positive | Literal["auto", "find"] = "auto"
    """Peak learning rate; auto: a value that suits the rule and the batch size; find: by range
    tests and short trainings (`striate lr`), as --lr auto does."""
    batch_size: Count | Auto = "auto"
    """Images a step; auto: 256, fewer for small sets so that an epoch has at least 16 steps."""
    momentum: Share | Auto = "auto"
    """momentum and nesterov: 0.9; the first-moment decay of adam and adamw."""
    rho: Share | Auto = "auto"
    """rmsprop: decay of the squared gradient (0.99); adam, adamw: second moment (0.999)."""
    eps: Positive | Auto = "auto"
    """The small number in the denominator of adagrad, rmsprop, adam, adamw."""
    backbone_rate: Fraction | Auto = "auto"
    """With weights: factor of the learning rate of all stages but the head (M3: about 1/10); auto:
    0.1 or 1, by two short trainings."""
    layer_decay: Fraction = 1.0
    """With weights: a further factor for each stage, from the last one to the first."""
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
class Checkpoints:
    """When the state is saved besides the end of every epoch."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    every_steps: Whole = 0
    """Also each time this number of steps is done; 0: not by steps."""
    every_minutes: NonNegative = 10.0
    """Also when the last one is this many minutes old; 0: not by time. Never changes the result."""
    keep: Count = 1
    """How many of the last ones stay, with the best by validation."""


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
    micro_batch: Whole | Auto = "auto"
    """Images that go through the network at once, in each process; the gradients of a batch's parts
    add up, batch norm sees a part. 0: the whole share; auto: that, or as many as memory holds."""
    sync_norm: bool = False
    """Batch norm over all processes instead of over each one's share; GPUs only."""
    threads: Whole | Auto = "auto"
    """Compute threads; auto: the cores that this process may use."""


@dataclass(frozen=True)
class Doctor:
    """What is measured for the doctor while training (T5)."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    measure: bool = True
    """Measure losses in evaluation mode, gradients, updates and dead units on a fixed sample now
    and then, for less than 3 % of the time; never changes the result."""


@dataclass(frozen=True)
class Report:
    """The page that a training leaves behind."""

    __pydantic_config__ = _KNOWN_KEYS_ONLY

    write: bool = True
    """Write report.html at the end: what was trained, how well, where it fails, in one file."""


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
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    device: Device = field(default_factory=Device)
    doctor: Doctor = field(default_factory=Doctor)
    report: Report = field(default_factory=Report)
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
    "weights": "model.weights",
    "freeze": "model.freeze",
    "folds": "data.folds",
    "group_by": "data.group_by",
    "exclude": "data.exclude",
    "check": "data.check",
    "device": "device.device",
    "workers": "data.workers",
}
"""Everyday names and the knobs that they stand for, on the command line and in Python."""
