"""Drawings of what a detector found, a file for each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from striate.core.errors import DataError
from striate.data.sources.pictures import open_pictures
from striate.report.pictures import tile, with_boxes
from striate.tasks.detect.answer import BoxAnswer

LONGEST = 1600
"""Larger pictures are drawn smaller."""
_MEGAPIXELS = 1000.0


def draw_objects(paths: Sequence[str], answers: Sequence[BoxAnswer], folder: Path) -> None:
    """Draw the objects of each image that was answered for into a new or empty folder. Raises
    DataError."""
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty", "Name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    images = open_pictures(list(paths))
    by_name = {images.name(i): i for i in range(len(images))}
    taken: set[str] = set()
    for answer in answers:
        pixels = images.pixels(by_name[answer.image], _MEGAPIXELS)
        longest = min(LONGEST, max(pixels.shape[:2]))
        scale = longest / max(pixels.shape[:2])
        boxes = []
        for one in answer.objects:
            left, top, right, bottom = (side * scale for side in one["box"])
            text = f"{one['class']} {one['score']:.2f}"
            boxes.append(((left, top, right, bottom), text, "hit"))
        drawn: Image.Image = with_boxes(tile(pixels, longest), boxes)
        drawn.save(folder / _free(Path(answer.image).stem, taken))


def _free(stem: str, taken: set[str]) -> str:
    """A name that no other drawing has, whatever the case of its letters."""
    number, name = 1, stem
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name.casefold())
    return f"{name}.png"
