"""Looking inside a network with a sample of images: topic by topic (M5, L8)."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.arrays import Pixels
from striate.core.errors import DataError, ModelError, RunError, perhaps
from striate.core.words import clock
from striate.data.targets import class_numbers
from striate.explain.attribution import ATTRIBUTIONS
from striate.explain.backwards import rectifiers_met
from striate.explain.explanation import Explanation, Maps, Neighbour, Picture, Unit
from striate.explain.features import equivariance, layer_features, nearest, probe
from striate.explain.maximise import maximised
from striate.explain.patches import WAYS_BACK, projections, top_patches, window
from striate.explain.sample import Sample
from striate.explain.trust import area, deletion, likeness
from striate.metrics.intervals import wilson
from striate.models.arithmetic import fields_of
from striate.models.hooks import (
    Layer,
    last_features,
    last_of_each_resolution,
    layers_with_maps,
    maps_of,
)
from striate.models.network import Network
from striate.plan.predictor import Predictor
from striate.textbook.arithmetic import Field

Floats = NDArray[np.floating[Any]]
JUDGED = ("classify",)
"""Tasks whose outputs are looked at; of others only filters are shown."""

_PATIENCE = 60.0
"""Seconds after which no more maximised images are begun."""
_SHOWN, _TRUSTED, _ERRORS, _PROBED = 6, 8, 12, 2000
"""Images whose maps and attributions are shown, with which attributions are tried, errors that are
shown, and images on which probes are fitted."""


@dataclass(frozen=True)
class Choice:
    """What to look at: layers by name (none: the last of each resolution), how many units of each,
    at most how many images of the data, topics (none: all), attributions."""

    layers: tuple[str, ...] = ()
    units: int = 16
    images: int = 10_000
    topics: Collection[str] = ()
    methods: tuple[str, ...] = tuple(ATTRIBUTIONS)


def inspect(
    predictor: Predictor, sample: Sample, train: Callable[[int], Sample], choice: Choice,
    say: Callable[[str], None] = lambda _: None,
) -> Explanation:  # fmt: skip
    """Look inside a network with a sample of images; train(n) gives n training images.

    Ctrl-C keeps the topics that are done: `Explanation.stopped` names those that are not.
    """
    inspection = _Inspection(predictor, sample, train, choice)
    found = Explanation(predictor.classes, sample.split, len(sample))
    if not rectifiers_met(inspection.net, torch.from_numpy(sample.images([0]))):
        found.notes.append(
            "no activation of this network is recognised as a rectifier: deconvolution and guided "
            "backpropagation show plain gradients here"
        )
    if not inspection.layers:
        found.notes.append("the network has no layer with maps: no patches, no Grad-CAM")
    known = [t for t in TOPICS if sample.targets is not None or t not in _NEEDS_CLASSES]
    if predictor.task.name not in JUDGED:
        known = [t for t in known if t not in _NEEDS_ANSWERS]
        found.notes.append(f"lacking: answers of {predictor.task.name} are not explained yet")
    for topic in choice.topics:
        if topic not in known:
            found.notes.append(f"{topic}: needs data with classes, not single images")
    topics = [t for t in known if t in (choice.topics or known)]
    began = time.monotonic()
    for number, topic in enumerate(topics):
        so_far = f", {clock(time.monotonic() - began)} so far" if number else ""
        say(f"{topic} ({number + 1} of {len(topics)}{so_far})")
        try:
            TOPICS[topic](inspection, found)
        except KeyboardInterrupt:
            if not number:
                raise
            found.stopped = tuple(topics[number:])
            found.notes.append(f"stopped before it had looked at: {', '.join(found.stopped)}")
            break
    return found


class _Inspection:
    """A network on the CPU, with the sample and the layers to look at."""

    def __init__(
        self,
        predictor: Predictor,
        sample: Sample,
        train: Callable[[int], Sample],
        choice: Choice,
    ) -> None:
        self.predictor, self.sample, self.train, self.choice = predictor, sample, train, choice
        self.classes = predictor.classes
        self.net: nn.Module = copy.deepcopy(predictor.net).cpu().float().eval()
        self.layers = self._chosen(layers_with_maps(self.net, torch.from_numpy(sample.images([0]))))

    def _chosen(self, found: list[Layer]) -> list[Layer]:
        by_name = {layer.name: layer for layer in found}
        short = {name.removeprefix("backbone."): layer for name, layer in by_name.items()}
        if not self.choice.layers:
            return last_of_each_resolution(found)
        for name in self.choice.layers:
            if name not in short and name not in by_name:
                raise ModelError(f"no layer '{name}' with maps", perhaps(name, short))
        return [short.get(name) or by_name[name] for name in self.choice.layers]

    def module(self, layer: Layer) -> nn.Module:
        return self.net.get_submodule(layer.name)

    @cached_property
    def fields(self) -> dict[str, Field | None]:
        """The receptive field of each layer, None where a unit sees everything."""
        names = [layer.name for layer in self.layers]
        if not isinstance(self.net, Network):
            return dict.fromkeys(names)
        height, width, channels = self.shape
        short = [name.removeprefix("backbone.") for name in names]
        found = fields_of(self.net.backbone, (channels, height, width), short)
        return {name: found[key] for name, key in zip(names, short, strict=True)}

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.sample.images([0]).shape[1:]
        return height, width, channels

    def probabilities(self, images: Pixels) -> Floats:
        with torch.inference_mode():
            logits = self.net(torch.from_numpy(images)).numpy()
        return self.predictor.probabilities(logits)

    @cached_property
    def features(self) -> Floats:
        return last_features(self.net, self.sample.batches())

    @cached_property
    def all_probabilities(self) -> Floats:
        return np.concatenate([self.probabilities(x.numpy()) for x in self.sample.batches()])

    def pictures(self, ids: Sequence[int] | NDArray[Any]) -> list[Picture]:
        return list(_pictures(self.sample, ids, self.probabilities, self.classes))


def _pictures(
    sample: Sample, ids: Sequence[int] | NDArray[Any], ask: Any, classes: tuple[str, ...]
) -> Iterator[Picture]:
    images = sample.images(ids)
    for i, pixels, shares in zip(ids, images, ask(images), strict=True):
        known = () if sample.targets is None else sample.targets.of(int(i))
        true = ", ".join(classes[number] for number in known)
        best = int(shares.argmax())
        yield Picture(sample.names[i], pixels, true, classes[best], float(shares[best]))


def _filters(inspection: _Inspection, found: Explanation) -> None:
    channels = inspection.shape[2]
    for module in inspection.net.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels in (1, 3):
            if min(module.kernel_size) > 1:
                found.filters = module.weight.detach().permute(0, 2, 3, 1).numpy()
                return
            break
    found.notes.append(f"the first layer has no filters of {channels} channels to show")


def _maps(inspection: _Inspection, found: Explanation) -> None:
    ids = (
        np.arange(min(_SHOWN, len(inspection.sample)))
        if inspection.sample.targets is None
        else _spread(inspection)
    )
    for picture in inspection.pictures(ids[:3]):
        image, each = torch.from_numpy(picture.pixels[None]), []
        for layer in inspection.layers:
            with torch.inference_mode():
                values = maps_of(inspection.net, image, inspection.module(layer))[0].float().numpy()
            strongest = np.sort(np.argsort(-values.max(axis=(1, 2)), kind="stable")[:16])
            each.append(Maps(layer.name, tuple(map(int, strongest)), values[strongest]))
        found.maps.append((picture, each))


def _spread(inspection: _Inspection) -> NDArray[np.int64]:
    """Images of as many classes as there are places, the first of each."""
    targets = inspection.sample.targets
    assert targets is not None
    numbers = class_numbers(targets)
    if numbers is None or not len(targets):
        return np.arange(min(_SHOWN, len(targets)))
    _, first = np.unique(numbers, return_index=True)
    wanted = np.linspace(0, len(first) - 1, min(_SHOWN, len(first))).round().astype(int)
    return np.asarray(first[wanted], dtype=np.int64)


def _patches(inspection: _Inspection, found: Explanation) -> None:
    for layer in inspection.layers:
        best = top_patches(inspection.net, inspection.sample.batches(), inspection.module(layer))
        known = (
            layer.channels if layer.channels <= inspection.choice.units else inspection.choice.units
        )
        silent = 0
        for unit in np.linspace(0, layer.channels - 1, known).round().astype(int).tolist():
            excited = best.values[unit] > 0  # what a unit is 0 for does not excite it
            if not excited.any():
                silent += 1
                continue
            ids, places = best.images[unit][excited], best.places[unit][excited]
            images = inspection.sample.images(ids.numpy())
            boxes = [_box(inspection, layer, tuple(place)) for place in places.tolist()]
            back = {}
            for way in WAYS_BACK:
                units = torch.full((len(ids),), unit)
                signals = projections(
                    inspection.net,
                    torch.from_numpy(images),
                    inspection.module(layer),
                    units,
                    places,
                    way,
                ).numpy()
                back[way] = [signal[box] for signal, box in zip(signals, boxes, strict=True)]
            cut = [image[box] for image, box in zip(images, boxes, strict=True)]
            values = tuple(map(float, best.values[unit][excited]))
            found.patches.append(Unit(layer.name, unit, values, cut, back))
        if silent:
            short = layer.name.removeprefix("backbone.")
            found.notes.append(
                f"patches: {silent} of {known} units of {short} are above 0 for no image: not shown"
            )


def _box(inspection: _Inspection, layer: Layer, place: Any) -> tuple[slice, slice]:
    seen, sides = inspection.fields[layer.name], inspection.shape[:2]
    if seen is None:
        return slice(0, sides[0]), slice(0, sides[1])
    return window(place, seen.size, seen.stride, seen.padding, sides)


def _maximised(inspection: _Inspection, found: Explanation) -> None:
    ids = (
        np.linspace(0, len(inspection.sample) - 1, min(100, len(inspection.sample)))
        .round()
        .astype(int)
    )
    like, began = torch.from_numpy(inspection.sample.images(ids)), time.monotonic()
    for first in range(0, len(inspection.classes), 5):
        classes = torch.arange(first, min(first + 5, len(inspection.classes)))
        for c, image in zip(
            classes, _as_pixels(maximised(inspection.net, classes, like)), strict=True
        ):
            found.maximised.append((inspection.classes[c], image))
        if time.monotonic() - began > _PATIENCE and len(found.maximised) < len(inspection.classes):
            few, all_ = len(found.maximised), len(inspection.classes)
            found.notes.append(f"maximised: the first {few} of {all_} classes, for want of time")
            return


def _as_pixels(images: Tensor) -> Pixels:
    return images.round().clamp(0, 255).byte().numpy()


def _attributions(inspection: _Inspection, found: Explanation) -> None:
    ids = (
        np.arange(min(_SHOWN, len(inspection.sample)))
        if inspection.sample.targets is None
        else _spread(inspection)
    )
    pictures = inspection.pictures(ids)
    images = torch.from_numpy(np.stack([p.pixels for p in pictures]))
    asked = torch.tensor([inspection.classes.index(p.predicted) for p in pictures])
    methods = [m for m in inspection.choice.methods if inspection.layers or m != "grad_cam"]
    each = {name: ATTRIBUTIONS[name](inspection.net, images, asked).numpy() for name in methods}
    for i, picture in enumerate(pictures):
        found.attributions.append((picture, {name: maps[i] for name, maps in each.items()}))


def _trust(inspection: _Inspection, found: Explanation) -> None:
    ids = (
        np.linspace(0, len(inspection.sample) - 1, min(_TRUSTED, len(inspection.sample)))
        .round()
        .astype(int)
    )
    images = torch.from_numpy(inspection.sample.images(ids))
    with torch.no_grad():
        asked = inspection.net(images).argmax(dim=1)
    generator = torch.Generator().manual_seed(0)
    random = torch.rand(images.shape[:3], generator=generator)
    methods = {k: f for k, f in ATTRIBUTIONS.items() if inspection.layers or k != "grad_cam"}
    methods["(random)"] = lambda *_: random

    def shares(logits: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(inspection.predictor.probabilities(logits.numpy())))

    for name, method in methods.items():
        maps = method(inspection.net, images, asked)
        found.trust.append({
            "method": name,
            "deletion": area(deletion(inspection.net, images, asked, maps, shares=shares)),
            "insertion": area(
                deletion(inspection.net, images, asked, maps, insert=True, shares=shares)
            ),
            "likeness": likeness(method, inspection.net, images, asked)
            if name in ATTRIBUTIONS else None,
        })  # fmt: skip


def _errors(inspection: _Inspection, found: Explanation) -> None:
    """The surest mistakes, and what of the training images is most like them."""
    targets = _class_numbers(inspection)
    if targets is None:
        found.notes.append("errors: with several labels an image they are not shown")
        return
    shares = inspection.all_probabilities
    wrong = np.flatnonzero(shares.argmax(axis=1) != targets)
    surest = wrong[np.argsort(-shares.max(axis=1)[wrong], kind="stable")][:_ERRORS]
    if not len(surest):
        found.notes.append(
            f"errors: none in {len(inspection.sample):,} images of {inspection.sample.split}"
        )
        return
    train = _training_images(inspection, found, "errors", inspection.choice.images)
    if train is None:
        return
    positions, likenesses = nearest(
        last_features(inspection.net, train.batches()), inspection.features[surest], count=6
    )
    for picture, ids, like in zip(inspection.pictures(surest), positions, likenesses, strict=True):
        near = _pictures(train, ids, inspection.probabilities, inspection.classes)
        pairs = zip(near, like, strict=True)
        found.errors.append((picture, [Neighbour(p, float(value)) for p, value in pairs]))


def _probes(inspection: _Inspection, found: Explanation) -> None:
    targets = _class_numbers(inspection)
    if targets is None:
        found.notes.append("probes: with several labels an image they are not fitted")
        return
    train = _training_images(inspection, found, "probes", _PROBED)
    if train is None:
        return
    assert train.targets is not None
    known_classes = class_numbers(train.targets)
    assert known_classes is not None
    modules = {layer.name: inspection.module(layer) for layer in inspection.layers}
    known = layer_features(inspection.net, train.batches(), modules)
    asked = layer_features(inspection.net, inspection.sample.batches(), modules)
    for layer in inspection.layers:
        told = probe(layer.name, (known[layer.name], known_classes), (asked[layer.name], targets))
        low, high = wilson(told.right.sum(), len(told.right))
        row = _row(found, layer)
        row |= {"probe": told.accuracy, "low": low, "high": high, "features": told.features}


def _class_numbers(inspection: _Inspection) -> NDArray[np.int64] | None:
    targets = inspection.sample.targets
    return None if targets is None else class_numbers(targets)


def _training_images(
    inspection: _Inspection, found: Explanation, topic: str, count: int
) -> Sample | None:
    try:
        return inspection.train(count)
    except (DataError, RunError) as error:
        found.notes.append(f"{topic}: the training images cannot be read: {error.message}")
        return None


def _equivariance(inspection: _Inspection, found: Explanation) -> None:
    ids = (
        np.linspace(0, len(inspection.sample) - 1, min(64, len(inspection.sample)))
        .round()
        .astype(int)
    )
    images = torch.from_numpy(inspection.sample.images(ids))
    for layer in inspection.layers:
        seen = inspection.fields[layer.name]
        apart = (
            equivariance(inspection.net, images, inspection.module(layer), seen.stride)
            if seen
            else np.nan
        )
        _row(found, layer)["moves"] = None if np.isnan(apart) else apart
        _row(found, layer)["field"] = list(seen.size) if seen else None


def _row(found: Explanation, layer: Layer) -> dict[str, Any]:
    """The layer's row, made where there is none."""
    for row in found.rows:
        if row["layer"] == layer.name:
            return row
    shape = [layer.channels, layer.height, layer.width]
    found.rows.append({"layer": layer.name, "maps": shape})
    return found.rows[-1]


TOPICS: dict[str, Callable[[_Inspection, Explanation], None]] = {
    "filters": _filters, "maps": _maps, "patches": _patches, "maximised": _maximised,
    "attributions": _attributions, "trust": _trust, "errors": _errors, "probes": _probes,
    "equivariance": _equivariance,
}  # fmt: skip
_NEEDS_ANSWERS = {
    "maps", "maximised", "patches", "attributions", "trust", "errors", "probes", "equivariance",
}  # fmt: skip
_NEEDS_CLASSES = {"maximised", "patches", "errors", "probes", "trust", "equivariance"}


def check_topics(topics: Collection[str]) -> None:
    """Raise ModelError for one that there is not."""
    for topic in topics:
        if topic not in TOPICS:
            raise ModelError(f"no topic '{topic}'", perhaps(topic, TOPICS))
