"""A small network that learns points in the plane, with the parts of a real training (T7).

The layers are torch's, the update rules, schedules and penalties those of `striate train`, and the
doctor reads the same records: what is seen here is what a training of images does.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from striate.core.errors import RecipeError, perhaps
from striate.core.findings import Finding
from striate.core.randomness import permutation
from striate.core.records import Epoch, Failed, Planned, Record, Step
from striate.doctor.live import Watch
from striate.labs import plane
from striate.optim.regularise import add_l1_gradient
from striate.optim.rules import UPDATE_RULES, find_rule, make_optimiser
from striate.optim.schedules import SCHEDULES, find_schedule, make_schedule

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "linear": nn.Identity,
}
HORIZON = 500
"""Epochs after which schedules that end have ended, and so does the training by itself."""
_SURE = 0.75
"""Below it a finding is not shown: the training may still recover."""
_LOOKS = 100
"""How often the doctor looks in a whole training; what lies between two looks is an epoch to it."""

Units = Annotated[int, Ge(1), Le(8)]


@dataclass(frozen=True)
class Settings:
    """What is learnt, by which network, and how. Equal settings give equal weights."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # noqa: RUF012

    data: str = "circle"
    """circle, xor, gaussians, spiral, moons, plane, hills; painted: the points in `points`."""
    points: tuple[tuple[float, float, float], ...] = ()
    """x, y and class of points that were painted."""
    count: Annotated[int, Ge(10), Le(plane.MOST)] = 400
    """Points, those of the test included."""
    noise: Annotated[float, Ge(0), Le(0.5)] = 0.0
    test_share: Annotated[float, Ge(0), Lt(1)] = 0.5
    features: tuple[str, ...] = ("x1", "x2")
    layers: tuple[Units, ...] = (4, 2)
    """Units of each hidden layer; at most six layers."""
    activation: str = "tanh"
    rule: str = "momentum"
    lr: Annotated[float, Gt(0), Le(100)] = 0.01
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    schedule: str = "constant"
    batch_size: Annotated[int, Ge(1), Le(plane.MOST)] = 10
    l1: Annotated[float, Ge(0), Le(10)] = 0.0
    l2: Annotated[float, Ge(0), Le(10)] = 0.0
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    epochs: Annotated[int, Ge(1), Le(100_000)] = HORIZON
    """Passes over the points, after which schedules are at their end."""
    seed: Annotated[int, Ge(0), Le(2**31)] = 0


PRESETS: dict[str, tuple[str, Settings]] = {
    "circle": ("A ring around a disc: one hidden layer bends the line", Settings()),
    "spiral": (
        "Two spirals: sines and squares of the coordinates, two layers, adam",
        Settings(
            data="spiral", features=tuple(plane.FEATURES), layers=(8, 8), activation="tanh",
            rule="adam", lr=0.01, count=600, test_share=0.3, epochs=300, schedule="one_cycle",
        ),
    ),
    "plain spiral": (
        "Two spirals from x and y alone: depth does what the features did",
        Settings(
            data="spiral", layers=(8, 8, 8), activation="tanh", rule="adam", lr=0.01, count=600,
            test_share=0.3, epochs=600, schedule="one_cycle",
        ),
    ),
    "linear": (
        "Without an activation any number of layers is one line",
        Settings(data="circle", layers=(8, 8), activation="linear"),
    ),
    "too fast": (
        "A learning rate that is too high: the doctor names it",
        Settings(data="moons", layers=(8, 8), activation="relu", rule="sgd", lr=20.0),
    ),
    "overfitting": (
        "Few noisy points and a large network: the losses part; add l2",
        Settings(
            data="gaussians", noise=0.5, count=60, layers=(8, 8, 8), rule="adam", lr=0.01,
            activation="relu", batch_size=10, features=tuple(plane.FEATURES), seed=1,
        ),
    ),
    "regression": ("A height instead of classes", Settings(data="hills", layers=(8, 6))),
}  # fmt: skip
"""name → (what it shows, settings)."""


class Losses(NamedTuple):
    """Means over all points; `test` is NaN without test points."""

    train: float
    test: float


@dataclass
class Playground:
    """A training in the plane that goes on when it is told to.

    The network's output is one number for each point: its height, or the logit of class 1. Losses
    are squared errors, or cross-entropies.
    """

    settings: Settings = field(default_factory=Settings)
    step: int = 0

    def __post_init__(self) -> None:
        self.settings = checked(self.settings)
        s = self.settings
        self.drawn = (
            plane.painted(s.points, s.test_share, s.seed)
            if s.data == "painted"
            else plane.draw(s.data, s.count, s.noise, s.test_share, s.seed)
        )
        self._train, self._test = (self._tensors(*part) for part in _parts(self.drawn))
        self.net = network(s)
        rule, knobs = find_rule(s.rule), {}
        for name, default in rule.knobs.items():
            knobs[name] = s.momentum if name == "momentum" else default
        self.optimiser = make_optimiser(self.net, s.rule, lr=s.lr, l2=s.l2, knobs=knobs)
        self._rate = _schedule(s, self.total)
        self._every, self._best = max(1, s.epochs // _LOOKS), math.inf
        self._watch = Watch({"optim.rule": s.rule, "optim.lr": s.lr, "optim.momentum": s.momentum})
        self.findings: list[Finding] = []
        self.failed = False
        parameters = sum(p.numel() for p in self.net.parameters())
        self._see(Planned(
            epochs=-(-s.epochs // self._every), steps=self.total, images=len(self._train[0]),
            model="playground", parameters=parameters, score="accuracy", batch_size=s.batch_size,
            loss="",
        ))  # fmt: skip

    @property
    def per_epoch(self) -> int:
        """Updates in a pass over the points."""
        return max(1, -(-len(self.drawn.train[0]) // self.settings.batch_size))

    @property
    def total(self) -> int:
        return self.per_epoch * self.settings.epochs

    @property
    def epoch(self) -> int:
        """Passes that are done."""
        return self.step // self.per_epoch

    @property
    def done(self) -> bool:
        """Whether the planned end is reached, or a loss was not finite."""
        return self.failed or self.step >= self.total or not len(self._train[0])

    def advance(self, updates: int) -> int:
        """Make so many updates, fewer at the end; how many were made."""
        for made in range(updates):
            if self.done:
                return made
            self._update()
        return updates

    def losses(self) -> Losses:
        """Of all points, without dropout and penalties."""
        with torch.inference_mode(), _evaluating(self.net):
            return Losses(*(
                float(self._loss(self.net(x)[:, 0], y)) if len(x) else math.nan
                for x, y in (self._train, self._test)
            ))  # fmt: skip

    def maps(self, side: int) -> list[NDArray[np.float32]]:
        """Of the features, each layer's units and the output: (units, side, side), as they answer
        to the points of the plane."""
        x = torch.from_numpy(plane.features(self.settings.features, plane.grid(side)))
        found = [x]
        with torch.inference_mode(), _evaluating(self.net):
            for layer in self.net:
                x = layer(x)
                if isinstance(layer, nn.Linear):
                    found.append(x)
                else:
                    found[-1] = x
        return [values.T.reshape(-1, side, side).numpy() for values in found]

    def linears(self) -> list[nn.Linear]:
        return [layer for layer in self.net if isinstance(layer, nn.Linear)]

    def change(self, **knobs: float) -> None:
        """Other values of lr, l1 or l2 from the next update on. Raises RecipeError."""
        if knobs.keys() - {"lr", "l1", "l2"}:
            raise RecipeError("only lr, l1 and l2 change while it trains")
        self.settings = checked({**vars(self.settings), **knobs})
        for group in self.optimiser.param_groups:
            if "l2" in knobs and any(p.dim() > 1 for p in group["params"]):
                group["weight_decay"] = self.settings.l2

    def set_weight(self, layer: int, unit: int, source: int, value: float) -> None:
        """Write one weight, or with source −1 the bias. Raises RecipeError for a place that there
        is not."""
        linears = self.linears()
        sound = 0 <= layer < len(linears) and math.isfinite(value) and abs(value) <= 1e6
        if not sound or not 0 <= unit < linears[layer].out_features:
            raise RecipeError("there is no such unit, or the weight is not a number up to 1e6")
        if not -1 <= source < linears[layer].in_features:
            raise RecipeError("there is no such weight")
        with torch.no_grad():
            if source < 0:
                linears[layer].bias[unit] = value
            else:
                linears[layer].weight[unit, source] = value

    def _update(self) -> None:
        s = self.settings
        at = self.step % self.per_epoch
        order = permutation(s.seed, self.epoch, "batches", len(self._train[0]))
        ids = torch.from_numpy(order[at * s.batch_size : (at + 1) * s.batch_size])
        x, y = self._train[0][ids], self._train[1][ids]
        rate = s.lr * self._rate(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        with _seeded(s.seed, self.step) if s.dropout else contextlib.nullcontext():
            loss = self._loss(self.net(x)[:, 0], y)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if s.l1:
            add_l1_gradient(self.net, s.l1)
        norm = float(nn.utils.get_total_norm([p.grad for p in self.net.parameters()]))  # type: ignore[misc]
        value = float(loss.detach())
        if not math.isfinite(value) or not math.isfinite(norm):
            self.failed = True
            self._see(Failed(self.step + 1, self.epoch, None, None, rate, ""))
            return
        self.optimiser.step()
        self.step += 1
        look = (self.step - 1) // (self.per_epoch * self._every)
        self._see(Step(self.step, look, value, rate, norm, 0.0))
        if self.step % self.per_epoch == 0:
            self._close_epoch()

    def _close_epoch(self) -> None:
        if self.epoch % self._every and not self.done:
            return
        found = self.losses()
        judged = found.test if len(self._test[0]) else found.train
        better = judged < self._best
        self._best = min(self._best, judged)
        look = -(-self.epoch // self._every)
        self._see(Epoch(look, self.step, found.train, judged, -judged, 0.0, better))
        self.findings = [
            f for f in self._watch.diagnosis().findings
            if f.rule in NAMED and (f.confidence or 0) >= _SURE
        ]  # fmt: skip

    def _see(self, record: Record) -> None:
        for finding in self._watch.see(record):
            if finding.rule in NAMED:
                self.findings = [finding]

    def _loss(self, out: Tensor, y: Tensor) -> Tensor:
        if self.drawn.heights:
            return nn.functional.mse_loss(out, y)
        return nn.functional.binary_cross_entropy_with_logits(out, y)

    def _tensors(self, xy: plane.Points, label: plane.Points) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(plane.features(self.settings.features, xy))
        return x, torch.from_numpy(label.astype(np.float32))


NAMED = frozenset({
    "not_finite", "exploding_gradient", "learning_rate_too_high", "learning_rate_too_low",
    "vanishing_gradient", "overfitting", "momentum_too_high", "plateau", "underfitting",
})  # fmt: skip
"""What the doctor can tell from losses and gradients alone."""


def checked(settings: Settings | dict[str, Any]) -> Settings:
    """Settings after all checks. Raises RecipeError that names what is wrong."""
    given = settings if isinstance(settings, dict) else vars(settings)
    try:
        s = TypeAdapter(Settings).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecipeError(f"{where}: {first['msg']}, found {first['input']!r}") from None
    for name, known in (
        (s.activation, ACTIVATIONS), (s.rule, UPDATE_RULES), (s.schedule, SCHEDULES),
        (s.data, [*plane.KINDS, "painted"]),
    ):  # fmt: skip
        if name not in known:
            raise RecipeError(f"unknown '{name}'", perhaps(name, known))
    if not s.features:
        raise RecipeError("the network needs at least one feature")
    if len(s.layers) > 6:
        raise RecipeError(f"{len(s.layers)} hidden layers; the playground draws at most 6")
    return s


def network(s: Settings) -> nn.Sequential:
    """Linear layers with activations between them, started from the seed."""
    parts: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(s.seed)
        wide = len(s.features)
        for units in s.layers:
            parts += [nn.Linear(wide, units), ACTIVATIONS[s.activation]()]
            parts += [nn.Dropout(s.dropout)] if s.dropout else []
            wide = units
        parts.append(nn.Linear(wide, 1))
    return nn.Sequential(*parts)


def _schedule(s: Settings, total: int) -> Callable[[int], float]:
    knobs = dict(find_schedule(s.schedule).defaults)
    if math.isnan(knobs.get("step_epochs", 0.0)):
        knobs["step_epochs"] = s.epochs / 3
    return make_schedule(s.schedule, total=total, per_epoch=total / s.epochs, **knobs)


def _parts(drawn: plane.Drawn) -> tuple[tuple[plane.Points, plane.Points], ...]:
    return drawn.train, drawn.test


@contextlib.contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    net.eval()
    try:
        yield
    finally:
        net.train()


@contextlib.contextmanager
def _seeded(seed: int, step: int) -> Iterator[None]:
    """Dropout's masks follow from the seed and the step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed * 1_000_003 + step)
        yield
