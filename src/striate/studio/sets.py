"""Looking at data: every image of a set in a grid, filtered, one opened, doubtful ones marked."""

from __future__ import annotations

import csv
import io
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from striate.api.mapping import make_map
from striate.api.runs import Run
from striate.atlas.mapping import Mapping, map_of, part_of
from striate.audit.check import check
from striate.core.errors import DataError
from striate.core.recipe import Recipe
from striate.data.check.exclude import Row, read_excluded, write_questionable
from striate.data.dataset import Dataset, Split, open_dataset
from striate.data.decode import UndecodableError, unify
from striate.explain.features import nearest
from striate.report.pictures import tile
from striate.studio.look import Looker, born_of, uri
from striate.studio.messages import ImageFacts, MapFacts, Neighbour, Selection, SetFacts
from striate.training.log import drained

_KEPT, _FILTERS, _MOST_MEGAPIXELS = 4, 64, 100.0
NEIGHBOURHOOD = 5000
"""Images among which neighbours are looked for."""
RIGHT, WRONG = "right", "wrong"


@dataclass(frozen=True)
class Filter:
    """ "" filters nothing. `judged`: right or wrong, by the run's predictions."""

    split: str = ""
    label: str = ""
    finding: str = ""
    judged: str = ""


@dataclass
class Shown:
    """A data set with its images numbered through all splits."""

    id: str
    name: str
    dataset: Dataset
    run: Run | None
    doubtful: Path
    starts: dict[str, int] = field(default_factory=dict)
    rows: dict[int, list[str]] = field(default_factory=dict)
    judged: dict[int, tuple[str, bool]] = field(default_factory=dict)
    marked: dict[int, str] = field(default_factory=dict)
    labels: list[NDArray[np.int64]] = field(default_factory=list)
    filters: OrderedDict[Filter, NDArray[np.int64]] = field(default_factory=OrderedDict)
    features: tuple[Any, NDArray[np.int64], NDArray[Any]] | None = None
    born: float = 0.0
    read: float = 0.0
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(len(split) for split in self.dataset.splits.values())

    def place(self, number: int) -> tuple[str, int]:
        """The split of an image and its position there. Raises DataError."""
        for split, start in self.starts.items():
            if start <= number < start + len(self.dataset.splits[split]):
                return split, number - start
        raise DataError("there is no such image")

    def name_of(self, number: int) -> str:
        split, at = self.place(number)
        return self.dataset.splits[split].images.name(at)

    def labels_of(self, number: int) -> list[str]:
        split, at = self.place(number)
        numbers = self.dataset.splits[split].targets.of(at)
        return list(dict.fromkeys(self.dataset.classes[n] for n in numbers))

    def label_of(self, number: int) -> str:
        return ", ".join(self.labels_of(number))


class Sets:
    """Opens data sets when they are first looked at and keeps the last few."""

    def __init__(self, home: Path, looker: Looker) -> None:
        self._home, self._looker = home, looker
        self._opened: OrderedDict[str, Shown] = OrderedDict()

    def of_run(self, name: str, path: Path) -> Shown:
        """A run's own data, with its predictions as soon as there are any."""
        shown, born = self._kept(name), born_of(path)
        if shown is None or shown.born != born:
            shown = self._open(name, Run(path))
            shown.born = born
        self._read_predictions(shown, Run(path))
        return shown

    def of_source(self, name: str, source: str) -> Shown:
        """Data that was not trained on. Raises DataError."""
        return self._kept(name) or self._open(name, None, source)

    def facts(self, shown: Shown) -> SetFacts:
        counts = Counter(rule for rules in shown.rows.values() for rule in set(rules))
        split = shown.place(next(iter(shown.judged)))[0] if shown.judged else ""
        return SetFacts(
            id=shown.id, name=shown.name, classes=list(shown.dataset.classes)[:1000],
            splits={name: len(s) for name, s in shown.dataset.splits.items()},
            findings=dict(counts), judged=split, doubtful=str(shown.doubtful),
            marked=len(shown.marked),
        )  # fmt: skip

    def select(self, shown: Shown, wanted: Filter) -> NDArray[np.int64]:
        """Numbers of the images that a filter leaves, in order. Raises DataError."""
        if wanted in shown.filters and wanted.finding != "marked":
            return shown.filters[wanted]
        if wanted.split and wanted.split not in shown.dataset.splits:
            raise DataError("there is no such split")
        found = [
            shown.starts[name] + np.flatnonzero(self._having(shown, split, wanted.label))
            for name, split in shown.dataset.splits.items()
            if wanted.split in ("", name)
        ]
        numbers = np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
        if wanted.finding == "marked":
            numbers = _among(numbers, shown.marked)
        elif wanted.finding:
            numbers = _among(numbers, {n for n, r in shown.rows.items() if wanted.finding in r})
        if wanted.judged in (RIGHT, WRONG):
            right = wanted.judged == RIGHT
            numbers = _among(numbers, {n for n, (_, ok) in shown.judged.items() if ok == right})
        shown.filters[wanted] = numbers
        while len(shown.filters) > _FILTERS:
            shown.filters.popitem(last=False)
        return numbers

    def selection(self, shown: Shown, wanted: Filter, start: int, count: int) -> Selection:
        numbers = self.select(shown, wanted)
        return Selection(len(numbers), [int(n) for n in numbers[start : start + count]])

    def sheet(self, shown: Shown, numbers: Sequence[int], side: int, columns: int) -> bytes:
        """Tiles of images, row by row, as one JPEG; grey where one cannot be read."""
        rows = -(-len(numbers) // columns)
        made = Image.new("RGB", (columns * side, max(1, rows) * side), (128, 128, 128))
        for i, number in enumerate(numbers):
            split, at = shown.place(int(number))
            try:
                pixels = shown.dataset.splits[split].images.pixels(at, _MOST_MEGAPIXELS, side)
            except UndecodableError:
                continue
            small = Image.fromarray(unify(pixels, side, 3, "pad"))
            made.paste(small, (i % columns * side, i // columns * side))
        buffer = io.BytesIO()
        made.save(buffer, "JPEG", quality=88)
        return buffer.getvalue()

    def image(self, shown: Shown, number: int, tail: Any) -> ImageFacts:
        """Everything about one image; tail: of the run whose network is asked, or None."""
        split, at = shown.place(number)
        images = shown.dataset.splits[split].images
        try:
            pixels = images.pixels(at, _MOST_MEGAPIXELS)
        except UndecodableError as error:
            raise DataError(f"{images.name(at)} cannot be read: {error}") from None
        guesses, saliency = [], ""
        if tail is not None:
            asked = self._looker.ask(tail, _png(pixels))
            guesses, saliency = asked.guesses, asked.saliency
        return ImageFacts(
            number=number, name=images.name(at), split=split, labels=shown.labels_of(number),
            width=pixels.shape[1], height=pixels.shape[0], findings=shown.rows.get(number, []),
            doubtful=number in shown.marked, picture=uri(tile(pixels, 320)), saliency=saliency,
            guesses=guesses,
            neighbours=self._neighbours(shown, number, pixels, tail) if tail is not None else [],
        )  # fmt: skip

    def mark(self, shown: Shown, numbers: Sequence[int], doubtful: bool) -> SetFacts:
        """Write the list that `data.exclude` reads: the only file that the studio writes here."""
        for number in numbers:
            shown.place(number)
        shown.marked = {n: w for n, w in shown.marked.items() if n not in set(numbers)}
        if doubtful:
            shown.marked |= dict.fromkeys(numbers, "marked in the studio")
        shown.filters = OrderedDict(
            (k, v) for k, v in shown.filters.items() if k.finding != "marked"
        )
        rows = []
        for each, why in sorted(shown.marked.items()):
            split, at = shown.place(each)
            own = shown.dataset.own_names.get(split, split)
            key = shown.dataset.splits[split].images.key(at)
            rows.append(Row(True, own, key, shown.label_of(each), "doubtful", why))
        shown.doubtful.parent.mkdir(parents=True, exist_ok=True)
        write_questionable(shown.doubtful, rows)
        return self.facts(shown)

    def check(self, shown: Shown) -> list[str]:
        """Audit the data; what was found, in a sentence each. Images can be filtered by it."""
        source = shown.run.recipe.data.source if shown.run else shown.dataset.source
        found = drained(check(source, shown.run.recipe if shown.run else Recipe(), models=False))
        names = {(shown.dataset.own_names.get(s, s), shown.dataset.splits[s].images.key(i)): n
                 for s, i, n in self._all(shown)}  # fmt: skip
        rows: dict[int, list[str]] = {}
        for row in found.rows:
            number = names.get((row.split, row.image))
            if number is not None:
                rows.setdefault(number, []).append(row.finding)
        shown.rows, shown.filters = rows, OrderedDict()
        return [f"{f.rule}: {f.text}" for f in found.findings if f.verdict != "pass"]

    def map(self, shown: Shown, method: str, images: int) -> MapFacts:
        """Places of images that are alike near each other: by the run's features, or pixels."""
        if method not in ("pca", "tsne"):
            raise DataError("a map is made by pca or tsne")
        if shown.run is not None:
            found: Mapping = make_map(by=shown.run, method=method, images=images)  # type: ignore[arg-type]
        else:
            parts = [
                part_of(shown.name, split, part.images, part.targets, shown.dataset.classes)
                for split, part in shown.dataset.splits.items()
            ]
            found = map_of(parts, method=method, images=images)  # type: ignore[arg-type]
        if not shown.numbers:
            shown.numbers = {(s, shown.dataset.splits[s].images.name(i)): n
                             for s, i, n in self._all(shown)}  # fmt: skip
        points, classes = found.points, list(shown.dataset.classes)
        known = {name: i for i, name in enumerate(classes)}
        splits = points.columns.get("split", [""] * len(points.names))
        labels = points.columns.get("label", [""] * len(points.names))
        numbers = [shown.numbers.get((s, n), -1) for s, n in zip(splits, points.names, strict=True)]
        return MapFacts(
            x=[float(f"{v:.4g}") for v in points.places[:, 0]],
            y=[float(f"{v:.4g}") for v in points.places[:, 1]],
            numbers=numbers, groups=[known.get(label, -1) for label in labels],
            classes=classes[:1000], notes=list(found.sentences()),
        )  # fmt: skip

    def _kept(self, name: str) -> Shown | None:
        if name in self._opened:
            self._opened.move_to_end(name)
        return self._opened.get(name)

    def _open(self, name: str, run: Run | None, source: str = "") -> Shown:
        dataset = run.own_data() if run else open_dataset(source, strict=False)
        title = run.path.name if run else Path(source).name
        stem = Path(dataset.source).stem
        plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in stem)[:60] or "data"
        doubtful = self._home / f"doubtful-{plain}-{name[:6]}.csv"
        shown = Shown(name, title, dataset, run, doubtful)
        start = 0
        for split, part in dataset.splits.items():
            shown.starts[split] = start
            start += len(part)
        self._read_marks(shown)
        self._opened[name] = shown
        while len(self._opened) > _KEPT:
            self._opened.popitem(last=False)
        return shown

    def _read_marks(self, shown: Shown) -> None:
        if not shown.doubtful.is_file():
            return
        marked = set(read_excluded(str(shown.doubtful)))
        for split, i, number in self._all(shown):
            own = shown.dataset.own_names.get(split, split)
            if (own, shown.dataset.splits[split].images.key(i)) in marked:
                shown.marked[number] = "marked in the studio"

    def _read_predictions(self, shown: Shown, run: Run) -> None:
        """Which images of the scored split were answered rightly, as predictions.csv says."""
        path = run.path / "predictions.csv"
        if not path.is_file() or path.stat().st_mtime == shown.read:
            return
        shown.read, shown.judged, shown.filters = path.stat().st_mtime, {}, OrderedDict()
        split = str(run.read_json("scores.json").get("split", "test"))
        if split not in shown.dataset.splits:
            return
        with path.open(newline="", encoding="utf-8") as file:
            said = {row["image"]: row for row in csv.DictReader(file) if "predicted" in row}
        for s, i, number in self._all(shown):
            if s != split:
                continue
            row = said.get(shown.dataset.splits[s].images.name(i))
            if row is not None:
                shown.judged[number] = (row["predicted"], row["predicted"] == row["true"])

    def _all(self, shown: Shown) -> Any:
        for split, part in shown.dataset.splits.items():
            for i in range(len(part)):
                yield split, i, shown.starts[split] + i

    def _having(self, shown: Shown, split: Split, label: str) -> NDArray[np.bool_]:
        if not label:
            return np.ones(len(split), dtype=bool)
        if label not in shown.dataset.classes:
            raise DataError("there is no such class")
        found: NDArray[np.bool_] = split.targets.having(shown.dataset.classes.index(label))
        return found

    def _neighbours(
        self, shown: Shown, number: int, pixels: NDArray[np.uint8], tail: Any
    ) -> list[Neighbour]:
        """Training images that the network's last features find most alike."""
        run = shown.run
        if run is None or "train" not in shown.dataset.splits:
            return []
        stamp, asked = self._looker.features(tail, run.pictures([pixels]))
        if shown.features is None or shown.features[0] != stamp:
            sample, train = run.sample(split="train", images=NEIGHBOURHOOD), shown.starts["train"]
            images = shown.dataset.splits["train"].images
            own = {images.name(i): train + i for i in range(len(images))}
            numbers = np.array([own.get(name, -1) for name in sample.names])
            shown.features = (stamp, numbers, self._looker.features(tail, sample)[1])
        _, numbers, features = shown.features
        places, likenesses = nearest(features, asked, 7)
        found = [
            Neighbour(int(numbers[p]), shown.name_of(int(numbers[p])),
                      shown.label_of(int(numbers[p])), float(f"{like:.3f}"))
            for p, like in zip(places[0], likenesses[0], strict=True)
            if numbers[p] >= 0 and numbers[p] != number
        ]  # fmt: skip
        return found[:6]


def _among(numbers: NDArray[np.int64], chosen: Any) -> NDArray[np.int64]:
    return numbers[np.isin(numbers, np.fromiter(chosen, dtype=np.int64, count=len(chosen)))]


def _png(pixels: NDArray[np.uint8]) -> bytes:
    flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(flat)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
