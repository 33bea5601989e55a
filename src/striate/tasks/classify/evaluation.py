"""The evaluation of a classifier: probabilities, figures with intervals, confusions, curves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from striate.metrics.calibration import reliability, temperature
from striate.metrics.classification import (
    confusion,
    per_class,
    per_class_of_sets,
    worst_confusions,
)
from striate.metrics.curves import curve
from striate.metrics.summary import Figures, summarise, summarise_sets
from striate.tasks.evaluation import Evaluation, Gallery, Shown

Logits = NDArray[np.float32]
_POINTS, _PAIRS, _EACH, _BEST, _ACROSS = 60, 5, 8, 12, 6


@dataclass(frozen=True)
class ClassEvaluation(Evaluation):
    """Of N images logits float32 (N, classes) and true classes.

    `temperature`: what the logits are divided by before they become probabilities; the loss is that
    of these probabilities too (see `calibrated`).
    """

    temperature: float = 1.0

    several: ClassVar[bool] = False

    @property
    def logits(self) -> Logits:
        """Outputs (N, classes), averaged over the test views."""
        return self.predictions["logits"]

    @property
    def targets(self) -> NDArray[Any]:
        """Class numbers int64 (N,), or with several labels an image 0/1 float32 (N, classes)."""
        array: NDArray[Any] = self.truth.array  # type: ignore[attr-defined]
        return array

    @cached_property
    def probabilities(self) -> Logits:
        """(N, classes), as `predict` gives them."""
        return np.asarray(self.task.probabilities(self.logits / np.float32(self.temperature)))

    @cached_property
    def losses(self) -> Logits:
        """Each image's loss (N,), without smoothing."""
        scaled = {"logits": self.logits / np.float32(self.temperature)}
        found = self.task.unsmoothed_losses(scaled, self.truth)
        assert found is not None
        return found

    def calibrated(self, by: float) -> ClassEvaluation:
        """The same with logits divided by a temperature: probabilities, losses and all that follows
        from them; no answer changes."""
        made = replace(self, temperature=by)
        mean = float(made.losses.mean()) if len(made.losses) else float("nan")
        return replace(made, scores={**self.scores, "loss": mean})

    def fitted_temperature(self) -> float:
        return temperature(self.logits, self.targets) if self.task.calibrates else 1.0

    def calibration_error(self) -> float:
        return reliability(self.probabilities, self.targets).error

    def right(self) -> NDArray[np.float64]:
        """What each image contributes to accuracy (N,): 1 or 0; with several labels the share of
        them that is right."""
        raise NotImplementedError

    def contributions(self) -> NDArray[np.float64]:
        return self.right()

    def scores_of_class(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        return self.truth.having(number), self.probabilities[:, number]

    def sections(self) -> dict[str, Any]:
        return {"class_curves": self._class_curves()}

    def _class_curves(self) -> list[dict[str, Any]]:
        rows = []
        for c, name in enumerate(self.classes):
            whole = curve(*self.scores_of_class(c))
            if not whole.positives or not whole.negatives:
                continue
            few = whole.thinned(_POINTS)
            rows.append({
                "class": name, "average_precision": whole.average_precision,
                "recall": _plain(few.recall), "precision": _plain(few.precision),
                "false_alarms": _plain(few.false_positive_rate), "hits": _plain(few.recall),
            })  # fmt: skip
        return rows


@dataclass(frozen=True)
class LabelEvaluation(ClassEvaluation):
    """With one label an image."""

    compared_by = "accuracy"
    right_or_wrong = True

    def _summarised(self) -> Figures:
        return summarise(self.targets, self.probabilities, self.losses, self.scores)

    def right(self) -> NDArray[np.float64]:
        """1 where the best class is the true one, else 0 (N,)."""
        return (self.logits.argmax(axis=1) == self.targets).astype(np.float64)

    def per_class(self) -> list[dict[str, float | str]]:
        """Count, precision, recall and F1 of each class."""
        return per_class(self.targets, self.probabilities, self.classes)

    def worst_confusions(self) -> list[dict[str, str | int]]:
        return worst_confusions(self.targets, self.probabilities, self.classes)

    def rows(self) -> tuple[list[str], list[list[str]]]:
        best = self.probabilities.argmax(axis=1)
        rows = [
            [name, self.classes[t], self.classes[b], f"{p.max():.4f}"]
            for name, t, b, p in zip(
                self.names, self.targets, best, self.probabilities, strict=True
            )
        ]
        return ["image", "true", "predicted", "probability"], rows

    def sections(self) -> dict[str, Any]:
        table = confusion(self.targets, self.logits.argmax(axis=1), len(self.classes))
        said = reliability(self.probabilities, self.targets)
        return {
            **super().sections(),
            "confusion": {
                "classes": list(self.classes), "table": table.tolist(),
                "worst": self.worst_confusions(),
            },
            "reliability": [
                {"images": int(n), "said": float(s), "right": float(r)}
                for n, s, r in zip(said.images, said.said, said.right, strict=True) if n
            ],
        }  # fmt: skip

    def galleries(self) -> list[Gallery]:
        """The surest of the commonest mistakes, the surest mistakes, the surest right answers."""
        probabilities = self.probabilities
        predicted, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
        right = predicted == self.targets
        wrong, made = np.flatnonzero(~right), []

        def surest(ids: NDArray[Any], count: int) -> list[int]:
            chosen: list[int] = ids[np.argsort(-sure[ids], kind="stable")][:count].tolist()
            return chosen

        rows = []
        for pair in self.worst_confusions()[:_PAIRS]:
            t, p = (self.classes.index(str(pair[key])) for key in ("true", "predicted"))
            ids = wrong[(self.targets[wrong] == t) & (predicted[wrong] == p)]
            title = f"{pair['n']} × {pair['true']} taken for {pair['predicted']}"
            rows.append((title, [Shown(i, (f"{sure[i]:.2f}",)) for i in surest(ids, _EACH)]))
        if rows:
            made.append(Gallery(
                "confusions", f"images of the {len(rows)} commonest mistakes",
                "The commonest mistakes: the surest of each, with the probability of the wrong "
                "answer.", rows, 84,
            ))  # fmt: skip
        for name, ids, said in (
            ("worst", wrong, "The surest mistakes. Some images may be labelled wrongly."),
            ("best", np.flatnonzero(right), "The surest right answers."),
        ):
            shown = [
                Shown(i, self._lines(i, predicted, sure), self.names[i]) for i in surest(ids, _BEST)
            ]
            if shown:
                cut = [("", shown[i : i + _ACROSS]) for i in range(0, len(shown), _ACROSS)]
                made.append(Gallery(name, f"{len(shown)} images: {said}", said, cut, 118))
        return made

    def _lines(self, i: int, predicted: NDArray[Any], sure: NDArray[Any]) -> tuple[str, ...]:
        right = predicted[i] == self.targets[i]
        true = () if right else (f"true: {self.classes[self.targets[i]]}",)
        return (f"{self.classes[predicted[i]]} {sure[i]:.2f}", *true)


@dataclass(frozen=True)
class LabelSetEvaluation(ClassEvaluation):
    """With several labels an image."""

    compared_by = "labels right"
    several = True

    def _summarised(self) -> Figures:
        return summarise_sets(self.targets, self.probabilities, self.losses, self.scores)

    def right(self) -> NDArray[np.float64]:
        """The share of an image's labels that is right (N,)."""
        found: NDArray[np.float64] = ((self.logits > 0) == (self.targets > 0)).mean(axis=1)
        return found

    def per_class(self) -> list[dict[str, float | str]]:
        """Count and average precision of each class."""
        return per_class_of_sets(self.targets, self.probabilities, self.classes)

    def rows(self) -> tuple[list[str], list[list[str]]]:
        rows = []
        for i, (name, said) in enumerate(zip(self.names, self.probabilities, strict=True)):
            true = ";".join(self.classes[c] for c in self.truth.of(i))
            picked = ";".join(c for c, p in zip(self.classes, said, strict=True) if p > 0.5)
            rows.append([name, true, picked, f"{said.max():.4f}"])
        return ["image", "true", "predicted", "probability"], rows


def _plain(values: NDArray[Any]) -> list[float]:
    return [float(f"{v:.4g}") for v in values]
