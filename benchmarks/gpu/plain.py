"""Plain torch, as people write it: DataLoader, torchvision's transforms, autocast, SGD."""

from __future__ import annotations

import shutil
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from report import Place
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler


class Pictures(Dataset[Any]):
    """Decoded images uint8 (N, H, W, C) with labels, changed as torchvision's examples do."""

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[Any], padding: int) -> None:
        from torchvision import transforms as t

        side = pixels.shape[1]
        mean, deviation = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
        self.pixels, self.labels = pixels, labels.astype(np.int64)
        self.change = t.Compose([
            t.RandomCrop(side, padding=padding), t.RandomHorizontalFlip(), t.ToTensor(),
            t.Normalize(mean, deviation),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.change(Image.fromarray(self.pixels[index])), int(self.labels[index])


def loader(place: Place, data: Pictures, batch: int, batches: int, cores: int) -> Iterator[Any]:
    """So many shuffled batches from as many workers as there are cores, fewer where the shared
    memory is small."""
    warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
    shared = Path("/dev/shm")
    free = shutil.disk_usage(shared).free if shared.exists() else 1 << 40
    each = 3 * 4 * batch * data.pixels[0].size
    workers = max(1, min(cores, int(free // each) - 1))
    sampler = RandomSampler(data, replacement=True, num_samples=batch * batches)
    return iter(DataLoader(
        data, batch, sampler=sampler, num_workers=workers, pin_memory=place.card, drop_last=True,
        timeout=90,
    ))  # fmt: skip


def step_of(
    place: Place, net: nn.Module, smoothing: float, precision: str
) -> Callable[[Tensor, Tensor], None]:
    """One update in the same precision, with channels last and Nesterov's momentum; it waits for
    nothing."""
    net = net.to(memory_format=torch.channels_last).to(place.device).train()
    rule = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)
    half = precision == "bfloat16"

    def step(images: Tensor, labels: Tensor) -> None:
        x = images.to(place.device, non_blocking=True)
        x = x.contiguous(memory_format=torch.channels_last)
        y = labels.to(place.device, non_blocking=True)
        rule.zero_grad(set_to_none=True)
        with torch.autocast(place.device, torch.bfloat16, enabled=half):
            loss = F.cross_entropy(net(x), y, label_smoothing=smoothing)
        loss.backward()
        rule.step()

    return step


def windows(place: Place, step: Callable[[], None], warm: int, count: int, steps: int) -> float:
    """Seconds a step: the median of some short windows after some steps to warm up."""
    for _ in range(warm):
        step()
    found = []
    for _ in range(count):
        place.wait()
        began = time.perf_counter()
        for _ in range(steps):
            step()
        place.wait()
        found.append((time.perf_counter() - began) / steps)
    return statistics.median(found) if found else 0.0
