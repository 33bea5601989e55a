"""Images that a task shows, with their boxes, as one picture."""

from __future__ import annotations

import numpy as np

from striate.core.geometry import hulls
from striate.data.loader import to_centre
from striate.explain.sample import Sample
from striate.report.explained import brief
from striate.report.pictures import Cell, Figure, sheet, tile, with_boxes
from striate.tasks.evaluation import Gallery, Shown

_LINE = 17
"""Letters of an image's name."""


def drawn(gallery: Gallery, sample: Sample) -> Figure:
    """A task's images, as one picture."""
    rows = []
    for title, shown in gallery.rows:
        ids = np.array([one.position for one in shown], dtype=np.int64)
        places = [_placed(one, sample, gallery.side) for one in shown]
        cells = [
            Cell(with_boxes(tile(pixels, gallery.side), boxes), (*one.lines, *_short(one.name)))
            for pixels, one, boxes in zip(sample.images(ids), shown, places, strict=True)
        ]
        rows.append((title, cells))
    return Figure(gallery.name, sheet(rows), gallery.alt, gallery.text)


def _placed(
    one: Shown, sample: Sample, side: int
) -> list[tuple[tuple[float, float, float, float], str, str]]:
    """The boxes of an image that is shown, in pixels of its tile."""
    if not one.boxes:
        return []
    moves = to_centre(sample.store, np.array([one.position]), sample.size)
    places = np.array([box.place for box in one.boxes])
    moved = hulls(places[None], moves)[0] * (side / sample.size)
    return [
        ((left, top, right, bottom), box.text, box.kind)
        for (left, top, right, bottom), box in zip(moved.tolist(), one.boxes, strict=True)
    ]


def _short(name: str) -> tuple[str, ...]:
    return (brief(name, _LINE),) if name else ()
