"""What looking at a trained run costs: intervals, report, explanation, map.

    python benchmarks/inside.py RUN [MNIST]

RUN: a finished run whose data is there (the targets are of a CIFAR-10 run); MNIST: its IDX folder,
for a map of 70,000 images.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch

from striate.api.mapping import make_map
from striate.api.runs import Run
from striate.explain.patches import top_patches
from striate.models.hooks import last_of_each_resolution, layers_with_maps
from striate.report.facts import FORMS, REPORTED, ReportInputs, facts_of


def main(path: str, mnist: str = "") -> None:
    run, clock = Run(path), _Clock()
    net = run.network.cpu()
    found = run.evaluate()
    whole = clock("evaluation")
    found.figures  # noqa: B018 - computed when it is first asked for
    clock("its figures with intervals", of=whole)
    train, sample = run.sample(split="train", images=REPORTED), run.sample(split=found.split)
    inputs = ReportInputs(found, sample, train, run.predictor)
    text = FORMS["html"](facts_of(run, run.recipe, inputs))
    clock(f"the report beyond evaluation, {len(text) / 1e6:.1f} MB", most=20)
    images = torch.from_numpy(sample.images([0]))
    for layer in last_of_each_resolution(layers_with_maps(net, images)):
        module = net.get_submodule(layer.name)
        top_patches(net, sample.batches(), module)
        clock(f"top patches of {layer.channels} units of {layer.name}, {len(sample):,} images",
              most=60)  # fmt: skip
    if mnist:
        made = make_map([mnist])
        with tempfile.TemporaryDirectory() as folder:
            made.save(Path(folder), "mnist")
        clock(f"a map of {len(made.points.names):,} images, written", most=240)


class _Clock:
    def __init__(self) -> None:
        self._last = time.perf_counter()

    def __call__(self, what: str, *, of: float = 0.0, most: float = 0.0) -> float:
        """Print and return the seconds since the last call."""
        seconds = time.perf_counter() - self._last
        share = f", {seconds / of:.1%} of it" if of else ""
        wanted = f" (wanted: under {most:g})" if most else ""
        print(f"{seconds:7.2f} s  {what}{share}{wanted}", flush=True)
        self._last = time.perf_counter()
        return seconds


if __name__ == "__main__":
    main(*sys.argv[1:])
