"""Labels that a cross-validated model disagrees with, by confident learning (cleanlab)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import MissingExtraError


def doubtful_labels(targets: NDArray[Any], probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Positions of likely label errors, worst first.

    probabilities (N, classes) must come from models that did not see the image. Northcutt et al.,
    "Confident learning", 2021. Raises MissingExtraError without cleanlab.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise MissingExtraError("cleanlab", "audit", "to look for wrong labels") from None
    present = np.unique(targets)  # cleanlab wants classes 0 … K − 1, each with examples
    of_present = probabilities[:, present] + 1e-9
    of_present = of_present / of_present.sum(axis=1, keepdims=True)
    found: NDArray[np.int64] = find_label_issues(
        np.searchsorted(present, targets),
        of_present,
        filter_by="both",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    return found
