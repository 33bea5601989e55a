"""T4: regularisers with the same budget, each at the strength that suits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from striate.labs.bench import Images, Share, digits, partly_random, share_of
from striate.labs.lab import Figures, Lab, Trial

_FEW, _MORE, _WIDTH, _BATCH = 240, 960, 64, 32
_RATE, _MOMENTUM = 0.02, 0.9
_MORE_IMAGES = "four times the images"
_WRONG = {"true": 0.0, "noisy": 0.3}
"""Kind of labels → the share that is drawn by chance."""


class _Arm(NamedTuple):
    """A way to regularise, at one strength: λ of λ½‖W‖² and of λ|W|, the largest norm of a unit's
    weights, the share of units dropped, hidden units, the share of images that are moved by up to a
    pixel, images, batch norm."""

    way: str
    l2: float = 0.0
    l1: float = 0.0
    most: float = math.inf
    dropped: float = 0.0
    width: int = _WIDTH
    moved: float = 0.0
    images: int = _FEW
    normed: bool = False

    @property
    def strength(self) -> str:
        """What is unlike the network with nothing."""
        plain = _Arm(self.way)
        told = [f"{mine:g}" for mine, usual in zip(self[1:-1], plain[1:-1], strict=True)
                if mine != usual]  # fmt: skip
        return told[0] if told else "–"


_ARMS = [
    _Arm("nothing"),
    *(_Arm("L2", l2=s) for s in (0.003, 0.01, 0.03, 0.1)),
    *(_Arm("L1", l1=s) for s in (3e-4, 1e-3, 3e-3, 0.01)),
    *(_Arm("max-norm", most=s) for s in (2.0, 1.4, 1.0, 0.7)),
    *(_Arm("dropout", dropped=s) for s in (0.2, 0.35, 0.5, 0.65)),
    _Arm("batch norm", normed=True),
    *(_Arm("a smaller network", width=s) for s in (32, 16, 8)),
    *(_Arm("augmentation", moved=s) for s in (0.3, 0.6, 0.9)),
    _Arm(_MORE_IMAGES, images=_MORE),
]
WAYS = tuple(dict.fromkeys(arm.way for arm in _ARMS))


class _Networks:
    """A network of two hidden layers for each arm, all at once: weights (K, inputs, outputs)."""

    def __init__(self, arms: Sequence[_Arm], inputs: int, classes: int) -> None:
        widths = [inputs, _WIDTH, _WIDTH, classes]
        self.weights, self.biases = [], []
        for layer, (fan, out) in enumerate(pairwise(widths)):
            live = _each(arms, "width") if layer else torch.full((len(arms), 1, 1), float(fan))
            self.weights.append(((2 / live).sqrt() * torch.randn(1, fan, out)).requires_grad_())
            self.biases.append(torch.zeros(len(arms), 1, out, requires_grad=True))
        self.dropped = _each(arms, "dropped")
        self.normed = arms[0].normed
        units = torch.arange(_WIDTH)
        self.kept = (units < _each(arms, "width")).float()
        self.scales = [torch.ones(len(arms), 1, _WIDTH, requires_grad=True) for _ in range(2)]

    @property
    def parameters(self) -> list[Tensor]:
        return [*self.weights, *self.biases, *(self.scales if self.normed else ())]

    def __call__(self, x: Tensor, *, learning: bool, first: int | None = None) -> Tensor:
        """Scores (K, N, classes) of images (K, N, inputs). Batch norm takes the averages of the
        first so many, None for all."""
        for weight, bias, scale in zip(self.weights, self.biases, self.scales, strict=False):
            x = x @ weight
            if self.normed:
                some = x[:, :first]
                deviation = (some.var(dim=1, keepdim=True, unbiased=False) + 1e-5).sqrt()
                x = (x - some.mean(dim=1, keepdim=True)) / deviation * scale
            x = (x + bias).relu() * self.kept
            if learning and not self.normed:
                x = x * (torch.rand(x.shape) >= self.dropped) / (1 - self.dropped)
        return torch.baddbmm(self.biases[-1], x, self.weights[-1])


def _each(arms: Sequence[_Arm], name: str) -> Tensor:
    """(K, 1, 1)."""
    return torch.tensor([float(getattr(arm, name)) for arm in arms])[:, None, None]


def _moved(x: Tensor) -> Tensor:
    """Images (N, 1, H, W) in the nine ways to move them by up to a pixel, first not at all:
    (9, N, H·W)."""
    side = x.shape[-1]
    wide = pad(x, (1, 1, 1, 1))
    shifts = sorted(((d, r) for d in range(3) for r in range(3)), key=lambda at: at != (1, 1))
    return torch.stack([wide[..., d : d + side, r : r + side].flatten(1) for d, r in shifts])


def _learned(arms: Sequence[_Arm], x: Tensor, y: Tensor, steps: int) -> _Networks:
    """Networks after so many steps. x: (9, N, D), y: (K, N)."""
    nets = _Networks(arms, x.shape[2], int(y.max()) + 1)
    l2, l1, most = (_each(arms, name) for name in ("l2", "l1", "most"))
    images, moved = (_each(arms, name)[:, :, 0] for name in ("images", "moved"))
    moves = [torch.zeros_like(p) for p in nets.parameters]
    for _ in range(steps):
        chosen = (torch.rand(1, _BATCH) * images).long()
        way = (torch.rand(1, _BATCH) < moved) * torch.randint(1, 9, (1, _BATCH))
        scores = nets(x[way, chosen], learning=True)
        loss = cross_entropy(scores.flatten(0, 1), y.gather(1, chosen).flatten(), reduction="sum")
        slopes = torch.autograd.grad(loss / _BATCH, nets.parameters)
        with torch.no_grad():
            for p, slope, move in zip(nets.parameters, slopes, moves, strict=True):
                penalised = any(p is weight for weight in nets.weights)
                pull = l2 * p + l1 * p.sign() if penalised else 0.0
                move.mul_(_MOMENTUM).add_(slope + pull)
                p.sub_(_RATE * move)
            for weight in nets.weights:
                weight.mul_((most / weight.norm(dim=1, keepdim=True)).clamp(max=1))
    return nets


def measure(seed: int, full: bool) -> Trial:
    data = digits(seed)
    figures: dict[str, float] = {}
    torch.manual_seed(seed)
    labels = {kind: partly_random(data.y, share, data.classes) for kind, share in _WRONG.items()}
    rows = [["way", *(f"{kind} labels: best strength, accuracy" for kind in _WRONG)]]
    chosen: dict[str, dict[str, _Scored]] = {kind: {} for kind in _WRONG}
    for normed in (False, True):
        arms = [arm for arm in _ARMS if arm.normed == normed]
        for kind, found in _scored(arms, data, labels, seed, 5000 if full else 600):
            kept = chosen[kind].get(found.arm.way)
            if kept is None or found.on_val > kept.on_val:
                chosen[kind][found.arm.way] = found
    for kind, best in chosen.items():
        errors = 1 - best["nothing"].on_test
        for way, found in best.items():
            figures[_accuracy(way, kind)] = found.on_test
            if way != "nothing":
                figures[_removed(way, kind)] = 1 - (1 - found.on_test) / errors
    for way in WAYS:
        both = [best[way] for best in chosen.values()]
        rows.append([way, *(f"{one.arm.strength}: {one.on_test:.3f}" for one in both)])
    return Trial(figures, rows=rows)


class _Scored(NamedTuple):
    """An arm with its accuracy on validation images, whose labels are as noisy as those it learned,
    and on test images with true ones."""

    arm: _Arm
    on_val: Share
    on_test: Share


def _scored(
    arms: Sequence[_Arm], data: Images, labels: Mapping[str, Tensor], seed: int, steps: int
) -> Iterator[tuple[str, _Scored]]:
    """Kind of labels and what an arm reached, for all."""
    torch.manual_seed(seed)
    y = torch.cat([each.expand(len(arms), -1) for each in labels.values()])
    nets = _learned([*arms] * len(labels), _moved(data.x), y, steps)
    val = _right(nets, data.x[:_FEW], data.x[_MORE:], y[:, _MORE:])
    test = _right(nets, data.x[:_FEW], data.test_x, data.test_y)
    for k, (kind, arm) in enumerate(product(labels, arms)):
        yield kind, _Scored(arm, val[k], test[k])


@torch.no_grad()
def _right(nets: _Networks, learned: Tensor, x: Tensor, y: Tensor) -> list[Share]:
    """The share of right answers of each network, with the averages of images that it learned."""
    both = torch.cat([learned, x]).flatten(1).expand(len(nets.kept), -1, -1)
    scores = nets(both, learning=False, first=len(learned))[:, len(learned) :]
    return [share_of(right) for right in scores.argmax(dim=2) == y]


def _accuracy(way: str, kind: str) -> str:
    return f"{way}, {kind} labels: accuracy"


def _removed(way: str, kind: str) -> str:
    return f"{way}, {kind} labels: share of the errors that it removes"


_HELPING = ("L2", "max-norm", "dropout", "augmentation")


def _where_there_is_noise(figures: Figures) -> bool:
    def removed(kind: str) -> dict[str, float]:
        return {way: figures[_removed(way, kind)] for way in WAYS[1:]}

    true, noisy = removed("true"), removed("noisy")
    more = true.pop(_MORE_IMAGES), noisy.pop(_MORE_IMAGES)
    return (
        fmean(noisy[way] for way in _HELPING) > 0.2
        and fmean(noisy[way] - true[way] for way in _HELPING) > 0.1
        and more[0] > 0
        and more[1] > max(noisy.values())
        and max(noisy[way] for way in ("batch norm", "a smaller network")) < 0.3
    )


LAB = Lab(
    "T4", "regularisers",
    "Regularise: L2, L1, bounded norms, dropout, batch norm, augmentation, a smaller network, more "
    "data.",
    "Networks learn 240 digits for 600 steps, each with one of these, where it has a strength at "
    "the best of three or four, which 437 validation images choose; once with true labels, and "
    "once with three in ten drawn by chance (those of validation images too). The table has the "
    "chosen strength and the accuracy on test images.",
    measure,
    {"conditional": _where_there_is_noise},
    "dropout, noisy labels: share of the errors that it removes",
    "More images help most where labels are noisy, and help with true ones too. L2, a bounded "
    "norm, dropout and augmentation take away a third to a half of the errors where the network "
    "would learn by heart what is not so; with true labels they take away next to nothing. Batch "
    "norm and a smaller network are no regularisers here.",
    "conditional", seeds=5,
)  # fmt: skip
