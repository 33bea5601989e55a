"""Do two splits come from one distribution? A classifier is asked to tell them apart (D3).

If it can, better than by chance, something differs: the camera, the lighting, the source. The area
under its ROC curve is the chance that it ranks an image of one split above one of the other: 0.5
for splits that are alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from striate.core.randomness import permutation

_MOST, _REPEATS, _COMPONENTS = 4_000, 200, 32


class Apart(NamedTuple):
    """Area under the curve, with its 95 % bootstrap interval and the images on either side."""

    area: float
    low: float
    high: float
    counts: tuple[int, int]


def told_apart(one: NDArray[Any], other: NDArray[Any], seed: int = 0) -> Apart:
    """Cross-validated logistic regression between features (N, F) and (M, F)."""
    sides = [
        side[permutation(seed, 0, "told apart", len(side))[:_MOST]].astype(np.float64)
        for side in (one, other)
    ]
    x = np.concatenate(sides)
    y = np.repeat([0, 1], [len(side) for side in sides])
    folds = StratifiedKFold(min(5, *map(len, sides)), shuffle=True, random_state=seed)
    kept = min(_COMPONENTS, max(1, min(map(len, sides)) // 10), x.shape[1])
    model = make_pipeline(
        StandardScaler(), PCA(kept, random_state=seed), LogisticRegression(C=0.05, max_iter=300)
    )
    judged = []  # ranks are compared within a fold: folds have scales of their own
    for train, test in folds.split(x, y):
        model.fit(x[train], y[train])
        judged.append((y[test], model.decision_function(x[test])))
    areas = [_area(judged, np.random.default_rng((seed, i))) for i in range(_REPEATS)]
    low, high = np.quantile(areas, (0.025, 0.975))
    return Apart(_area(judged), float(low), float(high), (len(sides[0]), len(sides[1])))


def _area(
    folds: list[tuple[NDArray[Any], NDArray[Any]]], rng: np.random.Generator | None = None
) -> float:
    """Mean over the folds; with `rng` of one bootstrap sample, drawn within each side."""
    areas = []
    for y, scores in folds:
        ids = np.arange(len(y))
        if rng is not None:
            ids = np.concatenate(
                [rng.choice(side, len(side)) for side in (np.flatnonzero(y == k) for k in (0, 1))]
            )
        areas.append(roc_auc_score(y[ids], scores[ids]))
    return float(np.mean(areas))
