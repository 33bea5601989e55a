"""D3: what choosing by the test images costs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from striate.labs.bench import digits, share_of
from striate.labs.lab import Chart, Lab, Trial
from striate.report.charts import Line

_LEARNED, _JUDGES = 150, 80
"""Images to learn from, and to choose by; as many others judge the chosen once."""


def measure(seed: int, full: bool) -> Trial:
    data = digits(seed)
    torch.manual_seed(seed)
    x, y = torch.cat([data.test_x, data.x]).flatten(1).double(), torch.cat([data.test_y, data.y])
    choose, once, learn, new = (
        slice(0, _JUDGES), slice(_JUDGES, 2 * _JUDGES), slice(-_LEARNED, None),
        slice(2 * _JUDGES, -_LEARNED),
    )  # fmt: skip
    x = torch.cat([x - x[learn].mean(dim=0), torch.ones(len(x), 1)], dim=1)
    settings, scores = 1000 if full else 200, []
    for _ in range(settings):
        right = _classified(x, y, learn, data.classes) == y
        scores.append([share_of(right[part]) for part in (choose, once, new)])
    best = torch.tensor(scores)[:, 0].cummax(dim=0)
    chosen, reported, true = scores[int(best.indices[-1])]
    places = {"on the images that chose it": 0, "on new images": 2}
    lines = [
        Line(name, range(1, settings + 1), [scores[i][place] for i in best.indices.tolist()])
        for name, place in places.items()
    ]
    return Trial(
        {
            "accuracy of the chosen on the images that chose it": chosen,
            "its accuracy on as many others, used once": reported,
            "its accuracy on all new images": true,
            "what choosing pretends": chosen - true,
            "what a single use pretends": reported - true,
        },
        [Chart("the best setting so far", "settings tried", "accuracy", lines)],
    )  # fmt: skip


def _classified(x: Tensor, y: Tensor, learn: slice, classes: int) -> Tensor:
    """A setting drawn by chance: 40 random units of some width, and least squares on them with some
    penalty. The class that it gives to every image."""
    width, penalty = (10 ** float(torch.empty(()).uniform_(*ends)) for ends in ((-1, 1), (-3, 1)))
    units = (x @ torch.randn(x.shape[1], 40, dtype=x.dtype) * width / math.sqrt(x.shape[1])).tanh()
    own = units[learn]
    wanted = torch.nn.functional.one_hot(y[learn], classes).to(x.dtype)
    weights = torch.linalg.solve(own.T @ own + penalty * torch.eye(40), own.T @ wanted)
    return (units @ weights).argmax(dim=1)


LAB = Lab(
    "D3", "test-set",
    "Validation images are for choosing settings; test images report, once.",
    f"200 settings of a small classifier learn {_LEARNED} digits. The one that is best on "
    f"{_JUDGES} images is taken, and tested on {_JUDGES} others and on all that are left.",
    measure,
    {"confirmed": lambda f: f["what choosing pretends"] > max(0, f["what a single use pretends"])},
    "what choosing pretends",
    "The score that chose a setting is the score of a lucky one. Images that chose nothing are "
    "right on average, and as exact as their number allows. Striate reads the test images once, "
    "at the end.",
    "confirmed",
)  # fmt: skip
