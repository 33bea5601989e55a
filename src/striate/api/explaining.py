"""What a run's network has learnt: filters, maps, patches, attributions, probes (M5, L8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import striate
from striate.api.runs import Run
from striate.core.files import disk_faults_explained, write_atomically, write_json
from striate.core.strict_json import finite
from striate.data.formats import is_image_name
from striate.explain.explanation import Explanation
from striate.explain.inspect import check_topics, inspect
from striate.explain.inspection import Choice
from striate.report.explained import figures
from striate.report.page import render


def explain_run(
    run: Run,
    data: Any = None,
    *,
    split: str | None = None,
    layers: Sequence[str] = (),
    units: int = 16,
    images: int = 10_000,
    topics: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Explanation:
    """Look inside a run's network, on its own data or other data (see `Run.evaluate`), or on
    images (a list of paths): of these only filters, maps and attributions.

    layers: by name, the last of each resolution by default; units: how many of each; images: how
    many are looked at, at most; topics: some of `striate.explain.inspect.TOPICS`; say: is told what
    is being done. Raises DataError, and ModelError for layers or topics that there are not.
    """
    check_topics(topics)
    listed = isinstance(data, list)
    if data is None:
        split = split or run.shown_split
    sample = run.pictures(data) if listed else run.sample(data, split=split, images=images)
    choice = Choice(tuple(layers), units, images, topics)
    train = lambda count: run.sample(split="train", images=count)  # noqa: E731
    return inspect(run.predictor, sample, train, choice, say)


def given(names: Sequence[str]) -> str | list[str] | None:
    """What a command line names: nothing, data (one name), or images (a list)."""
    if not names:
        return None
    pictures = [Path(name).is_file() and is_image_name(name) for name in names]
    return list(names) if len(names) > 1 or all(pictures) else names[0]


def write_explanation(run: Run, found: Explanation, folder: Path | None = None) -> Path:
    """The page `explain.html`, its pictures as PNG, and `explain.json`; the page's path.

    folder: `explain` in the run by default.
    """
    out, drawn = folder or run.path / "explain", figures(found)
    with disk_faults_explained(out):
        out.mkdir(parents=True, exist_ok=True)
    for figure in drawn:
        write_atomically(out / f"{figure.name}.png", figure.png)
    write_json(out / "explain.json", finite({
        "split": found.split, "images": found.images, "layers": found.rows, "trust": found.trust,
        "notes": found.notes,
    }))  # fmt: skip
    page = render(
        "explain.html.j2", name=run.path.resolve().name, model=run.recipe.model.name, found=found,
        figures=drawn, version=striate.__version__,
    )  # fmt: skip
    write_atomically(out / "explain.html", page)
    return out / "explain.html"
