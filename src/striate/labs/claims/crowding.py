"""D4: Gaussian or Student neighbourhoods on the map."""

from __future__ import annotations

import numpy as np

from striate.atlas.by_hand import cost, descend, joint, squared_distances
from striate.core.arrays import Ids
from striate.labs.bench import Images, digits
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line
from striate.textbook.arrays import Array

_POINTS, _NEIGHBOURS, _PERPLEXITY = 300, 10, 20.0


def measure(seed: int, full: bool) -> Trial:
    return on_images(digits(seed), seed, full)


def on_images(data: Images, seed: int, full: bool) -> Trial:
    x = data.x[:_POINTS].flatten(1).double().numpy()
    labels, near = data.y[:_POINTS].numpy(), _nearest(x)
    figures: dict[str, float] = {}
    lines = []
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
        apart = np.sort(np.sqrt(squared_distances(places)[np.triu_indices(len(places), 1)]))
        shares = np.linspace(0.01, 1, 100)
        lines.append(Line(name, shares.tolist(), (np.quantile(apart, shares) / apart[-1]).tolist()))
    chart = Chart("how far pairs are apart on the map", "share of pairs", "distance / largest",
                  lines)  # fmt: skip
    return Trial(figures, [chart])


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
