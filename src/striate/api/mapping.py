"""Maps of data sets: where their images lie, by pixels or by what a network makes of them (D4)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import striate
from striate.api.runs import Run
from striate.atlas.embed import LANDMARKS, tsne
from striate.atlas.pca import Principal, principal
from striate.atlas.quality import Quality, quality
from striate.core.errors import DataError, RunError, counted
from striate.core.files import disk_faults_explained, write_atomically, write_json
from striate.core.runtime import usable_cores
from striate.data.check.survey import survey
from striate.data.decode import Pixels, UndecodableError, Unified
from striate.data.loader import spread
from striate.data.sources import open_source
from striate.data.sources.listing import WHOLE, Part
from striate.explain.features import last_features
from striate.report.map_page import MapPoints, map_csv, map_html, map_pictures
from striate.training.materials import how_to_read

Method = Literal["tsne", "pca"]
_SIDE, _MEGAPIXELS = 32, 100.0
"""Pixels are compared at 32 × 32, where what is to be seen is still there."""
_COMPONENTS = 50
_THUMBNAILS = 100_000


@dataclass(frozen=True)
class Mapped:
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

    def save(self, folder: Path, title: str) -> Path:
        """map.html, map.png, map.svg, map.csv and map.json; the page's path."""
        with disk_faults_explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        png, svg = map_pictures(self.points, title)
        page = map_html(
            self.points, title=title, notes=self.sentences(), version=striate.__version__
        )
        for name, content in (("map.png", png), ("map.svg", svg), ("map.html", page)):
            write_atomically(folder / name, content)
        write_atomically(folder / "map.csv", map_csv(self.points))
        write_json(folder / "map.json", self.to_json())
        return folder / "map.html"

    def sentences(self) -> list[str]:
        """What it is, and how far it can be believed."""
        q = self.quality
        how = "t-SNE" if self.method == "tsne" else "principal components"
        chance = 15 / max(1, len(self.points.names))
        said = [
            f"{counted(len(self.points.names), 'image')} by {self.by}, {how}.",
            f"Of an image's 15 nearest, {q.kept:.0%} are among the 15 nearest on the map "
            f"({chance:.2%} by chance); trustworthiness {q.trustworthiness:.2f} (½ by chance)"
            + (f"; two seeds agree on {q.stable:.0%}." if q.stable is not None else "."),
        ]
        if self.method == "pca":
            said.append(f"The two axes hold {self.explained:.0%} of the variance.")
        else:
            said.append("Sizes of clusters and distances between them mean nothing in t-SNE.")
        return [*said, *self.notes]


@dataclass(frozen=True)
class _Images:
    """Some images of one split of one data set, with pixels as they are mapped and shown."""

    source: str
    split: str
    part: Part
    pixels: Pixels
    names: tuple[str, ...]
    labels: list[str]


def make_map(
    data: Sequence[Any] = (),
    *,
    run: Run | None = None,
    method: Method = "tsne",
    images: int | None = None,
    perplexity: float = 30.0,
    seed: int = 0,
    landmarks: int = LANDMARKS,
    say: Callable[[str], None] = lambda _: None,
) -> Mapped:
    """A map of one or several data sets, over each other.

    run: compare images by the features of its last layer instead of by their pixels, and say which
    it gets wrong; its own data where no other is given. images: about so many, from all over, the
    same number of each data set.
    Raises DataError and RunError.
    """
    sources = list(data) or ([run.recipe.data.source] if run else [])
    if not sources:
        raise DataError("no data to map", "Name a folder, an archive …, or a run: --run RUN.")
    say("reading images")
    found, notes = _read(sources, run, images)
    pixels = np.concatenate([part.pixels for part in found])
    columns = _columns(found, several=len(sources) > 1)
    say(f"comparing {counted(len(pixels), 'image')}")
    if run is None:
        rows, by = pixels.reshape(len(pixels), -1), f"their pixels at {pixels.shape[1]} × "
        by += str(pixels.shape[2])
    else:
        rows, by = _features(run, pixels), f"what {run.recipe.model.name} makes of them"
        columns |= _answers(run, pixels, columns["label"])
    axes = principal(_parts(rows), min(_COMPONENTS, rows.shape[1], len(rows) - 1))
    reduced = np.concatenate([axes.project(part) for part in _parts(rows)]).astype(np.float32)
    places, again = _placed(reduced, method, perplexity, seed, landmarks, say)
    say("measuring the map")
    told = quality(reduced, places, again)
    shown = spread(len(pixels), _THUMBNAILS)
    points = MapPoints(
        places, [n for part in found for n in part.names], columns, _small(pixels[shown]), shown
    )
    return Mapped(points, told, by, method, _first_two(axes), notes)


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


def _parts(rows: NDArray[Any], count: int = 2000) -> Iterator[NDArray[Any]]:
    for start in range(0, len(rows), count):
        yield rows[start : start + count].astype(np.float32)


def _read(
    sources: Sequence[Any], run: Run | None, images: int | None
) -> tuple[list[_Images], list[str]]:
    """All splits of all sources, as many images of each as its share."""
    parts: list[tuple[str, str, Part]] = []
    for source in sources:
        if run is not None and source == run.recipe.data.source and run.data is not None:
            raise RunError("a run on Python objects cannot be mapped", "Give the data to map.")
        listing = open_source(source)
        name = Path(str(source)).name if isinstance(source, str | Path) else listing.source
        parts += [(name, split, part) for split, part in listing.parts.items()]
    total = sum(len(part) for _, _, part in parts)
    if total < 2:
        raise DataError(f"{counted(total, 'image')}: a map needs two or more")
    how = _shape(parts, run)
    found, notes = [], []
    for source, split, part in parts:
        whole = sum(len(other) for origin, _, other in parts if origin == source)
        count = len(part)
        if images is not None:  # as many of each data set
            count = max(1, round(images / len(sources) * len(part) / whole))
        some = part.take(spread(len(part), count))
        pixels = np.zeros((len(some), how.size, how.size, how.channels), dtype=np.uint8)
        faults = survey(some.images, how, keep=pixels.__setitem__).faults
        if faults:
            notes.append(
                f"{source}, {split}: {counted(len(faults), 'image')} could not be read and left "
                "out; `striate data check` names them"
            )
        kept = np.array([i for i in range(len(some)) if i not in faults], dtype=np.int64)
        some, pixels = some.take(kept), pixels[kept]
        names = tuple(some.images.name(i) for i in range(len(some)))
        found.append(_Images(source, split, some, pixels, names, _labels(some)))
    if sum(len(part.names) for part in found) < 2:
        raise DataError("fewer than two images could be read", *notes[:1])
    return found, notes


def _shape(parts: list[tuple[str, str, Part]], run: Run | None) -> Unified:
    if run is not None:
        whole = how_to_read(run.recipe)
        side = run.recipe.data.image_size
        assert side != "auto"
        return Unified(side, whole.channels, whole.resize, whole.max_megapixels)
    heads = []
    for _, _, part in parts:
        for i in spread(len(part), 50).tolist():
            with contextlib.suppress(UndecodableError):  # it is counted when it is read
                heads.append(part.images.header(i, _MEGAPIXELS))
    if not heads:
        raise DataError("no image could be read", "`striate data check` says why.")
    size = min(_SIDE, max(1, int(np.median([max(h.height, h.width) for h in heads]))))
    channels = 1 if all(h.channels == 1 for h in heads) else 3
    return Unified(size, channels, "crop", _MEGAPIXELS)


def _labels(part: Part) -> list[str]:
    if part.targets.ndim == 1:
        return [part.names[t] for t in part.targets]
    return [", ".join(n for n, t in zip(part.names, row, strict=True) if t) for row in part.targets]


def _columns(found: list[_Images], *, several: bool) -> dict[str, list[str]]:
    columns = {"label": [label for part in found for label in part.labels]}
    splits = [part.split for part in found for _ in part.names]
    if set(splits) != {WHOLE}:
        columns["split"] = splits
    if several:
        columns["data set"] = [part.source for part in found for _ in part.names]
    return columns


def _features(run: Run, pixels: Pixels) -> NDArray[Any]:
    import copy

    import torch

    net = copy.deepcopy(run.network).cpu().float()
    return last_features(net, (torch.from_numpy(part) for part in _blocks(pixels)))


def _blocks(pixels: Pixels, count: int = 500) -> Iterator[Pixels]:
    for start in range(0, len(pixels), count):
        yield pixels[start : start + count]


def _answers(run: Run, pixels: Pixels, labels: list[str]) -> dict[str, list[str]]:
    """What the network says; right or wrong where it knows the class."""
    import torch

    device = next(run.network.parameters()).device
    predicted = []
    with torch.inference_mode():
        for part in _blocks(pixels):
            best = run.network(torch.from_numpy(part).to(device)).argmax(dim=1)
            predicted += [run.classes[i] for i in best.tolist()]
    known = set(run.classes)
    verdicts = [
        "unknown class" if label not in known else "right" if label == said else "wrong"
        for label, said in zip(labels, predicted, strict=True)
    ]
    return {"predicted": predicted, "verdict": verdicts}


def _small(pixels: Pixels) -> Pixels:
    """At most 32 pixels wide, for thumbnails."""
    step = max(1, pixels.shape[1] // _SIDE)
    return pixels[:, ::step, ::step]
