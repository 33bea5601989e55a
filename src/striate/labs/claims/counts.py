"""E1: misses and false alarms."""

from __future__ import annotations

import numpy as np

from striate.labs.lab import Chart, Lab, Trial
from striate.metrics.classification import average_precision
from striate.report.charts import Line


def measure(seed: int, _: bool) -> Trial:
    truth = np.array([True, False, False, True, False, False])
    said = np.array([True, True, True, False, False, False])
    tp, fp, fn = (truth & said).sum(), (~truth & said).sum(), (truth & ~said).sum()
    rng = np.random.default_rng(seed)
    labels = rng.random(2000) < 0.3
    detectors = {"A": (1.6, 1.0), "B": (1.0, 0.4)}  # distance and spread of the positives' scores
    lines, figures = [], {}
    for name, (apart, spread) in detectors.items():
        scores = np.where(labels, rng.normal(apart, spread, 2000), rng.normal(0, 1, 2000))
        order = np.argsort(-scores)
        hits = np.cumsum(labels[order])
        recall, precision = hits / labels.sum(), hits / np.arange(1, 2001)
        figures[f"detector {name}: average precision"] = average_precision(labels, scores)
        for wanted in (0.2, 0.95):
            at = int(np.searchsorted(recall, wanted))
            figures[f"detector {name}: precision at recall {wanted}"] = float(precision[at])
        lines.append(Line(name, recall[::20].tolist(), precision[::20].tolist()))
    return Trial(
        {"precision": tp / (tp + fp), "recall": tp / (tp + fn), **figures},
        [Chart("two detectors", "recall", "precision", lines)],
    )


LAB = Lab(
    "E1", "counts",
    "TP 1, FP 2, FN 1, TN 2 give precision 1/3 and recall 1/2. Compare whole curves and average "
    "precision, not single points.",
    "The deck's six answers are counted; two detectors whose curves cross are compared at two "
    "points and as a whole.",
    measure,
    {
        "confirmed": lambda f: (round(f["precision"], 12), f["recall"]) == (round(1 / 3, 12), 0.5)
        and f["detector A: precision at recall 0.2"] > f["detector B: precision at recall 0.2"]
        and f["detector A: precision at recall 0.95"] < f["detector B: precision at recall 0.95"]
    },
    "precision",
    "Each detector is the better one somewhere: which point counts depends on what a miss and a "
    "false alarm cost. Average precision compares the whole.",
    "confirmed",
)  # fmt: skip
