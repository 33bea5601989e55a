"""How a law is stated: a sentence, and whether it holds."""

from __future__ import annotations

from typing import Any

import numpy as np


class Laws:
    """Collects the laws that hold; raises AssertionError at the first that does not."""

    def __init__(self, of: str) -> None:
        self.of = of
        self.kept: list[str] = []

    def check(self, law: str, holds: Any, found: str = "") -> None:
        """State a law. found: what was seen instead, for the message."""
        if not holds:
            raise AssertionError(f"{self.of} breaks the law: {law}" + (f" ({found})" * bool(found)))
        self.kept.append(law)


def difference(one: Any, other: Any) -> float:
    """The largest absolute difference of two arrays; infinite where their shapes differ."""
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a - b).max()) if a.size else 0.0
