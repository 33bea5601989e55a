"""Exported files beside torch: what exports where, whether it agrees, how quick it is.

    python benchmarks/export.py zoo             every network of the zoo and three others
    python benchmarks/export.py zoo resnet18    some of them
    python benchmarks/export.py latency         one image: fastnet and ResNet-18, all forms
    python benchmarks/export.py run RUN         a run of your own, all forms and sizes of numbers

`zoo` compares the answers on 1,000 random images with weights as they are before a training, which
is the harder test: nothing is saturated. Networks whose own first weights lose the images on the
way, so that all answers are equal, start with He's. Latency is in turn with torch, eager, in the
same process.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine
from torch import nn

from striate.api.exporting import export_run, through
from striate.export.forms import FORMS
from striate.export.packed import packed
from striate.export.verify import agreement, seconds
from striate.models.initialise import initialise
from striate.models.network import Network
from striate.models.zoo import ARCHITECTURES, build
from striate.tasks import make_task

IMAGES, CLASSES = 1000, 10
SIDES = {"alexnet_grouped": 227, "alexnet": 224, "inception_v3": 299, "fastnet": 32, "lenet": 28,
         "decknet": 28}  # fmt: skip
"""Sides of the images; 64 pixels where none is named."""
LOST = 0.002
"""Deviation of the logits over images, below which a network cannot tell them apart."""
QUICK = 0.7
"""Of torch's time for one image, at most."""


class Attention(nn.Module):
    """A user's module: patches, attention, a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, 8)
        self.mix = nn.MultiheadAttention(32, 4, batch_first=True)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        for _ in range(3):
            x = x + self.mix(x, x, x, need_weights=False)[0]
        return self.head(x.mean(dim=1))


class Branches(nn.Module):
    """A user's module: branches of unlike size, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.ways = nn.ModuleList(nn.Conv2d(3, 16, k, 2, padding=k // 2) for k in (1, 3, 5, 7))
        self.norm, self.head = nn.GroupNorm(4, 64), nn.Linear(64, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.cat([way(images) for way in self.ways], dim=1)
        return self.head(nn.functional.gelu(self.norm(x)).amax(dim=(2, 3)))


OWN: dict[str, Any] = {
    "own module: attention": Attention, "own module: branches": Branches,
    "own module: one line": lambda: build(
        "conv 3x3 32 pad 1, relu, pool 2, batchnorm, conv 3x3 64, elu, gap, fc classes",
        num_classes=CLASSES, image_size=64,
    ),
}  # fmt: skip


def zoo(names: list[str]) -> int:
    forms = ("onnx", "torch")
    print("| network | images of | " + " | ".join(forms) + " |\n|---|---|---|---|", flush=True)
    missed = 0
    for name in names or [*ARCHITECTURES, *OWN]:
        torch.manual_seed(0)
        side = SIDES.get(name, 64)
        channels = 1 if name in ("lenet", "decknet") else 3
        backbone = OWN[name]() if name in OWN else build(
            name, num_classes=CLASSES, channels=channels, image_size=side
        )  # fmt: skip
        images = _images(IMAGES, side, channels)
        net = _packed(backbone, channels)
        if through(net, images[:64])[0].std(dim=0).max() < LOST:
            initialise(backbone, "he")
            net = _packed(backbone, channels)
        told = []
        for form in forms:
            found = _round_trip(net, form, images)
            missed += found is None or not found.exact
            told.append(
                "no" if found is None else
                f"{found.images - found.others:,} of {found.images:,} equal, logits within "
                f"{found.differences['logits']:.0e}"
            )  # fmt: skip
        print(f"| {name} | {side} px | {' | '.join(told)} |", flush=True)
    print(f"\nall equal on {IMAGES:,} images: {'MISSED' if missed else 'met'}")
    return int(missed > 0)


def _packed(backbone: nn.Module, channels: int) -> Any:
    net = Network(backbone, torch.full((channels,), 120.0), torch.full((channels,), 1 / 60))
    net = net.to(memory_format=torch.channels_last).eval()
    return packed(net, make_task("labels", "cross_entropy"), 1.0)


def _images(count: int, side: int, channels: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8, channels), dtype=np.uint8)
    wide = coarse.repeat(-(-side // 8), axis=1).repeat(-(-side // 8), axis=2)[:, :side, :side]
    noise = rng.integers(0, 32, wide.shape, dtype=np.uint8)
    return np.ascontiguousarray(np.minimum(wide, 223) + noise)


def _round_trip(net: Any, form: str, images: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net{FORMS[form].ending}"
        try:
            FORMS[form].write(net, torch.from_numpy(images[:2]), path, {"outputs": net.outputs})
        except Exception as error:
            print(f"{form}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
            return None
        return agreement(net, FORMS[form].read(path), np.array_split(images, 40))


def latency(_: list[str]) -> int:
    print("| network | form | one image, ms | torch, ms | of torch's time |\n|---|---|---|---|---|")
    missed = 0
    for name, side in (("fastnet", 32), ("resnet18", 224)):
        net = _packed(build(name, num_classes=CLASSES, channels=3, image_size=side), 3)
        for form in FORMS:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"net{FORMS[form].ending}"
                image = _images(2, side, 3)
                about = {"outputs": net.outputs}
                FORMS[form].write(net, torch.from_numpy(image), path, about)
                opened = FORMS[form].read(path)
                ours, theirs = seconds(
                    lambda: through(net, image[:1]),  # noqa: B023
                    lambda: opened.run(image[:1]),  # noqa: B023
                )
            missed += form == "onnx" and theirs > QUICK * ours
            print(f"| {name} {side} px | {form} | {1000 * theirs:.2f} | {1000 * ours:.2f} "
                  f"| {theirs / ours:.2f} |", flush=True)  # fmt: skip
    print(f"\nonnx at most {QUICK} of torch's time: {'MISSED' if missed else 'met'}")
    return int(missed > 0)


def of_run(names: list[str]) -> int:
    """A run in every form and every size of numbers."""
    from striate.cli.export import lines_of

    with tempfile.TemporaryDirectory() as folder:
        wanted: list[tuple[str, dict[str, bool]]] = [(form, {}) for form in FORMS]
        wanted += [("onnx", {"half": True}), ("onnx", {"int8": True})]
        for number, (form, how) in enumerate(wanted):
            path = Path(folder) / f"{number}{FORMS[form].ending}"
            for line in lines_of(export_run(names[0], form, path, **how)):
                print(line, flush=True)
    return 0


if __name__ == "__main__":
    print(f"{machine()}\n")
    part, *rest = sys.argv[1:] or ["zoo"]
    sys.exit({"zoo": zoo, "latency": latency, "run": of_run}[part](rest))
