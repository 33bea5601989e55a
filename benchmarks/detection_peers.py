"""torchvision's Faster R-CNN with a feature pyramid on the same weights, by its reference recipe.

SGD at 0.02 for 16 images a step, so 0.02 / 16 an image; momentum 0.9, weight decay 1e-4, a linear
warm-up, mirrored images, cosine to 0 instead of cuts at epochs, since the time is given. Images of
320 pixels, batches of 4, frozen batch norm, the first three stages frozen: as ours.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from striate.core.boxes import Found
from striate.core.recipe import Recipe
from striate.core.recipe_io import with_overrides
from striate.plan.prepare import Prepared, prepare
from striate.training.log import drained

SIZE, BATCH, WARMUP = 320, 4, 50
LR = 0.02 / 16 * BATCH


class Backbone(nn.Module):
    """The maps of our body at strides 8, 16 and 32 through torchvision's pyramid."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector, self.out_channels = detector, 128
        wide = [detector.channels[stride] for stride in (8, 16, 32)]
        self.pyramid = FeaturePyramidNetwork(wide, self.out_channels, LastLevelMaxPool())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.detector.maps(x)
        found: dict[str, Tensor] = self.pyramid({str(i): m for i, m in enumerate(maps)})
        return found


def train(source: Path, seconds: float) -> tuple[float, float, float]:
    """(AP50, AP, wall seconds) of the test images after training for `seconds` from now on."""
    began = time.perf_counter()
    recipe = with_overrides(Recipe(), {"data.source": str(source), "epochs": 1})
    prepared, _ = drained(prepare(recipe, str(source), began))
    net = _network(prepared)
    learning = [p for p in net.parameters() if p.requires_grad]
    rule = torch.optim.SGD(learning, lr=LR, momentum=0.9, weight_decay=1e-4)
    images, targets = _data(prepared, "train")
    rng, step = np.random.default_rng(0), 0
    while (share := (time.perf_counter() - began) / (seconds - 10)) < 1:
        chosen = rng.choice(len(images), BATCH, replace=False)
        batch, truth = zip(*(_mirrored(images[i], targets[i], rng) for i in chosen), strict=True)
        for group in rule.param_groups:
            group["lr"] = LR * min(1.0, (step + 1) / WARMUP) * (1 + math.cos(math.pi * share)) / 2
        _learning(net)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=False):
            losses = sum(net(list(batch), list(truth)).values())
        rule.zero_grad()
        losses.backward()
        rule.step()
        step += 1
    took = time.perf_counter() - began
    scores = _scores(prepared, net)
    return scores["average_precision_50"], scores["average_precision"], took


def _network(prepared: Prepared) -> FasterRCNN:
    body = prepared.fresh().net.backbone
    for stage in body.own[:3]:
        for name in stage.modules:
            body.body.get_submodule(name).requires_grad_(False)
    classes = len(prepared.data.dataset.classes)
    return FasterRCNN(
        Backbone(body), num_classes=classes + 1, min_size=SIZE, max_size=SIZE,
        image_mean=[0.5] * 3, image_std=[0.5] * 3,
        rpn_anchor_generator=_anchors(),
    )  # fmt: skip


def _anchors() -> Any:
    from torchvision.models.detection.rpn import AnchorGenerator

    return AnchorGenerator(((32,), (64,), (128,), (256,)), ((0.5, 1.0, 2.0),) * 4)


def _learning(net: FasterRCNN) -> None:
    net.train()
    for module in net.backbone.detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _data(prepared: Prepared, split: str) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    from striate.ladder.crops import images_of

    images, targets = [], []
    for pixels, own in images_of(prepared, split):
        images.append(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)
        targets.append({
            "boxes": torch.from_numpy(own.places).float(),
            "labels": torch.from_numpy(own.numbers) + 1,
        })  # fmt: skip
    return images, targets


def _mirrored(
    image: Tensor, truth: dict[str, Tensor], rng: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    if rng.random() < 0.5:
        return image, truth
    boxes = truth["boxes"].clone()
    boxes[:, [0, 2]] = image.shape[2] - truth["boxes"][:, [2, 0]]
    return image.flip(2), {**truth, "boxes": boxes}


def _scores(prepared: Prepared, net: FasterRCNN) -> dict[str, float]:
    from striate.ladder.crops import evaluated

    images, _ = _data(prepared, "test")
    net.eval()
    found = []
    with torch.inference_mode():
        for image in images:
            said = net([image])[0]
            found.append(Found(
                said["boxes"].double().numpy(), said["labels"].numpy() - 1,
                said["scores"].double().numpy(),
            ))  # fmt: skip
    return evaluated(prepared, found).scores
