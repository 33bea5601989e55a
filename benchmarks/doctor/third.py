"""The third part of the corpus: other data, other networks, other severities, in folder order.

It was written down before the rules that it judges were touched, and is reported as it came out. A
healthy training counts as healthy if its test score is at least nine tenths of the best healthy one
of the same data and network, and that at least three quarters of the best of the data; a sick one
counts if its fault did harm, as in the other parts.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import corpus
import numpy as np
from corpus import DATA, Change, Splits, noisy, small_validation

DATASETS = ("usps", "tinyin", "signs")
NETS = ("shufflenet", "densenet", "resnet10t", "grouped", "vgg", "mobilenet")
RATES = {
    "shufflenet": 0.05, "squeezenet": 0.01, "densenet": 0.05, "vgg": 0.01, "resnet10t": 0.05,
    "grouped": 0.03, "mobilenet": 0.05, "mnasnet": 0.05,
}  # fmt: skip
EPOCHS = {"usps": 12, "tinyin": 14, "signs": 20}
SIDE = 32
BASE: dict[str, Any] = {
    "optim.rule": "nesterov", "batch_size": 32, "augment.flip": False, "augment.cutout": 0,
    "data.check": "off", "data.workers": 1, "data.channels": 3, "image_size": SIDE,
    "device.precision": "float32", "augment.test_views": "single", "report.write": False,
    "checkpoints.every_minutes": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Case(corpus.Case):
    """One training; `model`: a name in foreign.py, the network's own by default."""

    model: str = ""

    def settings(self) -> dict[str, Any]:
        knobs = {"lr": RATES[self.net], "epochs": EPOCHS[self.data], **self.knobs}
        if "FACTOR" in knobs:
            knobs["lr"] = RATES[self.net] * knobs.pop("FACTOR")
        return {**BASE, "model.name": f"foreign:{self.model or self.net}", **knobs}

    def splits(self) -> Splits:
        rng = np.random.default_rng(sum(self.name.encode()))
        found = splits(self.data)
        return in_folder_order(self.change(found, rng) if self.change else found)


def in_folder_order(found: Splits) -> Splits:
    """Class by class, as folders come."""
    return {
        name: (x[np.argsort(y, kind="stable")], np.sort(y, kind="stable"))
        for name, (x, y) in found.items()
    }


@cache
def splits(name: str) -> Splits:
    """800 to 1,000 training images, 200 to 300 validation and test images, fixed."""
    if name == "usps":
        x, y = _pictures("usps-test.zip", "", 2000)
        order = np.random.default_rng(3).permutation(len(y))
        cut = {"train": order[:1000], "val": order[1000:1300], "test": order[1300:]}
        return {k: (x[i], y[i]) for k, i in cut.items()}
    archive = {"tinyin": "tinyin-cifar7.zip", "signs": "sign-digits.zip"}[name]
    x, y = _pictures(archive, "train/", 180 if name == "tinyin" else 80)
    unseen, truths = _pictures(archive, "test/", 90)
    order = np.random.default_rng(3).permutation(len(y))
    held = 250 if name == "tinyin" else 150
    return {
        "train": (x[order[held:]], y[order[held:]]), "val": (x[order[:held]], y[order[:held]]),
        "test": (unseen, truths),
    }  # fmt: skip


def _pictures(archive: str, part: str, each: int) -> tuple[Any, Any]:
    """At most `each` pictures a class, 32×32 in colour, with class numbers."""
    from PIL import Image

    endings = (".jpg", ".jpeg", ".png")
    with zipfile.ZipFile(DATA / archive) as found:
        names = sorted(n for n in found.namelist() if part in n and n.lower().endswith(endings))
        classes = sorted({Path(n).parent.name for n in names})
        images, labels = [], []
        for c, label in enumerate(classes):
            for name in [n for n in names if Path(n).parent.name == label][:each]:
                image = Image.open(io.BytesIO(found.read(name))).convert("RGB")
                images.append(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
                labels.append(c)
    return np.stack(images), np.array(labels)


def shuffled(found: Splits, rng: np.random.Generator) -> Splits:
    """Training and validation labels drawn from a hat."""
    return {
        name: (x, rng.permutation(y) if name != "test" else y) for name, (x, y) in found.items()
    }


def rare(ratio: int) -> Change:
    """A third of the classes keeps one image in `ratio`."""

    def change(found: Splits, rng: np.random.Generator) -> Splits:
        x, y = found["train"]
        few = rng.permutation(y.max() + 1)[: max(1, (y.max() + 1) // 3)]
        drawn = rng.random(len(y)) < 1 / ratio
        kept = ~np.isin(y, few) | drawn
        for c in few:
            kept[np.flatnonzero(y == c)[:2]] = True
        return {**found, "train": (x[kept], y[kept])}

    return change


def elsewhere(kind: str) -> Change:
    """Validation images from another camera."""

    def look(x: Any) -> Any:
        if kind == "bright":
            return np.clip(x.astype(int) + 110, 0, 255).astype(np.uint8)
        if kind == "negative grey":
            return (255 - x.mean(axis=3, keepdims=True)).repeat(3, axis=3).astype(np.uint8)
        small = x.reshape(len(x), 8, 4, 8, 4, 3).mean(axis=(2, 4))
        return small.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)

    def change(found: Splits, _: np.random.Generator) -> Splits:
        x, y = found["val"]
        return {**found, "val": (look(x), y)}

    return change


def few(count: int) -> Change:
    """So many training images of each class."""

    def change(found: Splits, rng: np.random.Generator) -> Splits:
        x, y = found["train"]
        order = rng.permutation(len(y))
        kept = np.concatenate([order[y[order] == c][:count] for c in range(y.max() + 1)])
        return {**found, "train": (x[kept], y[kept])}

    return change


NORMED = ("shufflenet", "densenet", "resnet10t", "mobilenet")
BARE = {"loss.label_smoothing": 0.0, "regularise.l2": 0.0, "augment.crop": "none"}
STRONG = {
    "augment.rotate": 180.0, "augment.affine": 0.6, "augment.random_erasing": 0.9,
    "augment.crop": "resized", "augment.crop_scale": 0.05, "augment.blur": 4.0,
}  # fmt: skip
HIGH, LOW = ("learning_rate_too_high",), ("learning_rate_too_low",)
SICK: tuple[tuple[str, str, tuple[str, ...], dict[str, Any]], ...] = (
    ("high rate", "x50", HIGH, {"FACTOR": 50.0}),
    ("high rate", "x400", HIGH, {"FACTOR": 400.0}),
    ("low rate", "/200", LOW, {"FACTOR": 1 / 200}),
    ("low rate", "/2000", LOW, {"FACTOR": 1 / 2000}),
    ("momentum", "0.997", ("momentum_too_high", *HIGH), {"optim.momentum": 0.997}),
    ("few epochs", "1", ("too_few_epochs",), {"epochs": 1, "FACTOR": 0.3}),
    ("large batch", "all", ("batch_too_large", "too_few_epochs"),
     {"batch_size": 900, "epochs": 4}),
    ("early decay", "0.5 epochs", ("decayed_too_early", *LOW),
     {"schedule.name": "step", "schedule.step_epochs": 0.5, "schedule.gamma": 0.2}),
    ("regularised", "l2 0.3", ("regularisation_too_strong", "underfitting"),
     {"regularise.l2": 0.3}),
    ("augmentation", "wild", ("augmentation_too_strong", "regularisation_too_strong"), STRONG),
)  # fmt: skip
"""(fault, variant, rules, knobs) of faults of the recipe."""
BUILT_IN: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("output", "softmax", ("output_activation",), NETS),
    ("output", "relu", ("output_activation",), ("densenet", "grouped", "shufflenet", "vgg")),
    ("input", "tiny", ("input_too_small",), ("vgg", "grouped")),
    ("input", "constant", ("input_too_small",), NETS),
    ("averages", "lagging", ("norm_mismatch",), NORMED),
    ("frozen", "frozen", ("frozen_layers",), ("shufflenet", "densenet", "mobilenet")),
    ("frozen", "detached", ("frozen_layers",), ("shufflenet", "densenet", "grouped")),
    ("dead units", "dead", ("dead_units",), ("vgg",)),
)
"""(fault, variant, rules, networks) of faults of the network."""
OF_DATA: tuple[tuple[str, str, tuple[str, ...], Change, bool], ...] = (
    ("label noise", "0.3", ("label_noise",), noisy(0.3, val=False), True),
    ("label noise", "0.5 val too", ("label_noise",), noisy(0.5, val=True), True),
    ("labels", "shuffled", ("labels_random",), shuffled, True),
    ("imbalance", "25:1", ("class_imbalance", "class_never_found"), rare(25), True),
    ("imbalance", "60:1", ("class_imbalance", "class_never_found"), rare(60), True),
    ("unlike", "bright", ("unlike_splits",), elsewhere("bright"), False),
    ("unlike", "negative grey", ("unlike_splits",), elsewhere("negative grey"), False),
    ("unlike", "blocks", ("unlike_splits",), elsewhere("blocks"), False),
)
HEALTHY: dict[str, dict[str, Any]] = {
    "as it is": {},
    "half rate, longer": {"FACTOR": 0.5, "epochs": 30},
    "no smoothing, cosine": {"loss.label_smoothing": 0.0, "schedule.name": "cosine"},
    "flips and turns": {"augment.rotate": 10.0, "augment.affine": 0.05},
}


def sick() -> Iterator[Case]:
    """Faults go round the networks, so that each meets several."""
    turn = 0
    for data in DATASETS:
        for fault, variant, rules, knobs in SICK:
            for _ in range(1 if fault in ("few epochs", "large batch") else 2):
                net = NETS[turn % len(NETS)]
                turn += 1
                yield Case(data, net, fault, variant, rules, knobs)
        for fault, variant, rules, nets in BUILT_IN:
            net = nets[turn % len(nets)]
            turn += 1
            yield Case(data, net, fault, variant, rules, model=f"{net}_{variant}")
        for fault, variant, rules, change, hurts in OF_DATA:
            net = NETS[turn % len(NETS)]
            turn += 1
            yield Case(data, net, fault, variant, rules, change=change, hurts=hurts)
        for batch in (2, 4):
            net = NORMED[turn % len(NORMED)]
            turn += 1
            yield Case(data, net, "small batch", f"{batch}", ("batch_too_small", "norm_mismatch"),
                       {"batch_size": batch, "epochs": 2})  # fmt: skip
        net = ("shufflenet", "densenet", "grouped")[turn % 3]
        yield Case(data, net, "overfit", "8 a class", ("overfitting",),
                   {**BARE, "batch_size": 16, "epochs": 60}, few(8))  # fmt: skip
        yield Case(data, "squeezenet", "high rate", "2", HIGH, {"lr": 2.0})
        for net in ("mnasnet", "mobilenet"):
            yield Case(data, net, "averages", "as published", ("norm_mismatch",),
                       model=f"{net}_published")  # fmt: skip


def healthy() -> Iterator[Case]:
    """All cases without a fault."""
    for data in DATASETS:
        for net in NETS:
            for variant, knobs in HEALTHY.items():
                yield Case(data, net, "healthy", variant, knobs=knobs)
        yield Case(data, "shufflenet", "healthy", "30 validation images",
                   change=small_validation(30))  # fmt: skip
