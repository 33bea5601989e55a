"""Peers on CIFAR-10 as a folder of images, each as its own documentation uses it.

    python benchmarks/peers.py torch FOLDER            images/s, as one JSON line
    python benchmarks/peers.py fastai FOLDER
    python benchmarks/peers.py timm FOLDER             as its train.py without flags
    python benchmarks/peers.py timm-amp FOLDER         with --amp, bfloat16, --channels-last
    python benchmarks/peers.py curve FOLDER OUT.csv [EPOCHS]

Nothing of Striate is imported: time_to_accuracy.py runs this file in an environment of its own. All
train one network, ResNet-18 with a 3×3 first layer and no first pooling, so that they need equally
many epochs; FOLDER holds train/CLASS/*.jpg and test/CLASS/*.jpg.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
WORKERS, BATCH, STEPS, WARM = 2, 128, 16, 3


def small_resnet18(*_: Any, **__: Any) -> nn.Module:
    """torchvision's, with the first layer that 32-pixel images need."""
    from torchvision.models import resnet18

    net = resnet18(weights=None, num_classes=10)
    net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net


def loaders(folder: str) -> tuple[Iterable[Any], Iterable[Any]]:
    from torch.utils.data import DataLoader
    from torchvision import transforms as t
    from torchvision.datasets import ImageFolder

    last = [t.ToTensor(), t.Normalize(MEAN, STD)]
    moved = t.Compose([t.RandomCrop(32, padding=4), t.RandomHorizontalFlip(), *last])
    how = {"num_workers": WORKERS, "persistent_workers": True}
    train = DataLoader(ImageFolder(f"{folder}/train", moved), BATCH, shuffle=True, **how)
    test = DataLoader(ImageFolder(f"{folder}/test", t.Compose(last)), 500, **how)
    return train, test


def with_torch(folder: str) -> float:
    """Plain float32: torchvision's transforms and DataLoader, SGD with momentum."""
    train, _ = loaders(folder)
    net = small_resnet18().train()
    rule = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)

    def step(batch: Any) -> int:
        x, y = batch
        rule.zero_grad()
        F.cross_entropy(net(x), y).backward()
        rule.step()
        return len(y)

    return rate(step, train)


def with_fastai(folder: str) -> float:
    """vision_learner and fit_one_cycle with fastai's own augmentation and defaults."""
    from fastai.vision.all import (
        Callback,
        CancelFitException,
        ImageDataLoaders,
        accuracy,
        aug_transforms,
        vision_learner,
    )

    data = ImageDataLoaders.from_folder(
        folder, train="train", valid="test", bs=BATCH, batch_tfms=aug_transforms(size=32),
        num_workers=WORKERS,
    )  # fmt: skip
    learner = vision_learner(
        data, small_resnet18, pretrained=False, cut=-2, metrics=accuracy, normalize=False
    )
    times = []

    class Watch(Callback):  # type: ignore[misc]
        def after_batch(self) -> None:
            times.append(time.perf_counter())
            if len(times) > STEPS + WARM:
                raise CancelFitException

    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(1, cbs=Watch())
    return BATCH * STEPS / (times[WARM + STEPS] - times[WARM])


def with_timm(folder: str, *, amp: bool) -> float:
    """The parts of timm's train.py: its data set, loader, network, loss and optimiser."""
    from timm import create_model
    from timm.data import create_dataset, create_loader
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2

    loader = create_loader(
        create_dataset("", folder, split="train", is_training=True), (3, 32, 32), BATCH,
        is_training=True, num_workers=WORKERS, device=torch.device("cpu"), use_prefetcher=False,
        mean=MEAN, std=STD,
    )  # fmt: skip
    net = create_model("resnet18", num_classes=10)
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    layout = torch.channels_last if amp else torch.contiguous_format
    net = net.to(memory_format=layout).train()
    rule = create_optimizer_v2(net, opt="sgd", lr=0.05, weight_decay=5e-4, momentum=0.9)
    loss = LabelSmoothingCrossEntropy(0.1)

    def step(batch: Any) -> int:
        x, y = batch
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            value = loss(net(x.contiguous(memory_format=layout)), y)
        rule.zero_grad()
        value.backward()
        rule.step()
        return len(y)

    return rate(step, loader)


def rate(step: Callable[[Any], int], batches: Iterable[Any]) -> float:
    """Images a second over STEPS steps, the first few left out; loading is part of it."""
    images, began = 0, 0.0
    for number, batch in enumerate(itertools.islice(batches, STEPS + WARM)):
        if number == WARM:
            images, began = 0, time.perf_counter()
        images += step(batch)
    return images / (time.perf_counter() - began)


def curve(folder: str, out: str, epochs: int, precision: str) -> None:
    """The recipe: SGD, Nesterov 0.9, one cycle to 0.1 over all epochs, weight decay 5e-4, label
    smoothing 0.1, batches of 128. The precision is what the processor is fastest in: the curve
    over epochs is what counts."""
    torch.manual_seed(0)
    short = precision == "bfloat16"
    train, test = loaders(folder)
    net = small_resnet18().to(memory_format=torch.channels_last)
    rule = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        rule,
        0.1,
        total_steps=epochs * len(train),
        pct_start=0.25,  # type: ignore[arg-type]
    )
    kept, done, spent = Path(f"{out}.{epochs}.pt"), 0, 0.0  # it takes hours: it goes on from here
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        net.load_state_dict(state["net"])
        rule.load_state_dict(state["rule"])
        cycle.load_state_dict(state["cycle"])
        done, spent = state["done"], state["spent"]
    with Path(out).open("a" if done else "w", encoding="utf-8", buffering=1) as file:
        if not done:
            recipe = " ".join((curve.__doc__ or "").split())
            file.write(f"# ResNet-18 with a 3x3 first layer. {recipe} Here: {precision}.\n")
            file.write("epoch,test_accuracy,seconds\n")
        for epoch in range(done + 1, epochs + 1):
            torch.manual_seed(epoch)
            began = time.perf_counter()
            net.train()
            for x, y in train:
                rule.zero_grad()
                with torch.autocast("cpu", torch.bfloat16, enabled=short):
                    logits = net(x.contiguous(memory_format=torch.channels_last))
                F.cross_entropy(logits.float(), y, label_smoothing=0.1).backward()
                rule.step()
                cycle.step()
            net.eval()
            right = total = 0
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=short):
                for x, y in test:
                    right += int((net(x).argmax(1) == y).sum())
                    total += len(y)
            spent += time.perf_counter() - began
            file.write(f"{epoch},{right / total:.4f},{spent:.0f}\n")
            state = {"net": net.state_dict(), "rule": rule.state_dict(),
                     "cycle": cycle.state_dict(), "done": epoch, "spent": spent}  # fmt: skip
            torch.save(state, f"{kept}.new")
            Path(f"{kept}.new").replace(kept)


if __name__ == "__main__":
    kind, folder, *rest = sys.argv[1:]
    if kind == "curve":
        curve(folder, rest[0], int(rest[1]), rest[2])
        sys.exit()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    found = {
        "torch": with_torch, "fastai": with_fastai,
        "timm": lambda f: with_timm(f, amp=False), "timm-amp": lambda f: with_timm(f, amp=True),
    }[kind](folder)  # fmt: skip
    print(json.dumps({"peer": kind, "rate": found}))
