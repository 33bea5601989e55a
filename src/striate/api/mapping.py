"""Maps of data sets and of what a run's network makes of them (D4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import striate
from striate.api.runs import Run
from striate.atlas.embed import LANDMARKS
from striate.atlas.mapping import Mapper, Mapping, Method, Part, map_of, part_of
from striate.core.errors import DataError
from striate.core.files import disk_faults_explained, write_atomically, write_json
from striate.data.sources import open_source
from striate.plan.extract import open_extractor
from striate.report.map_page import map_csv, map_html, map_pictures


class Mapped(Mapping):
    """A map that can be written to a folder."""

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


def make_map(
    data: Sequence[Any] = (),
    *,
    by: Run | str | None = None,
    method: Method = "tsne",
    images: int | None = None,
    perplexity: float = 30.0,
    seed: int = 0,
    landmarks: int = LANDMARKS,
    say: Callable[[str], None] = lambda _: None,
) -> Mapped:
    """A map of one or several data sets, over each other.

    by: what images are compared by instead of their pixels: the last features of a run, which also
    says which it gets wrong, and whose own data are taken where no other is given; or of trained
    weights, by a name that `striate zoo` lists. images: about how many are placed, from all over,
    the same number of each data set. Raises DataError, ModelError and RunError.
    """
    network, run = None, by if isinstance(by, Run) else None
    if run is not None:
        network = Mapper(run.recipe.model.name, run.settled.shape, predictor=run.predictor)
    elif isinstance(by, str):
        extractor = open_extractor(by)
        network = Mapper(extractor.name, extractor.shape, extractor=extractor)
    found = map_of(
        _opened(data, run), network=network, method=method, images=images, perplexity=perplexity,
        seed=seed, landmarks=landmarks, say=say,
    )  # fmt: skip
    return Mapped(**vars(found))


def _opened(data: Sequence[Any], run: Run | None) -> list[Part]:
    """All splits of all data sets, by names that tell them apart."""
    if not data and run is not None:
        own = run.own_data()
        return [
            part_of(own.source, name, split.images, split.targets, own.classes)
            for name, split in own.splits.items()
        ]
    if not data:
        raise DataError("no data to map", "Name a folder, an archive …, or a run: --run RUN.")
    listings = [open_source(source) for source in data]
    texts = [
        str(source) if isinstance(source, str | Path) else f"{listing.source} {number}"
        for number, (source, listing) in enumerate(zip(data, listings, strict=True), start=1)
    ]
    last = [Path(text).name for text in texts]
    names = last if len(set(last)) == len(last) else texts
    return [
        part_of(name, split, part.images, part.targets, part.names)
        for name, listing in zip(names, listings, strict=True)
        for split, part in listing.parts.items()
    ]
