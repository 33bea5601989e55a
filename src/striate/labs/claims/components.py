"""D4: principal components, and why maps use Student's t."""

from __future__ import annotations

import numpy as np

from striate.labs.bench import Images, digits
from striate.labs.lab import Lab, Trial


def measure(seed: int, full: bool) -> Trial:
    return on_images(digits(seed), seed, full)


def on_images(data: Images, seed: int, _: bool) -> Trial:
    x = data.x.flatten(1).double().numpy()
    x = x - x.mean(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x / (len(x) - 1))
    variances = (x @ vectors).var(axis=0, ddof=1)
    rng = np.random.default_rng(seed)
    high = rng.normal(size=(300, 64))
    low = rng.normal(size=(300, 2))
    spread = {name: _spread(points) for name, points in (("64", high), ("2", low))}
    return Trial(
        {
            "variance along a component − its eigenvalue": float(np.abs(variances - values).max()),
            "share of the first two components": float(values[-2:].sum() / values.sum()),
            "nearest / farthest distance in 64 dimensions": spread["64"],
            "nearest / farthest distance in 2 dimensions": spread["2"],
        }
    )


def _spread(points: np.ndarray) -> float:
    apart = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    np.fill_diagonal(apart, np.nan)
    return float(np.mean(np.nanmin(apart, axis=1) / np.nanmax(apart, axis=1)))


LAB = Lab(
    "D4", "components",
    "The variance along a principal component is its eigenvalue; two dimensions cannot keep the "
    "neighbourhoods of many (crowding), so t-SNE uses Student's t on the map.",
    "Eigenvectors of the digits' covariance; distances between random points in 64 and in 2 "
    "dimensions.",
    measure,
    {
        "confirmed": lambda f: f["variance along a component − its eigenvalue"] < 1e-10
        and f["share of the first two components"] < 0.5
        and f["nearest / farthest distance in 64 dimensions"]
        > 5 * f["nearest / farthest distance in 2 dimensions"]
    },
    "share of the first two components",
    "In many dimensions all points are about equally far from each other; on a plane they cannot "
    "be. Student's heavy tails let middling neighbours stand further apart. `striate map` draws "
    "both.",
    "confirmed", on=on_images,
)  # fmt: skip
