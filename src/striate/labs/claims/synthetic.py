"""D7: rendered images and real ones."""

from __future__ import annotations

import numpy as np
import torch

from striate.labs.bench import accuracy_of, digits, few_of_each, fit, small_convolutional
from striate.labs.lab import Lab, Picture, Trial
from striate.labs.letters import rendered
from striate.report.pictures import Cell, sheet, tile

_RENDERED, _EACH = 2000, 2


def measure(seed: int, full: bool) -> Trial:
    data, figures = digits(seed), {}
    x, y = rendered("0123456789", _RENDERED, seed)
    few = few_of_each(data.y, _EACH)
    often = _RENDERED // (2 * len(few))  # so that a third of what is seen is real
    own, labels = data.x[few], data.y[few]
    parts = {
        "rendered": (x, y), "20 real": (own, labels),
        "both": (torch.cat([x, own.repeat(often, 1, 1, 1)]), torch.cat([y, labels.repeat(often)])),
        f"{len(data.y):,} real": (data.x, data.y),
    }  # fmt: skip
    nets = {}
    for name, (images, wanted) in parts.items():
        torch.manual_seed(seed)
        nets[name] = small_convolutional(10)
        fit(nets[name], images, wanted, steps=2000 if full else 500, lr=0.05,
            batch=min(64, len(wanted)), momentum=0.9, seed=seed)  # fmt: skip
        found = accuracy_of(nets[name], data.test_x, data.test_y)
        figures[f"{name}: accuracy on real images"] = found
    test = rendered("0123456789", 400, seed + 10_000)
    figures["rendered: accuracy on rendered images"] = accuracy_of(nets["rendered"], *test)
    shown = sheet([
        (name, [Cell(tile(image, 48)) for image in (255 * some[:12, 0]).byte().numpy()])
        for name, some in (("rendered", x), ("real", data.x))
    ])  # fmt: skip
    return Trial(figures, pictures=[Picture("Rendered digits and real ones.", np.asarray(shown))])


LAB = Lab(
    "D7", "synthetic",
    "Rendered images have exact labels, but networks trained on them meet a gap on real ones: test "
    "on real images, and train on both.",
    "2,000 digits are rendered from a font. A network learns these, another 20 real ones, a third "
    "both, a fourth all real ones; each is tested on real digits.",
    measure,
    {
        "confirmed": lambda f: f["rendered: accuracy on rendered images"]
        > f["rendered: accuracy on real images"] + 0.05
        and f["both: accuracy on real images"]
        > max(f["rendered: accuracy on real images"], f["20 real: accuracy on real images"])
    },
    "rendered: accuracy on real images",
    "A test on rendered images hides the gap. They are worth having beside real images where "
    "these are few; where there are many, the real ones are what counts.",
    "confirmed", seeds=3, full_seeds=5,
)  # fmt: skip
