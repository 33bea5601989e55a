"""D3: what tuning on the test images costs."""

from __future__ import annotations

import numpy as np

from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line


def measure(seed: int, full: bool) -> Trial:
    rng, images = np.random.default_rng(seed), 200
    settings = 1000 if full else 200
    truth, fresh_truth = rng.integers(0, 2, images), rng.integers(0, 2, 20_000)
    scores = [float((rng.integers(0, 2, images) == truth).mean()) for _ in range(settings)]
    fresh = float((rng.integers(0, 2, 20_000) == fresh_truth).mean())
    best = np.maximum.accumulate(scores)
    chart = Chart("score of the best guesser on the same 200 images", "settings tried", "accuracy",
                  [Line("best so far", range(1, settings + 1), best.tolist())])  # fmt: skip
    return Trial({
        "accuracy of the chosen on the images that chose it": float(best[-1]),
        "its accuracy on new images": fresh,
        "what choosing pretends": float(best[-1]) - fresh,
    }, [chart])  # fmt: skip


LAB = Lab(
    "D3", "test-set",
    "Validation images are for choosing settings; test images report, once.",
    "200 guessers that know nothing are scored on the same 200 images of two classes; the best one "
    "is scored again on new images.",
    measure,
    {
        "confirmed": lambda f: f["what choosing pretends"] > 0.05
        and abs(f["its accuracy on new images"] - 0.5) < 0.02
    },
    "what choosing pretends",
    "Choosing among many settings by the test score finds the luckiest one. The more settings and "
    "the fewer images, the larger the lie; Striate reads the test images once, at the end.",
    "confirmed",
)  # fmt: skip
