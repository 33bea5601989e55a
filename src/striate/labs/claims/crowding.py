"""D4: Gaussian or Student neighbourhoods on the map."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

from striate.atlas.by_hand import cost, descend, joint, squared_distances
from striate.core.arrays import Ids
from striate.labs.bench import Images, digits
from striate.labs.lab import Lab, Picture, Trial
from striate.report.pictures import Cell, sheet
from striate.textbook.arrays import Array

_POINTS, _NEIGHBOURS, _PERPLEXITY, _WIDE = 300, 10, 20.0, 340


def measure(seed: int, full: bool) -> Trial:
    return on_images(digits(seed), seed, full)


def on_images(data: Images, seed: int, full: bool) -> Trial:
    x = data.x[:_POINTS].flatten(1).double().numpy()
    labels, near = data.y[:_POINTS].numpy(), _nearest(x)
    figures: dict[str, float] = {}
    maps = []
    P = joint(x, _PERPLEXITY)
    for name, kernel in (("Gaussian", "gaussian"), ("Student", "student")):
        steps = 1500 if full else 400
        *_, places = descend(x, perplexity=_PERPLEXITY, kernel=kernel, steps=steps, seed=seed)
        found = _nearest(places)
        figures |= {
            f"{name}: neighbours of the data kept": _shared(near, found),
            f"{name}: neighbours of the same class": float(
                (labels[found] == labels[:, None]).mean()
            ),
            f"{name}: distance between classes / within a class": _islands(places, labels),
            f"{name}: divergence of the neighbourhoods": cost(P, places, kernel),
        }
        maps.append(Cell(_drawn(places, labels), (f"{name} neighbourhoods",)))
    caption = "The two maps; a point is an image, its colour the class."
    return Trial(figures, pictures=[Picture(caption, np.asarray(sheet([("", maps)])))])


def _drawn(places: Array, labels: Ids) -> Image.Image:
    """Points coloured by their class."""
    low, high = places.min(axis=0), places.max(axis=0)
    at = 6 + (places - low) / (high - low).max() * (_WIDE - 12)
    page = Image.new("RGB", (_WIDE, _WIDE), "white")
    draw, colours = ImageDraw.Draw(page), colormaps["tab10"](labels % 10, bytes=True)
    for (x, y), colour in zip(at.tolist(), colours[:, :3].tolist(), strict=True):
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=tuple(colour))
    return page


def _nearest(points: Array) -> Ids:
    apart = squared_distances(points)
    np.fill_diagonal(apart, np.inf)
    return np.argsort(apart, axis=1, kind="stable")[:, :_NEIGHBOURS]


def _shared(one: Ids, other: Ids) -> float:
    both = [len(set(a) & set(b)) for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    return float(np.mean(both)) / _NEIGHBOURS


def _islands(places: Array, labels: Ids) -> float:
    """The mean distance of points of two classes over that of points of one."""
    apart = np.sqrt(squared_distances(places))
    alike = labels[:, None] == labels
    np.fill_diagonal(apart, np.nan)
    return float(np.nanmean(apart[~alike]) / np.nanmean(apart[alike]))


LAB = Lab(
    "D4", "crowding",
    "t-SNE compares Gaussian neighbourhoods of the data with Student's on the map, because with "
    "Gaussians on the map its middle is crowded.",
    "300 digits are laid out twice by the same descent, with Gaussian and with Student "
    "neighbourhoods on the map.",
    measure,
    {
        "confirmed": lambda f: f["Student: neighbours of the data kept"]
        > f["Gaussian: neighbours of the data kept"]
        and f["Student: distance between classes / within a class"]
        > f["Gaussian: distance between classes / within a class"]
        and f["Student: neighbours of the same class"] > f["Gaussian: neighbours of the same class"]
    },
    "Student: neighbours of the data kept",
    "The long tails let what is moderately far in 64 dimensions stand far on the map, so classes "
    "become islands. Their sizes and the distances between them mean little.",
    "confirmed", on=on_images,
)  # fmt: skip
