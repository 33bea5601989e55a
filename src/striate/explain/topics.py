"""What is looked at inside a network, topic by topic (M5, L8)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.arrays import Pixels
from striate.core.errors import DataError, RunError
from striate.data.targets import class_numbers
from striate.explain.attribution import ATTRIBUTIONS
from striate.explain.explanation import Explanation, Neighbour, Picture, Unit
from striate.explain.features import equivariance, layer_features, nearest, probe
from striate.explain.inspection import Inspection
from striate.explain.maximise import maximised
from striate.explain.patches import WAYS_BACK, projections, top_patches, window
from striate.explain.sample import Sample
from striate.explain.trust import area, deletion, likeness
from striate.metrics.intervals import wilson
from striate.models.hooks import (
    Layer,
    last_features,
)

Floats = NDArray[np.floating[Any]]

_PATIENCE = 60.0
"""Seconds after which no more maximised images are begun."""
_SHOWN, _TRUSTED, _ERRORS, _PROBED = 6, 8, 12, 2000
"""Images whose maps and attributions are shown, with which attributions are tried, errors that are
shown, and images on which probes are fitted."""


def _shown(inspection: Inspection, ids: Sequence[int] | NDArray[Any]) -> list[Picture]:
    """Images of the sample with what is known and said of them."""
    return list(_pictures(inspection.sample, ids, inspection.probabilities, inspection.classes))


def _pictures(
    sample: Sample, ids: Sequence[int] | NDArray[Any], ask: Any, classes: tuple[str, ...]
) -> Iterator[Picture]:
    images = sample.images(ids)
    for i, pixels, likely in zip(ids, images, ask(images), strict=True):
        known = () if sample.targets is None else sample.targets.of(int(i))
        true = ", ".join(classes[number] for number in known)
        best = int(likely.argmax())
        yield Picture(sample.names[i], pixels, true, classes[best], float(likely[best]))


def filters(inspection: Inspection, found: Explanation) -> None:
    channels = inspection.shape[2]
    for module in inspection.net.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels in (1, 3):
            if min(module.kernel_size) > 1:
                found.filters = module.weight.detach().permute(0, 2, 3, 1).numpy()
                return
            break
    found.notes.append(f"the first layer has no filters of {channels} channels to show")


def _maps(inspection: Inspection, found: Explanation) -> None:
    ids = (
        np.arange(min(_SHOWN, len(inspection.sample)))
        if inspection.sample.targets is None
        else _spread(inspection)
    )
    for picture in _shown(inspection, ids[:3]):
        found.maps.append((picture, inspection.strongest_maps(picture.pixels)))


def _spread(inspection: Inspection) -> NDArray[np.int64]:
    """Images of as many classes as there are places, the first of each."""
    targets = inspection.sample.targets
    assert targets is not None
    numbers = class_numbers(targets)
    if numbers is None or not len(targets):
        return np.arange(min(_SHOWN, len(targets)))
    _, first = np.unique(numbers, return_index=True)
    wanted = np.linspace(0, len(first) - 1, min(_SHOWN, len(first))).round().astype(int)
    return np.asarray(first[wanted], dtype=np.int64)


def _patches(inspection: Inspection, found: Explanation) -> None:
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


def _box(inspection: Inspection, layer: Layer, place: Any) -> tuple[slice, slice]:
    seen, sides = inspection.fields[layer.name], inspection.shape[:2]
    if seen is None:
        return slice(0, sides[0]), slice(0, sides[1])
    return window(place, seen.size, seen.stride, seen.padding, sides)


def _maximised(inspection: Inspection, found: Explanation) -> None:
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


def _attributions(inspection: Inspection, found: Explanation) -> None:
    ids = (
        np.arange(min(_SHOWN, len(inspection.sample)))
        if inspection.sample.targets is None
        else _spread(inspection)
    )
    pictures = _shown(inspection, ids)
    images = torch.from_numpy(np.stack([p.pixels for p in pictures]))
    asked = torch.tensor([inspection.classes.index(p.predicted) for p in pictures])
    methods = [m for m in inspection.choice.methods if inspection.layers or m != "grad_cam"]
    each = {name: ATTRIBUTIONS[name](inspection.net, images, asked).numpy() for name in methods}
    for i, picture in enumerate(pictures):
        found.attributions.append((picture, {name: maps[i] for name, maps in each.items()}))


def _trust(inspection: Inspection, found: Explanation) -> None:
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

    def said(logits: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(inspection.predictor.probabilities(logits.numpy())))

    for name, method in methods.items():
        maps = method(inspection.net, images, asked)
        found.trust.append({
            "method": name,
            "deletion": area(deletion(inspection.net, images, asked, maps, probabilities=said)),
            "insertion": area(
                deletion(inspection.net, images, asked, maps, insert=True, probabilities=said)
            ),
            "likeness": likeness(method, inspection.net, images, asked)
            if name in ATTRIBUTIONS else None,
        })  # fmt: skip


def _errors(inspection: Inspection, found: Explanation) -> None:
    """The surest mistakes, and what of the training images is most like them."""
    targets = _class_numbers(inspection)
    if targets is None:
        found.notes.append("errors: with several labels an image they are not shown")
        return
    likely = inspection.all_probabilities
    wrong = np.flatnonzero(likely.argmax(axis=1) != targets)
    surest = wrong[np.argsort(-likely.max(axis=1)[wrong], kind="stable")][:_ERRORS]
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
    for picture, ids, like in zip(_shown(inspection, surest), positions, likenesses, strict=True):
        near = _pictures(train, ids, inspection.probabilities, inspection.classes)
        pairs = zip(near, like, strict=True)
        found.errors.append((picture, [Neighbour(p, float(value)) for p, value in pairs]))


def _probes(inspection: Inspection, found: Explanation) -> None:
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
        scored = probe(layer.name, (known[layer.name], known_classes), (asked[layer.name], targets))
        low, high = wilson(scored.right.sum(), len(scored.right))
        row = _row(found, layer)
        row |= {"probe": scored.accuracy, "low": low, "high": high, "features": scored.features}


def _class_numbers(inspection: Inspection) -> NDArray[np.int64] | None:
    targets = inspection.sample.targets
    return None if targets is None else class_numbers(targets)


def _training_images(
    inspection: Inspection, found: Explanation, topic: str, count: int
) -> Sample | None:
    try:
        return inspection.train(count)
    except (DataError, RunError) as error:
        found.notes.append(f"{topic}: the training images cannot be read: {error.message}")
        return None


def _equivariance(inspection: Inspection, found: Explanation) -> None:
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


TOPICS: dict[str, Callable[[Inspection, Explanation], None]] = {
    "filters": filters, "maps": _maps, "patches": _patches, "maximised": _maximised,
    "attributions": _attributions, "trust": _trust, "errors": _errors, "probes": _probes,
    "equivariance": _equivariance,
}  # fmt: skip
