"""D4: principal components, and why maps use Student's t."""

from __future__ import annotations

import numpy as np

from striate.atlas.by_hand import squared_distances
from striate.labs.bench import Images, Share, digits
from striate.labs.claims.crowding import nearest, shared
from striate.labs.lab import Lab, Trial
from striate.textbook.arrays import Array

_POINTS = 500


def measure(seed: int, full: bool) -> Trial:
    return on_images(digits(seed), seed, full)


def on_images(data: Images, seed: int, _: bool) -> Trial:
    x = data.x.flatten(1).double().numpy()
    x = x - x.mean(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x / (len(x) - 1))
    variances = (x @ vectors).var(axis=0, ddof=1)
    some = np.random.default_rng(seed).permutation(len(x))[:_POINTS]
    high, low = x[some], x[some] @ vectors[:, -2:]
    return Trial(
        {
            "variance along a component − its eigenvalue": float(np.abs(variances - values).max()),
            "share of the first two components": float(values[-2:].sum() / values.sum()),
            "neighbours that these two keep": shared(nearest(high), nearest(low)),
            "nearest / farthest distance in all dimensions": _spread(high),
            "nearest / farthest distance in these two": _spread(low),
        }
    )


def _spread(points: Array) -> Share:
    apart = np.sqrt(squared_distances(points))
    np.fill_diagonal(apart, np.nan)
    return Share(np.mean(np.nanmin(apart, axis=1) / np.nanmax(apart, axis=1)))


LAB = Lab(
    "D4", "components",
    "The variance along a principal component is its eigenvalue, and the plane of the first two "
    "shows the data; but it cannot keep the neighbourhoods of many dimensions.",
    "Eigenvectors of the digits' covariance; distances and the ten nearest neighbours of 500 "
    "digits in all 64 dimensions and on the plane of the first two components.",
    measure,
    {
        "confirmed": lambda f: f["variance along a component − its eigenvalue"] < 1e-10
        and f["neighbours that these two keep"] < 0.5
        and f["nearest / farthest distance in all dimensions"]
        > 5 * f["nearest / farthest distance in these two"]
    },
    "share of the first two components",
    "The plane of most variance loses most neighbours: in all dimensions the nearest digit is "
    "about a third as far as the farthest, on the plane a fortieth, since many fall onto one "
    "place. Maps that bend, such as t-SNE's, keep more of them (see crowding). `striate map` "
    "draws both.",
    "confirmed", on=on_images,
)  # fmt: skip
