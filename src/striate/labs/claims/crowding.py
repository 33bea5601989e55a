"""D4: Gaussian or Student neighbourhoods on the map."""

from __future__ import annotations

import math

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

from striate.atlas.by_hand import cost, descend, joint, squared_distances
from striate.core.arrays import Ids
from striate.labs.bench import Images, Share, digits, share_of
from striate.labs.lab import Lab, Picture, Trial
from striate.report.pictures import Cell, sheet
from striate.textbook.arrays import Array

_POINTS, _NEIGHBOURS, _PERPLEXITY, _WIDE = 300, 10, 20.0, 340
_RATES, _BEYOND = (10.0, 30.0, 100.0, 300.0), 1e6


def measure(seed: int, full: bool) -> Trial:
    return on_images(digits(seed), seed, full)


def on_images(data: Images, seed: int, full: bool) -> Trial:
    x = data.x[:_POINTS].flatten(1).double().numpy()
    labels, near = data.y[:_POINTS].numpy(), nearest(x)
    figures: dict[str, float] = {}
    maps = []
    for name, kernel in (("Gaussian", "gaussian"), ("Student", "student")):
        found = {rate: _laid_out(x, kernel, rate, 2000 if full else 600, seed) for rate in _RATES}
        rate = min(found, key=lambda rate: found[rate][0])
        divergence, places = found[rate]
        beside = nearest(places)
        figures |= {
            f"{name}: neighbours of the data kept": shared(near, beside),
            f"{name}: neighbours of the same class": share_of(labels[beside] == labels[:, None]),
            f"{name}: distance between classes / within a class": _islands(places, labels),
            f"{name}: distance of moderately far images / of neighbours": _room(x, places),
            f"{name}: images in the middle of the map": _middle(places),
            f"{name}: divergence of the neighbourhoods": divergence,
            f"{name}: its rate": rate,
        }
        maps.append(Cell(_drawn(places, labels), (f"{name} neighbourhoods",)))
    caption = "The two maps; a point is an image, its colour the class."
    return Trial(figures, pictures=[Picture(caption, np.asarray(sheet([("", maps)])))])


def _laid_out(x: Array, kernel: str, rate: float, steps: int, seed: int) -> tuple[float, Array]:
    """The divergence at the end, infinite where the rate is too high, and the map."""
    places: Array = np.zeros((len(x), 2))
    with np.errstate(all="ignore"):
        for found in descend(x, perplexity=_PERPLEXITY, kernel=kernel, steps=steps, rate=rate,
                             seed=seed):  # fmt: skip
            if not np.isfinite(found).all() or np.abs(found).max() > _BEYOND:
                return math.inf, places
            places = found
    return cost(joint(x, _PERPLEXITY), places, kernel), places


def _room(x: Array, places: Array) -> float:
    """How far apart pairs stand on the map whose distance in the data is in the second quarter of
    all, in distances of neighbours on the map (medians)."""
    above = np.triu_indices(len(x), 1)
    apart, on_map = (np.sqrt(squared_distances(points))[above] for points in (x, places))
    low, high = np.quantile(apart, (0.25, 0.5))
    near = np.sort(np.sqrt(squared_distances(places)), axis=1)[:, 1 : _NEIGHBOURS + 1]
    return float(np.median(on_map[(apart > low) & (apart < high)]) / np.median(near.mean(axis=1)))


def _middle(places: Array) -> Share:
    """The share of points within half of the root mean square distance from the middle: 0.125 of an
    even disc, 0.22 of a bell."""
    squared = ((places - places.mean(axis=0)) ** 2).sum(axis=1)
    return share_of(squared < squared.mean() / 4)


def _drawn(places: Array, labels: Ids) -> Image.Image:
    """Points coloured by their class."""
    low, high = places.min(axis=0), places.max(axis=0)
    at = 6 + (places - low) / (high - low).max() * (_WIDE - 12)
    page = Image.new("RGB", (_WIDE, _WIDE), "white")
    draw, colours = ImageDraw.Draw(page), colormaps["tab10"](labels % 10, bytes=True)
    for (x, y), colour in zip(at.tolist(), colours[:, :3].tolist(), strict=True):
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=tuple(colour))
    return page


def nearest(points: Array) -> Ids:
    """Of each point its ten nearest others (N, 10)."""
    apart = squared_distances(points)
    np.fill_diagonal(apart, np.inf)
    return np.argsort(apart, axis=1, kind="stable")[:, :_NEIGHBOURS]


def shared(one: Ids, other: Ids) -> Share:
    """The share of neighbours that two such tables have in common."""
    both = [len(set(a) & set(b)) for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    return Share(np.mean(both) / _NEIGHBOURS)


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
    "300 digits are laid out twice by gradient descent, with Gaussian and with Student "
    "neighbourhoods on the map, each with its best of four rates.",
    measure,
    {
        "conditional": lambda f: f["Student: neighbours of the data kept"]
        > f["Gaussian: neighbours of the data kept"]
        and f["Student: neighbours of the same class"] > f["Gaussian: neighbours of the same class"]
        and f["Student: distance of moderately far images / of neighbours"]
        > f["Gaussian: distance of moderately far images / of neighbours"]
        and f["Gaussian: images in the middle of the map"]
        < f["Student: images in the middle of the map"] + 0.08
    },
    "Student: neighbours of the data kept",
    "The long tails let what is moderately far in 64 dimensions stand farther off on the map, so "
    "neighbours stay together and classes become islands. But it is not the middle that is crowded "
    "without them: it holds about as many images as with them, only what should be farther off is "
    "too near everywhere.",
    "conditional", on=on_images,
)  # fmt: skip
