"""A corpus of sick and healthy trainings, for the doctor: what is wrong is known, because it was
put in.

Every case is (data set, network, fault, variant): a small training whose records are kept. The
fault's rules are those that may name it. A case of a fault that is meant to hurt counts as sick
only if its test score is clearly below that of the healthy training beside it.
"""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from striate.audit.crossfit import crossfit

DATA = Path(os.environ.get("STRIATE_DATA", Path(__file__).parents[3] / "shared" / "data"))
DATASETS = ("digits", "mnist", "fashion-mnist", "cifar10")
NETS = {
    "plain": "conv 3x3 16 pad 1, relu, pool 2, conv 3x3 32 pad 1, relu, pool 2, fc 64, relu, "
    "fc classes",
    "norm": "conv 3x3 16 pad 1, batchnorm, relu, pool 2, conv 3x3 32 pad 1, batchnorm, relu, "
    "conv 3x3 32 pad 1, batchnorm, relu, gap, fc classes",
    "fastnet": "fastnet",
}
Split = tuple[Any, Any]
Splits = dict[str, Split]
Change = Callable[[Splits, np.random.Generator], Splits]
BASE: dict[str, Any] = {
    "epochs": 12, "batch_size": 64, "augment.flip": False, "data.check": "off",
    "data.workers": 1, "device.precision": "float32", "augment.test_views": "single",
    "checkpoints.every_minutes": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One training. `rules`: any of them names the fault; none for a healthy one."""

    data: str
    net: str
    fault: str
    variant: str
    rules: tuple[str, ...] = ()
    knobs: dict[str, Any] = field(default_factory=dict)
    change: Change | None = None
    hurts: bool = True

    @property
    def name(self) -> str:
        return f"{self.data}/{self.net}/{self.fault}/{self.variant}"

    def settings(self) -> dict[str, Any]:
        model: dict[str, Any] = {"model.name": NETS[self.net]}
        if self.net == "fastnet":
            model["model.width"] = 0.25
        return {**BASE, **model, "lr": RATES[self.net], **self.knobs}

    def splits(self) -> Splits:
        found = splits(self.data)
        rng = np.random.default_rng(sum(self.name.encode()))
        return self.change(found, rng) if self.change else found


@cache
def splits(name: str) -> Splits:
    """A few thousand training images, 500 validation and 1,000 test images, fixed."""
    images, labels, unseen, truths = LOADERS[name]()
    order = np.random.default_rng(0).permutation(len(images))
    count = {"digits": 1000, "cifar10": 2500}.get(name, 2000)
    train, val = order[:count], order[count : count + (200 if name == "digits" else 500)]
    return {
        "train": (images[train], labels[train]),
        "val": (images[val], labels[val]),
        "test": (unseen[:1000], truths[:1000]),
    }


def _digits() -> tuple[Any, ...]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.rint(bunch.images * 17 - bunch.images * 17 / 16).clip(0, 255).astype(np.uint8)
    return grey[:1297], bunch.target[:1297], grey[1297:], bunch.target[1297:]


def _idx(name: str) -> tuple[Any, ...]:
    def read(part: str) -> Any:
        raw = gzip.decompress((DATA / name / part).read_bytes())
        return np.frombuffer(raw, np.uint8, offset=16 if "images" in part else 8)

    return (
        read("train-images-idx3-ubyte.gz").reshape(-1, 28, 28)[:10_000],
        read("train-labels-idx1-ubyte.gz").astype(np.int64)[:10_000],
        read("t10k-images-idx3-ubyte.gz").reshape(-1, 28, 28)[:1000],
        read("t10k-labels-idx1-ubyte.gz").astype(np.int64)[:1000],
    )


def _cifar() -> tuple[Any, ...]:
    from PIL import Image

    found: list[Any] = []
    with zipfile.ZipFile(DATA / "cifar10-jpeg.zip") as archive:
        for part, each in (("train", 500), ("test", 100)):
            names = sorted(n for n in archive.namelist() if f"{part}/" in n and n.endswith(".jpg"))
            classes = sorted({Path(n).parent.name for n in names})
            images, labels = [], []
            for c, label in enumerate(classes):
                for name in [n for n in names if Path(n).parent.name == label][:each]:
                    images.append(np.asarray(Image.open(io.BytesIO(archive.read(name)))))
                    labels.append(c)
            order = np.random.default_rng(1).permutation(len(images))
            found += [np.stack(images)[order], np.array(labels)[order]]
    return tuple(found)


LOADERS = {
    "digits": _digits,
    "mnist": lambda: _idx("mnist"),
    "fashion-mnist": lambda: _idx("fashion-mnist"),
    "cifar10": _cifar,
}

RATES = {"plain": 0.05, "norm": 0.1, "fastnet": 0.055}
"""What suits batches of 64."""


def few(count: int) -> Change:
    """Only so many training images."""

    def change(found: Splits, rng: np.random.Generator) -> Splits:
        x, y = found["train"]
        order = rng.permutation(len(x))
        kept = np.concatenate([order[y[order] == c][: count // 10] for c in range(10)])
        return {**found, "train": (x[kept], y[kept])}

    return change


def noisy(share: float, *, val: bool) -> Change:
    """So many labels drawn at random, of training or of validation too."""

    def change(found: Splits, rng: np.random.Generator) -> Splits:
        new = dict(found)
        for name in ("train", "val") if val else ("train",):
            x, y = found[name]
            wrong = rng.random(len(y)) < share
            new[name] = (x, np.where(wrong, rng.integers(0, 10, len(y)), y))
        return new

    return change


def rare(ratio: float) -> Change:
    """Training images of the classes fall off exponentially, the last has 1/ratio of the first."""

    def change(found: Splits, rng: np.random.Generator) -> Splits:
        x, y = found["train"]
        most = int(np.bincount(y).min())
        order = rng.permutation(10)
        kept = []
        for place, c in enumerate(order):
            here = np.flatnonzero(y == c)
            kept.append(here[: max(2, round(most * ratio ** (-place / 9)))])
        chosen = rng.permutation(np.concatenate(kept))
        return {**found, "train": (x[chosen], y[chosen])}

    return change


def unlike(kind: str) -> Change:
    """Validation (and test) images of another kind."""

    def look(x: Any) -> Any:
        if kind == "inverted":
            return 255 - x
        if kind == "turned":
            return np.ascontiguousarray(np.rot90(x, axes=(1, 2)))
        if kind == "noise":
            rng = np.random.default_rng(0)
            return np.clip(x.astype(float) + rng.normal(0, 90, x.shape), 0, 255).astype(np.uint8)
        return (x * 0.35).astype(np.uint8)  # dark

    def change(found: Splits, _: np.random.Generator) -> Splits:
        x, y = found["val"]
        return {**found, "val": (look(x), y)}

    return change


def easy_validation(found: Splits, _: np.random.Generator) -> Splits:
    """Validation gets the easiest images of each class, training the harder half: in the eyes of
    the data check's networks, each of which saw the other half."""
    x = np.concatenate([found["train"][0], found["val"][0]])
    y = np.concatenate([found["train"][1], found["val"][1]])
    side = 32 // x.shape[1] * x.shape[1]
    square = x if x.ndim == 4 else x[..., None]
    large = square.repeat(side // x.shape[1], axis=1).repeat(side // x.shape[1], axis=2)
    rest = (32 - side) // 2
    large = np.pad(large, ((0, 0), (rest, rest), (rest, rest), (0, 0)))
    judged = crossfit({"train": (large, y)}, 10)["train"].probabilities
    sure = np.argsort(-judged[np.arange(len(y)), y], kind="stable")
    val, train = [], []
    for c in range(10):
        here = sure[y[sure] == c]
        val.append(here[: len(here) // 5])
        train.append(here[len(here) // 2 :])
    val, train = np.concatenate(val), np.concatenate(train)
    return {**found, "train": (x[train], y[train]), "val": (x[val], y[val])}


def small_validation(count: int) -> Change:
    def change(found: Splits, _: np.random.Generator) -> Splits:
        x, y = found["val"]
        return {**found, "val": (x[:count], y[:count])}

    return change


def sick() -> Iterator[Case]:
    """All cases with a fault."""
    for data in DATASETS:
        for net in NETS:
            yield from _of_rates(data, net)
            yield from _of_fit(data, net)
            yield from _of_data(data, net)
        yield from _of_layers(data)


def _of_rates(data: str, net: str) -> Iterator[Case]:
    lr = RATES[net]
    for factor in {"plain": (10, 30, 100), "norm": (30, 100, 300), "fastnet": (10, 30, 100)}[net]:
        yield Case(data, net, "high rate", f"x{factor}", ("learning_rate_too_high",),
                   {"lr": lr * factor})  # fmt: skip
    for factor in (100, 300, 1000):
        yield Case(data, net, "low rate", f"/{factor}", ("learning_rate_too_low",),
                   {"lr": lr / factor})  # fmt: skip
    early = {"schedule.name": "step", "schedule.step_epochs": 0.3, "schedule.gamma": 0.1}
    yield Case(data, net, "early decay", "0.3 epochs",
               ("decayed_too_early", "learning_rate_too_low"), early)  # fmt: skip
    yield Case(data, net, "few epochs", "1", ("too_few_epochs",), {"epochs": 1, "lr": lr / 3})
    yield Case(data, net, "large batch", "all", ("batch_too_large", "too_few_epochs"),
               {"batch_size": 1000, "epochs": 4, "lr": lr})  # fmt: skip


def _of_fit(data: str, net: str) -> Iterator[Case]:
    bare = {"loss.label_smoothing": 0.0, "regularise.l2": 0.0, "augment.crop": "none",
            "augment.cutout": 0, "data.sampler": "uniform"}  # fmt: skip
    for count in (60, 120):
        yield Case(data, net, "overfit", f"{count} images", ("overfitting",),
                   {**bare, "batch_size": 16, "epochs": 50}, few(count))  # fmt: skip
    for knobs, variant in (
        ({"regularise.l2": 0.5, "optim.rule": "nesterov", "lr": 0.05}, "l2 0.5"),
        ({"regularise.dropout": 0.98}, "dropout 0.98"),
    ):
        if net == "fastnet" or "l2" in variant:
            yield Case(data, net, "regularised", variant,
                       ("regularisation_too_strong", "underfitting"), knobs)  # fmt: skip


def _of_data(data: str, net: str) -> Iterator[Case]:
    for share, val in ((0.4, False), (0.4, True)):
        yield Case(data, net, "label noise", f"{share}{' val too' * val}", ("label_noise",),
                   {}, noisy(share, val=val))  # fmt: skip
    yield Case(data, net, "imbalance", "100:1", ("class_imbalance",), {}, rare(100))
    for kind in ("inverted", "turned"):
        yield Case(data, net, "unlike", kind, ("unlike_splits",), {}, unlike(kind), hurts=False)
    yield Case(data, net, "bad split", "easiest fifth", ("bad_split",), {}, easy_validation,
               hurts=False)  # fmt: skip


TINY = {
    "linear of 4x4": "avgpool 4 stride 4, fc classes",
    "one map": "conv 3x3 1 pad 1, tanh, pool 4, fc 3, tanh, fc classes",
    "narrow": "conv 3x3 2 pad 1, relu, gap, fc classes",
}


def _of_layers(data: str) -> Iterator[Case]:
    for variant, tiny in TINY.items():
        model = tiny.replace("pool 4,", "pool 2,") if data == "digits" else tiny
        yield Case(data, "plain", "underfit", variant, ("underfitting",),
                   {"model.name": model, "epochs": 20})  # fmt: skip
    for variant, model in {"lenet": "lenet", "decknet": "decknet", "plain": NETS["plain"]}.items():
        yield Case(data, "plain", "dead units", variant, ("dead_units",),
                   {"model.name": model, "model.bias": -1.5})  # fmt: skip
    deep = "conv 3x3 16 pad 1, ACT, pool 2, " + "conv 3x3 16 pad 1, ACT, " * 4
    for variant, tail in {
        "deep": "fc classes",
        "deeper": "fc 32, ACT, fc 32, ACT, fc classes",
    }.items():
        yield Case(data, "plain", "vanishing", f"sigmoid {variant}", ("vanishing_gradient",),
                   {"model.name": (deep + tail).replace("ACT", "sigmoid")})  # fmt: skip
    yield Case(data, "plain", "saturated", "tanh", ("saturated_units",),
               {"model.name": (deep + "fc classes").replace("ACT", "tanh"),
                "model.initialiser": "gaussian", "model.init_std": 1.0})  # fmt: skip
    yield Case(data, "plain", "saturated", "sigmoid", ("saturated_units",),
               {"model.name": NETS["plain"].replace("relu", "sigmoid"),
                "model.initialiser": "gaussian", "model.init_std": 1.5})  # fmt: skip
    for std in (0.3, 1.0):
        yield Case(data, "plain", "exploding", f"std {std}",
                   ("exploding_gradient", "learning_rate_too_high"),
                   {"model.initialiser": "gaussian", "model.init_std": std})  # fmt: skip
    for batch in (2, 3):
        yield Case(data, "norm", "small batch", f"{batch}",
                   ("batch_too_small", "norm_mismatch"),
                   {"batch_size": batch, "epochs": 2, "lr": 0.05})  # fmt: skip


HEALTHY: dict[str, dict[str, Any]] = {
    "as it is": {},
    "seed 1": {"seed": 1},
    "dropout": {"regularise.dropout": 0.5},
    "strong augmentation": {"augment.rotate": 15.0, "augment.affine": 0.1, "augment.cutout": 5},
    "policy": {"augment.policy": "trivial", "augment.policy_strength": 0.5},
    "mixup": {"augment.mixup": 0.4},
    "cosine": {"schedule.name": "cosine"},
    "step decay": {"schedule.name": "step", "schedule.step_epochs": 4.0},
    "no smoothing": {"loss.label_smoothing": 0.0},
    "adam": {"optim.rule": "adam", "lr": 2e-3},
    "average": {"regularise.average": "ema", "regularise.average_decay": 0.95},
    "longer": {"epochs": 20},
    "batch 32": {"batch_size": 32},
    "half rate": {"FACTOR": 0.5},
    "double rate": {"FACTOR": 2.0},
    "constant": {"schedule.name": "constant", "FACTOR": 0.3},
}


def healthy() -> Iterator[Case]:
    """Trainings as a careful person would set them up."""
    for data in DATASETS:
        for net, model in NETS.items():
            for variant, knobs in HEALTHY.items():
                settings = dict(knobs)
                if "regularise.dropout" in settings and net != "fastnet":
                    dropping = model.replace("fc classes", "dropout 0.5, fc classes")
                    settings = {"model.name": dropping}
                factor = settings.pop("FACTOR", None)
                if factor:
                    settings["lr"] = RATES[net] * factor
                yield Case(data, net, "healthy", variant, (), settings)
            yield Case(data, net, "healthy", "40 validation images", (), {}, small_validation(40))
            if data in ("mnist", "fashion-mnist") and net != "fastnet":
                yield Case(data, net, "healthy", "fine-tuned", (),
                           {"model.name": f"tuned:{net}_of_{data.replace('-', '_')}",
                            "lr": RATES[net] / 3, "epochs": 8})  # fmt: skip
