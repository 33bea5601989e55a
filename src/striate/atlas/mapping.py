"""Maps of data sets: where their images lie, by pixels or by what a network makes of them (D4)."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from striate.atlas.embed import LANDMARKS, check_packages, tsne
from striate.atlas.pca import MOST_COLUMNS, Principal, principal
from striate.atlas.points import MapPoints
from striate.atlas.quality import Quality, quality
from striate.core.arrays import Pixels
from striate.core.errors import DataError, counted
from striate.core.runtime import usable_cores
from striate.data.augment import views_of
from striate.data.check.survey import survey
from striate.data.decode import UndecodableError, Unified
from striate.data.images import Images
from striate.data.loader import spread
from striate.data.sources.listing import WHOLE
from striate.data.targets import Targets
from striate.models.hooks import last_features
from striate.plan.extract import Extractor
from striate.plan.predictor import Predictor
from striate.tasks.scorer import joined
from striate.tasks.task import Scored

Method = Literal["tsne", "pca"]
_SIDE, _MEGAPIXELS = 32, 100.0
"""Pixels are compared at 32 × 32, where what is to be seen is still there."""
_COMPONENTS, _LEAST = 50, 4
_TOGETHER = 1000
_THUMBNAILS = 100_000


@dataclass(frozen=True)
class Mapping:
    """A map: `points`, its quality, what was mapped, and notes."""

    points: MapPoints
    quality: Quality
    by: str
    method: Method
    explained: float
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """What is said of it, as plain values."""
        return {
            "images": len(self.points.names), "by": self.by, "method": self.method,
            "explained_variance": self.explained, "quality": asdict(self.quality),
            "notes": self.notes,
        }  # fmt: skip

    def sentences(self) -> list[str]:
        """What it is, and how far it can be believed."""
        q = self.quality
        how = "t-SNE" if self.method == "tsne" else "principal components"
        chance = q.neighbours / (len(self.points.names) - 1)
        said = [
            f"{counted(len(self.points.names), 'image')} by {self.by}, {how}.",
            f"Of an image's {q.neighbours} nearest, {q.kept:.0%} are among the {q.neighbours} "
            f"nearest on the map ({chance:.2%} by chance); trustworthiness "
            f"{q.trustworthiness:.2f} (½ by chance)"
            + (f"; two seeds agree on {q.stable:.0%}." if q.stable is not None else "."),
        ]
        if self.method == "pca":
            said.append(f"The two axes hold {self.explained:.0%} of the variance.")
        else:
            said.append("Sizes of clusters and distances between them mean nothing in t-SNE.")
        return [*said, *self.notes]


@dataclass(frozen=True)
class Mapper:
    """The network by whose features images are compared: what it is called, and how it sees. Either
    the `predictor` of a run, which also says what images are, or an `extractor`."""

    name: str
    shape: Unified
    predictor: Predictor | None = None
    extractor: Extractor | None = None


@dataclass(frozen=True)
class Part:
    """One split of one data set: its images, and the labels of each."""

    source: str
    split: str
    images: Images
    labels: list[tuple[str, ...]]


@dataclass
class _Rows:
    """What is kept of the images that could be read: rows to compare, thumbnails, answers."""

    rows: list[NDArray[Any]] = field(default_factory=list)
    small: list[Pixels] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[tuple[str, ...]] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    predicted: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def map_of(
    parts: Sequence[Part],
    *,
    network: Mapper | None = None,
    method: Method = "tsne",
    images: int | None = None,
    perplexity: float = 30.0,
    seed: int = 0,
    landmarks: int = LANDMARKS,
    say: Callable[[str], None] = lambda _: None,
) -> Mapping:
    """A map of the images of these parts, over each other; see `striate.make_map`."""
    if method == "tsne":
        check_packages()  # before the images are read
    shape = _shape(parts) if network is None else network.shape
    say("reading images")
    found = _read(parts, network, shape, images)
    count = len(found.names)
    if count < _LEAST:
        raise DataError(
            f"{counted(count, 'image')}: a map needs {_LEAST} or more", *found.notes[:1]
        )
    say(f"comparing {counted(count, 'image')}")
    rows = np.concatenate(found.rows)
    found.rows.clear()
    by = f"their pixels at {shape.size} × {shape.size}"
    if network is not None:
        by = f"what {network.name} makes of them"
    axes = _components(rows)
    reduced = np.concatenate([axes.project(part) for part in _blocks(rows)]).astype(np.float32)
    places, again = _placed(reduced, method, perplexity, seed, landmarks, say)
    say("measuring the map")
    measured = quality(reduced, places, again)
    shown = spread(count, _THUMBNAILS)
    thumbnails = np.concatenate(found.small)[shown]
    points = MapPoints(places, found.names, _columns(found, network), thumbnails, shown)
    return Mapping(points, measured, by, method, _first_two(axes), found.notes)


def _components(rows: NDArray[Any]) -> Principal:
    count = min(_COMPONENTS, rows.shape[1], len(rows) - 1)
    if rows.shape[1] <= MOST_COLUMNS:
        return principal(_blocks(rows), count)
    from sklearn.decomposition import (
        PCA,  # a covariance of that many columns would not fit into memory
    )

    made = PCA(count, svd_solver="randomized", random_state=0).fit(rows)
    total = float(made.explained_variance_[0] / made.explained_variance_ratio_[0])
    return Principal(made.mean_, made.components_, made.explained_variance_, total)


def _placed(
    rows: NDArray[np.float32], method: Method, perplexity: float, seed: int, landmarks: int,
    say: Callable[[str], None],
) -> tuple[NDArray[Any], Any]:  # fmt: skip
    """Places, and how to make another map of some rows to compare with."""
    if method == "pca":
        return rows[:, :2].astype(np.float64), None
    if len(rows) < 8:
        raise DataError(f"t-SNE needs 8 images or more, not {len(rows)}", "Try --method pca.")
    threads = usable_cores()
    say("placing them (t-SNE)")
    places = tsne(rows, perplexity=perplexity, seed=seed, landmarks=landmarks, threads=threads)

    def again(some: NDArray[Any], other: int) -> NDArray[Any]:
        return tsne(some, perplexity=perplexity, seed=other, threads=threads, start="random")

    return places, again


def _first_two(axes: Principal) -> float:
    return float(axes.variances[:2].sum() / axes.total) if axes.total else 0.0


def part_of(source: str, split: str, images: Images, targets: Targets, classes: Any) -> Part:
    """A split of a data set with the names of each image's classes."""
    labels = [tuple(classes[c] for c in targets.of(i)) for i in range(len(targets))]
    return Part(source, split, images, labels)


def _read(parts: Sequence[Part], network: Mapper | None, how: Unified, images: int | None) -> _Rows:
    """Read the parts' images, a thousand at a time, so that large ones are never all in memory."""
    found, sources = _Rows(), len({part.source for part in parts})
    trained = None if network is None or network.predictor is None else network.predictor.net
    net = None if trained is None else copy.deepcopy(trained).cpu().float()
    for part in parts:
        whole = sum(len(other.images) for other in parts if other.source == part.source)
        count = len(part.images)
        if images is not None:  # as many of each data set
            count = max(1, round(images / sources * count / whole))
        ids, bad = spread(len(part.images), count), 0
        for start in range(0, len(ids), _TOGETHER):
            some = ids[start : start + _TOGETHER]
            bad += _take(found, part, some, how, network, net)
        if bad:
            found.notes.append(
                f"{part.source}, {part.split}: {counted(bad, 'image')} could not be read and left "
                "out; `striate data check` names them"
            )
    return found


def _take(
    found: _Rows, part: Part, ids: NDArray[Any], how: Unified, network: Mapper | None, net: Any
) -> int:
    """Add what is kept of these images; how many could not be read."""
    images = part.images.take(ids)
    pixels = np.zeros((len(ids), how.size, how.size, how.channels), dtype=np.uint8)
    faults = survey(images, how, keep=pixels.__setitem__).faults
    kept = np.array([i for i in range(len(ids)) if i not in faults], dtype=np.int64)
    if not len(kept):
        return len(faults)
    pixels = pixels[kept]
    if network is None:
        found.rows.append(pixels.reshape(len(pixels), -1))
    elif network.extractor is not None:
        found.rows.append(network.extractor.features(pixels))
    elif network.predictor is not None:
        pixels = np.ascontiguousarray(views_of(pixels, "single", network.predictor.size)[0])
        batches = [torch.from_numpy(x) for x in _blocks(pixels, 100)]
        found.rows.append(last_features(net, batches).astype(np.float32))
        found.predicted += _answers(net, batches, network.predictor)
    step = max(1, pixels.shape[1] // _SIDE)
    found.small.append(pixels[:, ::step, ::step].copy())
    found.names += [images.name(int(i)) for i in kept]
    found.labels += [part.labels[int(i)] for i in ids[kept]]
    found.splits += [part.split] * len(kept)
    found.sources += [part.source] * len(kept)
    return len(faults)


def _answers(net: Any, batches: list[torch.Tensor], predictor: Predictor) -> list[tuple[str, ...]]:
    """The names of the classes that the network calls each image."""
    with torch.inference_mode():
        said = joined([predictor.task.read(net(x)) for x in batches])
    names = tuple("" for _ in range(sum(map(len, batches))))
    answers = predictor.task.answers(said, Scored("map", predictor.classes, names))
    return [tuple(getattr(answer, "labels", ())) for answer in answers]


def _shape(parts: Sequence[Part]) -> Unified:
    heads = []
    for part in parts:
        for i in spread(len(part.images), 50).tolist():
            with contextlib.suppress(UndecodableError):  # it is counted when it is read
                heads.append(part.images.header(i, _MEGAPIXELS))
    if not heads:
        raise DataError("no image could be read", "`striate data check` says why.")
    size = min(_SIDE, max(1, int(np.median([max(h.height, h.width) for h in heads]))))
    channels = 1 if all(h.channels == 1 for h in heads) else 3
    return Unified(size, channels, "crop", _MEGAPIXELS)


def _columns(found: _Rows, network: Mapper | None) -> dict[str, list[str]]:
    columns = {"label": [", ".join(labels) for labels in found.labels]}
    if set(found.splits) != {WHOLE}:
        columns["split"] = found.splits
    if len(set(found.sources)) > 1:
        columns["data set"] = found.sources
    if network is not None and network.predictor is not None:
        columns["predicted"] = [", ".join(labels) for labels in found.predicted]
        known = set(network.predictor.classes)
        columns["verdict"] = [
            "unknown class" if not set(true) <= known else "right" if set(true) == set(said)
            else "wrong"
            for true, said in zip(found.labels, found.predicted, strict=True)
        ]  # fmt: skip
    return columns


def _blocks(rows: NDArray[Any], count: int = 2000) -> Iterator[NDArray[Any]]:
    for start in range(0, len(rows), count):
        yield rows[start : start + count]
