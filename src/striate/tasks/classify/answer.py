"""What `predict` says of one image: its classes and their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """One image: its likeliest class with probability, and the `top` few.

    With several labels an image, `labels` are those above one half.
    """

    image: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    labels: tuple[str, ...] = ()
    scores: tuple[tuple[str, float], ...] = ()
    """Of all classes, the likeliest first."""

    def line(self) -> str:
        """`cat 0.912  dog 0.071`."""
        return _ranked(self.top)

    def to_json(self) -> dict[str, Any]:
        return {
            "image": self.image, "class": self.label, "probability": round(self.probability, 6),
            "top": [{"class": c, "probability": round(s, 6)} for c, s in self.top],
        }  # fmt: skip

    def cells(self) -> dict[str, str]:
        named = {"label": ";".join(self.labels), "probability": f"{self.probability:.6f}"}
        for i, (name, probability) in enumerate(self.top, start=1):
            named |= {f"class_{i}": name, f"probability_{i}": f"{probability:.6f}"}
        return named


@dataclass(frozen=True)
class LabelSetPrediction(Prediction):
    """One image with any number of labels."""

    def line(self) -> str:
        """All labels above one half, whatever `top` is."""
        return _ranked([(c, s) for c, s in self.scores if c in self.labels]) or "(no label)"

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "labels": list(self.labels)}


def answer(
    image: str, probabilities: NDArray[Any], classes: Sequence[str], top: int, *, several: bool
) -> Prediction:
    """The answer of an image from the probabilities (classes,)."""
    order = np.argsort(-probabilities, kind="stable")
    scores = tuple((classes[i], float(probabilities[i])) for i in order)
    above = np.flatnonzero(probabilities > 0.5) if several else order[:1]
    labels = tuple(classes[i] for i in above)
    ranked = scores[: max(1, top)]
    kind = LabelSetPrediction if several else Prediction
    return kind(image, ranked[0][0], ranked[0][1], ranked, labels, scores)


def _ranked(pairs: Sequence[tuple[str, float]]) -> str:
    return "  ".join(f"{name} {share:.3f}" for name, share in pairs)
