"""T4: regularisers with the same budget."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from striate.labs.bench import Images, accuracy_of, dense, digits, partly_random
from striate.labs.lab import Figures, Lab, Trial

_FEW, _MORE, _WIDTH = 300, 1200, 128
_WRONG = {"true": 0.0, "noisy": 0.3}
"""Kind of labels → the share that is drawn by chance."""


def _bounded(net: nn.Module, most: float = 2.0) -> None:
    """Weights of each unit into a ball (max-norm)."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear):
                module.weight.copy_(module.weight.renorm(2, 0, most))


def _moved(x: Tensor, draw: torch.Generator) -> Tensor:
    """Each image by up to a pixel, over a black border."""
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    down, right = torch.randint(0, 3, (2, len(x)), generator=draw).tolist()
    side = x.shape[-1]
    return torch.stack([image[:, d : d + side, r : r + side]
                        for image, d, r in zip(padded, down, right, strict=True)])  # fmt: skip


def _net(way: str, data: Images) -> nn.Module:
    inputs, classes = data.inputs, data.classes
    if way == "a smaller network":
        return dense([inputs, 12, classes], nn.ReLU)
    if way in ("dropout", "batch norm"):

        def between() -> nn.Module:
            if way == "dropout":
                return nn.Sequential(nn.ReLU(), nn.Dropout(0.5))
            return nn.Sequential(nn.BatchNorm1d(_WIDTH), nn.ReLU())

        return dense([inputs, _WIDTH, _WIDTH, classes], between)
    return dense([inputs, _WIDTH, _WIDTH, classes], nn.ReLU)


WAYS = ("nothing", "L2", "L1", "max-norm", "dropout", "batch norm", "a smaller network",
        "augmentation", "four times the images")  # fmt: skip


def measure(seed: int, full: bool) -> Trial:
    data, figures = digits(seed), {}
    rows = [["way", *(f"accuracy, {kind} labels" for kind in _WRONG)]]
    for kind, share in _WRONG.items():
        torch.manual_seed(seed)
        y = partly_random(data.y, share, data.classes)
        for way in WAYS:
            net = _learned(way, data._replace(y=y), seed, 3000 if full else 300)
            figures[f"{way}, {kind} labels: accuracy"] = accuracy_of(net, data.test_x, data.test_y)
    for way in WAYS:
        rows.append(
            [way, *(f"{figures[f'{way}, {kind} labels: accuracy']:.3f}" for kind in _WRONG)]
        )
    return Trial(figures, rows=rows)


def _learned(way: str, data: Images, seed: int, steps: int) -> nn.Module:
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    count = _MORE if way == "four times the images" else _FEW
    x, y, net = data.x[:count], data.y[:count], _net(way, data)
    rule = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9,
                           weight_decay=0.01 if way == "L2" else 0.0)  # fmt: skip
    net.train()
    for _ in range(steps):
        chosen = torch.randint(count, (32,), generator=draw)
        seen = _moved(x[chosen], draw) if way == "augmentation" else x[chosen]
        loss = cross_entropy(net(seen), y[chosen])
        if way == "L1":
            loss = loss + 1e-3 * sum(p.abs().sum() for p in net.parameters() if p.ndim > 1)
        rule.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        rule.step()
        if way == "max-norm":
            _bounded(net)
    return net


def _where_there_is_noise(figures: Figures) -> bool:
    def gain(way: str, kind: str) -> float:
        return (
            figures[f"{way}, {kind} labels: accuracy"]
            - figures[f"nothing, {kind} labels: accuracy"]
        )

    helping = ("L2", "dropout", "augmentation")
    return (
        min(gain(way, "noisy") for way in helping) > 0.02
        and max(gain(way, "true") for way in helping) < 0.04
        and gain("four times the images", "noisy") > max(gain(way, "noisy") for way in helping)
        and gain("four times the images", "true") > 0
    )


LAB = Lab(
    "T4", "regularisers",
    "Regularise: L2, L1, bounded norms, dropout, batch norm, augmentation, a smaller network, more "
    "data.",
    "Networks learn 300 digits for the same number of steps, each with one of these; once with "
    "their true labels, and once with three in ten drawn by chance.",
    measure,
    {"conditional": _where_there_is_noise},
    "L2, noisy labels: accuracy",
    "More images help always, and most. A penalty or dropout gains where the network would learn "
    "by heart what is not so; with true labels there is little to gain, and a network that is too "
    "small only loses.",
    "conditional", seeds=3,
)  # fmt: skip
