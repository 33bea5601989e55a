"""The laws of tasks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from striate.core.arrays import Pixels
from striate.core.geometry import identity
from striate.core.runtime import Runtime
from striate.data.loader import ArrayStore
from striate.data.targets import Targets
from striate.tasks.task import Pass, Predictions, Scored, Task
from striate.testing.laws import Laws, difference
from striate.training.inference import batch_of, evaluate

_CPU = Runtime(torch.device("cpu"), "float32")


def check_task(
    task: Task, images: Pixels, targets: Targets, classes: int = 0, *, net: nn.Module | None = None
) -> list[str]:
    """The laws of a task on some images uint8 (N, S, S, C), N at least 8, and their targets. net:
    the network that is asked; by default the task's own around a small one."""
    laws, size = Laws(f"the task {task.name}"), images.shape[1]
    laws.check("there are at least eight images", len(images) >= 8, str(len(images)))
    if net is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = task.network(_small(images.shape[3]), classes)
    _losses(laws, task, net, images, targets)
    scored = Scored("val", tuple(map(str, range(classes))), tuple(map(str, range(len(images)))))
    how = Pass(size, _CPU)
    found = evaluate(task, net, ArrayStore(images), targets, scored, how)
    names = (task.main_score, "loss", "n")
    missing = [name for name in names if name not in found.scores]
    laws.check("scores have the main score, loss and n", not missing, ", ".join(missing))
    laws.check("every image is scored once", found.scores["n"] == len(images))
    net.eval()
    whole = task.predictions(net, images, identity(len(images)), how)
    _merging(laws, task, targets, scored, whole)
    each = found.contributions()
    if each is not None:
        laws.check("there is a contribution for each image", each.shape == (len(images),))
        apart = abs(float(each.mean()) - found.scores[task.main_score])
        named = found.compared_by == task.main_score.replace("_", " ")
        law = "contributions that are called the main score have it as their mean"
        laws.check(law, not named or apart < 1e-6, f"{apart:g} apart")
    columns, rows = found.rows()
    wide = {len(row) for row in rows}
    named_in = {row[0] for row in rows}
    laws.check("predictions.csv names every image", named_in == set(scored.names))
    laws.check("its rows have its columns", wide == {len(columns)}, f"{wide}, {len(columns)}")
    answers = task.answers(whole, scored)
    laws.check("there is an answer for each image", len(answers) == len(images))
    laws.check("answers say something", all(answer.line() for answer in answers))
    return laws.kept


def _losses(laws: Laws, task: Task, net: nn.Module, images: Pixels, targets: Targets) -> None:
    batch = batch_of(images, targets)
    net.eval()  # batch norm would see each part's own statistics
    whole = task.losses(net, batch, _CPU)
    parts = [task.losses(net, part, _CPU) for part in batch.parts(3)]
    total, added = float(whole.total.detach()), sum(float(part.total.detach()) for part in parts)
    near = abs(total - added) <= 1e-4 * max(1.0, abs(total))
    laws.check("micro-batches add up to the batch", near, f"{total:.6g} and {added:.6g}")
    if whole.per_image is not None:
        shape = tuple(whole.per_image.shape)
        laws.check("there is a loss for each image", shape == (len(images),), str(shape))
        apart = abs(float(whole.per_image.sum().detach()) - total)
        laws.check("they add up to the total", apart <= 1e-4 * max(1.0, abs(total)), f"{apart:g}")
    net.train()
    task.losses(net, batch, _CPU).total.backward()  # type: ignore[no-untyped-call]
    idle = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
    laws.check("every parameter gets a gradient", not idle, ", ".join(idle[:3]))


def _merging(laws: Laws, task: Task, targets: Targets, scored: Scored, whole: Predictions) -> None:
    """In parts, in another order, and through another scorer: the same scores."""
    together, one, other = (task.scorer(targets, scored) for _ in range(3))
    ids = np.arange(len(targets), dtype=np.int64)
    together.add(ids, whole)
    for scorer, places in ((one, ids[1::2][::-1]), (other, ids[::2])):
        scorer.add(places, {name: rows[places] for name, rows in whole.items()})
    one.merge(other.arrays())
    a, b = together.result().scores, one.result().scores
    apart = max((difference(a[name], b[name]) for name in a), default=0.0)
    same = a.keys() == b.keys() and (apart < 1e-6 or not np.isfinite(list(a.values())).all())
    laws.check("merged scorers equal the whole", same, f"{a} and {b}")


def _small(channels: int) -> Callable[[int], nn.Module]:
    return lambda outputs: _Small(channels, outputs)


class _Small(nn.Module):
    """uint8 (N, H, W, C) → (N, outputs)."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(channels, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8 * 16, outputs)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.body(images.permute(0, 3, 1, 2).float() / 255))
        pooled = nn.functional.adaptive_avg_pool2d(x, 4)
        outputs: Tensor = self.head(pooled.flatten(1))
        return outputs
