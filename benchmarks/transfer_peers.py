"""Peers that start from the same weights, each as its own documentation fine-tunes.

    python benchmarks/transfer_peers.py fastai FOLDER WEIGHTS [SEED]
    python benchmarks/transfer_peers.py timm FOLDER WEIGHTS [SEED]

FOLDER holds train/CLASS/* and test/CLASS/*; WEIGHTS is a state dict of timm's
tf_efficientnet_lite0 (benchmarks/transfer.py writes both). Prints one JSON line: accuracy on test/,
seconds from process start. Nothing of Striate is imported: another environment may run this file.

fastai: `vision_learner(...).fine_tune(8)` with `aug_transforms()` at 224 pixels, batches of 64, or
a quarter of the set. timm: its train transforms, AdamW at 5e-4 with a cosine, eight epochs after
one of the head, batches of 32; float32 both, as they come.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

BEGAN = time.perf_counter()
EPOCHS, SIZE, WORKERS = 8, 224, 2


def network(weights: str, classes: int) -> Any:
    import timm
    import torch

    net = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
    net.load_state_dict(torch.load(weights, weights_only=True))
    net.reset_classifier(classes)
    return net


def with_fastai(folder: str, weights: str, seed: int) -> float:
    import torch
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        ImageBlock,
        Learner,
        Normalize,
        Resize,
        accuracy,
        aug_transforms,
        get_image_files,
        params,
        parent_label,
        set_seed,
    )

    set_seed(seed, reproducible=True)
    files = get_image_files(Path(folder) / "train")
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_y=parent_label,
        splitter=lambda items: (list(range(len(items))), list(range(0, len(items), 10))),
        item_tfms=Resize(SIZE),
        batch_tfms=[*aug_transforms(), Normalize.from_stats([0.5] * 3, [0.5] * 3)],
    )
    loaders = block.dataloaders(
        Path(folder) / "train", bs=min(64, len(files) // 4), num_workers=WORKERS
    )
    net = network(weights, len(loaders.vocab))

    def groups(model: Any) -> list[Any]:
        head = set(map(id, model.get_classifier().parameters()))
        return [
            [p for p in model.parameters() if id(p) not in head], params(model.get_classifier()),
        ]  # fmt: skip

    learner = Learner(loaders, net, metrics=accuracy, splitter=groups)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(EPOCHS)
        tests = get_image_files(Path(folder) / "test")
        said, truth = learner.get_preds(dl=loaders.test_dl(tests, with_labels=True))
    return float((said.argmax(dim=1) == truth).to(torch.float32).mean())


def with_timm(folder: str, weights: str, seed: int) -> float:
    import torch
    from timm.data import create_transform
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    torch.manual_seed(seed)
    norm = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic"}
    moved = create_transform(SIZE, is_training=True, **norm)
    plain = create_transform(SIZE, crop_pct=0.875, **norm)
    train = ImageFolder(f"{folder}/train", moved)
    batches = DataLoader(train, 32, shuffle=True, num_workers=WORKERS, persistent_workers=True,
                         drop_last=len(train) > 32)  # fmt: skip
    net = network(weights, len(train.classes))
    for epochs, rate, head_only in ((1, 5e-3, True), (EPOCHS, 5e-4, False)):
        for parameter in net.parameters():
            parameter.requires_grad = not head_only
        for parameter in net.get_classifier().parameters():
            parameter.requires_grad = True
        rule = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, epochs * len(batches))
        net.train()
        for _ in range(epochs):
            for images, truth in batches:
                loss = torch.nn.functional.cross_entropy(net(images), truth, label_smoothing=0.1)
                rule.zero_grad()
                loss.backward()
                rule.step()
                schedule.step()
    net.eval()
    right = count = 0
    with torch.no_grad():
        tests = ImageFolder(f"{folder}/test", plain)
        for images, truth in DataLoader(tests, 64, num_workers=WORKERS):
            right += int((net(images).argmax(dim=1) == truth).sum())
            count += len(truth)
    return right / count


if __name__ == "__main__":
    how = {"fastai": with_fastai, "timm": with_timm}[sys.argv[1]]
    score = how(sys.argv[2], sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else 0)
    print(json.dumps({"accuracy": score, "seconds": time.perf_counter() - BEGAN}))
