"""Two dimensions for many: t-SNE by openTSNE, for millions by landmarks (D4)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import MissingExtraError

Floats = NDArray[np.floating[Any]]
LANDMARKS = 100_000
"""At most this many points are embedded together; of more, this many from all over, and the
others are placed among them."""
_LEAST = 8


def check_packages() -> None:
    """Raises MissingExtraError without openTSNE."""
    try:
        import openTSNE  # noqa: F401
    except ImportError:
        raise MissingExtraError("openTSNE", "maps", "for t-SNE") from None


def tsne(
    rows: Floats, *, perplexity: float = 30.0, seed: int = 0, landmarks: int = LANDMARKS,
    threads: int = 1, start: str = "pca",
) -> Floats:  # fmt: skip
    """Rows (N, D) → places (N, 2): t-SNE with Student-t neighbourhoods (van der Maaten and Hinton
    2008), by interpolation on a grid (Linderman et al. 2019).

    start: "pca", which keeps the large picture and is the same for all seeds, or "random". Raises
    what `check_packages` raises, and ValueError below 8 rows.
    """
    check_packages()
    from openTSNE import TSNE

    count = len(rows)
    if count < _LEAST:
        raise ValueError(f"t-SNE needs {_LEAST} images or more, not {count}")
    chosen = np.arange(count)
    if count > landmarks:
        chosen = np.linspace(0, count - 1, landmarks).astype(np.int64)
    fit = TSNE(
        perplexity=min(perplexity, max(1.0, (len(chosen) - 1) / 3)), n_jobs=threads,
        random_state=seed, initialization=start,
        negative_gradient_method="fft" if len(chosen) > 5000 else "bh",
        neighbors="approx" if len(chosen) > 5000 else "exact",
    )  # fmt: skip
    fitted = fit.fit(np.asarray(rows[chosen], dtype=np.float64))
    placed = np.empty((count, 2))
    placed[chosen] = np.asarray(fitted)
    others = np.setdiff1d(np.arange(count), chosen)
    for begin in range(0, len(others), landmarks):
        some = others[begin : begin + landmarks]
        placed[some] = np.asarray(fitted.transform(np.asarray(rows[some], dtype=np.float64)))
    return placed
