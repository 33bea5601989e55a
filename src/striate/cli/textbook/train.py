"""`striate textbook train`: the digits, learned by the textbook's layers and rules alone."""

from __future__ import annotations

import json as json_format
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.cli.flags import parse
from striate.cli.view import result_tables, show
from striate.core.errors import StriateError, perhaps
from striate.core.records import Epoch, Finished, Planned, Record, Started, Step, to_json
from striate.core.strict_json import one_line
from striate.data.dataset import Dataset, open_dataset
from striate.data.prepare import measure, shift_and_scale
from striate.data.splits import Splitting
from striate.data.targets import class_numbers
from striate.metrics.classification import accuracy, per_class, top_k_error, worst_confusions
from striate.models import spec
from striate.textbook import layers
from striate.textbook.learning import learn
from striate.textbook.losses import softmax_cross_entropy
from striate.textbook.updates import RULES

LENET = "conv 5x5 12 pad 2, relu, pool 2, conv 3x3 24 pad 1, relu, pool 2, fc 64, relu, fc classes"
"""LeNet's plan (convolution, pooling, twice, then fully connected) at 8×8 pixels."""
Floats = NDArray[np.floating[Any]]
Whole = NDArray[np.int64]
Labelled = tuple[Floats, Whole]


def train(argv: Sequence[str]) -> int:
    """Train and show it."""
    return int(parse(_train, "textbook train", argv))


def _train(
    network: str = LENET,
    rule: str = "momentum",
    lr: float = 0.02,
    epochs: int = 30,
    batch_size: int = 32,
    seed: int = 0,
    json: bool = False,
) -> int:
    """Train a small convolutional network on the built-in digits, with NumPy alone.

    Args:
        network: the layers on one line; "fc classes" is the last
        rule: sgd, momentum (also momentum_a, momentum_d), nesterov, adagrad, rmsprop, adam
        lr: learning rate
        epochs: passes over the training images
        batch_size: images in a mini-batch
        seed: of the weights, the order and the splits
        json: print one JSON object as the last line
    """
    if rule not in RULES:
        raise StriateError(f"unknown rule '{rule}'", perhaps(rule, RULES))
    if epochs < 1 or batch_size < 1 or not 0 < lr < np.inf or seed < 0:
        raise StriateError("--epochs, --batch-size and --lr must be above 0, --seed at least 0")
    dataset = open_dataset("digits", Splitting(seed))
    data = _standardised({name: _arrays(dataset, name) for name in dataset.splits})
    built = _build(network, len(dataset.classes), data["train"][0].shape[1:], seed)
    options = {"rate": lr, "epochs": epochs, "batch_size": batch_size, "seed": seed}
    with np.errstate(all="ignore"):  # a layer names the first value that is not finite
        _, last = show(_records(built, data, rule, **options))
    assert isinstance(last, Finished)
    images, labels = data["test"]
    logits = _outputs(built, images)
    rows = per_class(labels, logits, dataset.classes)
    result_tables(last, rows, worst_confusions(labels, logits, dataset.classes), "test")
    if json:
        values = json_format.loads(to_json(last)) | {"run": None}
        keys = ("run", "epochs", "seconds", "train", "val", "test")
        print(one_line({key: values[key] for key in keys}))
    return 0


def _arrays(dataset: Dataset, split: str) -> tuple[NDArray[np.uint8], Whole]:
    """uint8 (N, C, H, W) and class numbers (N,)."""
    part = dataset.splits[split]
    images = np.stack([part.images.pixels(i, 100) for i in range(len(part))])
    numbers = class_numbers(part.targets)
    assert numbers is not None
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), numbers


def _build(network: str, classes: int, shape: tuple[int, ...], seed: int) -> layers.Sequential:
    rng = np.random.default_rng(seed)
    try:
        made = layers.Sequential(*spec.build(network, shape, layers, classes=classes, rng=rng))
    except MemoryError as error:
        raise StriateError(f"the network does not fit in memory: {error}") from None
    found = made.train(False)(np.zeros((2, *shape))).shape
    if found != (2, classes):
        raise StriateError(
            f"the network gives {found} for 2 images; expected (2, {classes})",
            'End it with "fc classes".',
        )
    return made.train().astype(np.float32)


def _records(
    network: layers.Sequential, data: dict[str, Labelled], rule: str, **options: Any
) -> Iterator[Record]:
    """The records of the main job; the best epoch on validation is kept."""
    began = time.perf_counter()
    images, labels = data["train"]
    epochs, per_epoch = options["epochs"], -(-len(images) // options["batch_size"])
    parameters = sum(p.size for p in network.parameters().values())
    yield Started(run="", source="digits")
    yield Planned(epochs, epochs * per_epoch, len(images), "textbook", parameters, "accuracy")
    best, kept, losses = -1.0, {}, []
    epoch_began = step_began = time.perf_counter()
    for step, (epoch, loss, norm) in enumerate(
        learn(network, images, labels, RULES[rule], **options)
    ):
        losses.append(loss)
        epoch_step = step % per_epoch
        batch = len(images) - epoch_step * options["batch_size"]
        pace = min(batch, options["batch_size"]) / (time.perf_counter() - step_began)
        yield Step(step + 1, epoch, loss, options["rate"], norm, pace)
        if (step + 1) % per_epoch == 0:
            val = _scores(network, *data["val"])
            better = val["accuracy"] > best
            if better:
                best, kept = val["accuracy"], {n: v.copy() for n, v in network.state_dict().items()}
            seconds, mean = round(time.perf_counter() - epoch_began, 2), float(np.mean(losses))
            yield Epoch(epoch + 1, step + 1, mean, val["loss"], val["accuracy"], seconds, better)
            epoch_began, losses = time.perf_counter(), []
        step_began = time.perf_counter()
    network.load_state_dict(kept)
    found = {name: _scores(network, *part) for name, part in data.items()}
    seconds = round(time.perf_counter() - began, 2)
    yield Finished("", epochs, seconds, "planned", found["train"], found["val"], found["test"])


def _standardised(arrays: dict[str, tuple[Any, Whole]]) -> dict[str, Labelled]:
    """Mean 0 and deviation 1 over the training images (D1), the same for all."""
    found = measure([arrays["train"][0].transpose(0, 2, 3, 1)])
    shift, scale = (a[:, None, None] for a in shift_and_scale("standardise", found))
    return {name: ((x - shift) * scale, labels) for name, (x, labels) in arrays.items()}


def _outputs(network: layers.Sequential, images: Floats) -> Floats:
    network.train(False)
    logits = network(images)
    network.train()
    return logits


def _scores(network: layers.Sequential, images: Floats, labels: Whole) -> dict[str, float]:
    logits = _outputs(network, images)
    right = accuracy(labels, logits)
    return {
        "accuracy": right,
        "plain_accuracy": right,
        "top5_error": top_k_error(labels, logits),
        "loss": softmax_cross_entropy(logits, labels)[0],
        "n": len(labels),
    }
