"""The first two rungs: a classifier on every window, and on every proposed region (E1, E2).

Nothing of the network learns: a linear classifier is fitted to its features of regions, those
around an object and those around none. Boxes stay where windows and proposals are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from striate.core.arrays import Floats, Ids, Pixels
from striate.core.boxes import Found, overlaps
from striate.core.geometry import hulls
from striate.core.randomness import permutation
from striate.data.augment import centre
from striate.data.boxes import Boxes
from striate.data.decode import resized
from striate.data.loader import to_centre
from striate.models.detectors.detector import best_of, detector_in
from striate.models.detectors.pooling import pool_regions
from striate.models.detectors.proposals import selective_search, windows
from striate.models.linear import Linear, fitted
from striate.models.network import Network
from striate.plan.prepare import Prepared
from striate.tasks.detect.answer import as_arrays
from striate.tasks.evaluation import Evaluation

ON, OFF = 0.6, 0.3
"""Overlaps from which on a region is an object, and below which it is none."""
EMPTY, REGIONS, CROP = 20, 200, 224
"""Regions without an object of each training image; proposals of an image; pixels of a crop."""
_STRENGTH, _AT_ONCE = 1e-2, 16
Features = Callable[[Pixels, Floats], NDArray[np.float32]]
"""(one image uint8 (S, S, C), regions (K, 4)) → features (K, F)."""


@dataclass(frozen=True)
class Answered:
    """A rung's evaluation, seconds an image by stage, seconds of fitting, notes."""

    evaluation: Evaluation
    seconds: dict[str, float]
    training: float
    notes: tuple[str, ...]


def by_window(prepared: Prepared) -> Answered:
    """Every window of several sizes and shapes, on features that are shared; and what a crop each
    would cost."""
    net, size = _network(prepared), prepared.settled.image_size
    places = windows(size)
    detector = detector_in(net)

    @torch.inference_mode()
    def features(image: Pixels, regions: Floats) -> NDArray[np.float32]:
        coarse = detector.maps(net.prepared(torch.from_numpy(image[None])))[-1]
        which = torch.zeros(len(regions), dtype=torch.long)
        boxes, stride = torch.from_numpy(regions).float(), size / coarse.shape[-1]
        return pool_regions(coarse, boxes, which, stride, size=2).flatten(1).numpy()

    found = _answered(prepared, features, lambda _: places)
    crop = _seconds_a_crop(net)
    note = (
        f"{len(places):,} windows an image; a crop through the network for each of them would take "
        f"{crop * len(places):.1f} s an image ({1000 * crop:.1f} ms a crop of {CROP} pixels)"
    )
    return Answered(found.evaluation, found.seconds, found.training, (note,))


def by_region(prepared: Prepared) -> Answered:
    """R-CNN: selective search, and a crop through the network for each of its regions."""
    net = _network(prepared)

    @torch.inference_mode()
    def features(image: Pixels, regions: Floats) -> NDArray[np.float32]:
        rows = []
        for part in np.array_split(regions, -(-len(regions) // _AT_ONCE)):
            crops = torch.from_numpy(np.stack([_crop(image, box) for box in part]))
            rows.append(_pooled(net, crops))
        return torch.cat(rows).numpy()

    note = f"up to {REGIONS} regions an image, a crop of {CROP} pixels each"
    found = _answered(prepared, features, lambda image: selective_search(image, REGIONS))
    return Answered(found.evaluation, found.seconds, found.training, (note,))


def _answered(
    prepared: Prepared, features: Features, regions: Callable[[Pixels], Floats]
) -> Answered:
    """Fit the classifier, and find the objects of the test images."""
    classes, began = len(prepared.data.dataset.classes), time.perf_counter()
    examples = _examples(prepared, features, regions)
    judge = fitted(*examples, classes + 1, strength=_STRENGTH)
    training, seconds, found = time.perf_counter() - began, np.zeros(3), []
    for image, _ in images_of(prepared, "test"):
        moments = [time.perf_counter()]
        places = regions(image)
        moments.append(time.perf_counter())
        seen = features(image, places) if len(places) else None
        moments.append(time.perf_counter())
        found.append(_best(places, seen, judge, classes))
        moments.append(time.perf_counter())
        seconds += np.diff(moments)
    each = dict(zip(("regions", "features", "boxes"), seconds / max(1, len(found)), strict=True))
    evaluation = evaluated(prepared, found)
    return Answered(evaluation, {k: float(v) for k, v in each.items()}, training, ())


def evaluated(prepared: Prepared, found: list[Found]) -> Evaluation:
    """The evaluation of what was found in the test images, in pixels of the network's input."""
    store, ids = prepared.data.stores["test"], np.arange(len(found), dtype=np.int64)
    moves = to_centre(store, ids, prepared.settled.image_size)
    corner = np.tile([[[0.0, 0.0, 1.0]]], (len(moves), 1, 1))
    back = np.linalg.inv(np.concatenate([moves, corner], axis=1))[:, :2]
    scorer = prepared.task.scorer(
        prepared.data.dataset.splits["test"].targets, prepared.data.scored("test")
    )
    said = as_arrays(found)
    scorer.add(ids, {**said, "boxes": hulls(said["boxes"], back)})
    return scorer.result()


def _examples(
    prepared: Prepared, features: Features, regions: Callable[[Pixels], Floats]
) -> tuple[NDArray[np.float32], Ids]:
    """(features (M, F), classes (M,)) of regions of the training images; the last class is that of
    none. Objects themselves are regions too."""
    nothing = len(prepared.data.dataset.classes)
    rows, truth = [], []
    for number, (image, own) in enumerate(images_of(prepared, "train")):
        places = np.concatenate([regions(image), own.places])
        overlap = overlaps(places, own.places)
        most = overlap.max(axis=1, initial=0.0)
        on, off = np.flatnonzero(most >= ON), np.flatnonzero(most < OFF)
        off = off[permutation(prepared.settled.seed, number, "regions", len(off))[:EMPTY]]
        chosen = np.concatenate([on, off])
        rows.append(features(image, places[chosen]))
        named = own.numbers[overlap[on].argmax(axis=1)] if len(on) else np.zeros(0, np.int64)
        truth.append(np.concatenate([named, np.full(len(off), nothing)]))
    return np.concatenate(rows), np.concatenate(truth)


def images_of(prepared: Prepared, split: str) -> Iterator[tuple[Pixels, Boxes]]:
    """Each image as the network sees it, with its objects there."""
    store, size = prepared.data.stores[split], prepared.settled.image_size
    targets = prepared.data.dataset.splits[split].targets
    for i in range(len(store)):
        ids = np.array([i], dtype=np.int64)
        own = targets.take(ids).moved(to_centre(store, ids, size), size)
        assert isinstance(own, Boxes)
        yield np.ascontiguousarray(centre(store.load(ids), size)[0]), own.where(own.sure)


def _best(places: Floats, seen: NDArray[np.float32] | None, judge: Linear, classes: int) -> Found:
    if seen is None:
        return Found(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    scores = torch.from_numpy(judge.scores(seen)).softmax(dim=1)[:, :classes].float()
    return best_of(torch.from_numpy(places).float(), scores)


def _network(prepared: Prepared) -> Network:
    net = prepared.fresh().net
    assert isinstance(net, Network)
    return net.eval()


def _pooled(net: Network, images: Tensor) -> Tensor:
    """The last maps' means over all places (N, F)."""
    detector = detector_in(net)
    return detector.maps(net.prepared(images))[-1].mean(dim=(2, 3)).float()


def _crop(image: Pixels, box: Floats) -> Pixels:
    left, top = np.floor(np.maximum(box[:2], 0)).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    part = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    return resized(np.ascontiguousarray(part), CROP, CROP)


def _seconds_a_crop(net: Network) -> float:
    """Of a crop through the network, in parts of _AT_ONCE, the best of three."""
    crops = torch.zeros((_AT_ONCE, CROP, CROP, 3), dtype=torch.uint8)
    times = []
    with torch.inference_mode():
        for _ in range(3):
            began = time.perf_counter()
            _pooled(net, crops)
            times.append(time.perf_counter() - began)
    return min(times) / _AT_ONCE
