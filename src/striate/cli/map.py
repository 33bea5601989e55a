"""`striate map DATA…`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from striate.cli.flags import parse
from striate.core.strict_json import one_line
from striate.core.words import clock


def map_data(argv: Sequence[str]) -> int:
    """Draw maps of data sets."""
    return int(parse(_map, "map", argv))


def _map(
    data: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    run: Path | None = None,
    weights: str = "",
    method: Literal["tsne", "pca"] = "tsne",
    images: int | None = None,
    perplexity: float = 30.0,
    landmarks: int = 100_000,
    seed: int = 0,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Draw one or several data sets as a map: images that are alike lie together. Writes a page
    with thumbnails, PNG, SVG and a CSV of the places.

    Args:
        data: folders, archives, IDX folders, .csv, digits …
        run: compare by what this run's network makes of the images, and show its errors
            (without DATA: the run's own data)
        weights: compare by what trained weights make of the images: imagenet, or as `striate zoo`
            lists them
        method: tsne (needs the extra maps) or pca
        images: about how many, from all over, the same number of each data set
        perplexity: of t-SNE, about how many neighbours count
        landmarks: how many images t-SNE places; of larger sets the others are put among them
        seed: of t-SNE
        out: the folder to write (default: maps, or RUN/map)
        json: print one JSON object as the last line
    """
    from striate.api.mapping import make_map
    from striate.api.runs import Run
    from striate.core.errors import RecipeError
    from striate.core.files import check_folder

    if images is not None and images < 2:
        raise RecipeError(f"--images {images}: expected 2 or more")
    if not perplexity >= 1:
        raise RecipeError(f"--perplexity {perplexity:g}: expected 1 or more")
    if landmarks < 100:
        raise RecipeError(f"--landmarks {landmarks}: expected 100 or more")
    if run and weights:
        raise RecipeError("--run and --weights both given", "A map compares images by one of them.")
    folder = out or (run / "map" if run else Path("maps"))
    check_folder(folder)
    began = time.perf_counter()
    by = Run(run) if run else weights or None
    found = make_map(
        data, by=by, method=method, images=images, perplexity=perplexity, seed=seed,
        landmarks=landmarks, say=lambda text: print(text, file=sys.stderr),
    )  # fmt: skip
    named = ", ".join(Path(name).name for name in data) or (run.name if run else "")
    page = found.save(folder, named)
    for sentence in found.sentences():
        print(sentence)
    print(f"the map: {page}, with .png, .svg and .csv beside it, in "
          f"{clock(time.perf_counter() - began)}")  # fmt: skip
    if json:
        print(one_line({"page": str(page), **found.to_json()}))
    return 0
