"""Building the network, its update rule and its first weights from plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from striate.core.errors import RecipeError, perhaps
from striate.core.runtime import Runtime
from striate.data.loader import BY_LOSS
from striate.data.prepare import Statistics, patch_covariance, shift_and_scale
from striate.models.detectors.detector import Detector
from striate.models.frozen import Tail, frozen_modules
from striate.models.initialise import initialise, whiten_first
from striate.models.network import Network
from striate.models.pretrained.catalogue import NONE
from striate.models.stages import Stage, number_by_parameter, set_frozen, stages_of
from striate.models.zoo import build
from striate.optim.regularise import MovingAverage
from striate.optim.rules import make_optimiser
from striate.plan.settled import Architecture, Settled
from striate.tasks.task import Task
from striate.training.activity import NORM
from striate.training.state import Position, State


def fresh_state(
    settled: Settled,
    task: Task,
    classes: int,
    statistics: Statistics,
    runtime: Runtime,
    images: int = 0,
    rates: Mapping[str, float] | None = None,
    begin: Callable[[Network], object] | None = None,
) -> State:
    """Network, optimiser and average at step 0; all randomness follows from the seed.

    images: how many there are to train on. rates: name of a stage (`striate.models.stages`) →
    factor of its learning rate, 1 where it is not named, 0: the stage is frozen, its norm layers
    too; None: as settled. begin: what gives the network trained weights to start from.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settled.seed)
        net = network_of(settled, task, classes, statistics)
        initialise(net, settled.initialiser, settled.init_std, settled.bias)
        if begin is not None:
            begin(net)
        if settled.whiten and settled.prepare != "weights":
            whiten_first(net.backbone, patch_covariance(settled.prepare, statistics))
    placed = _laid_out(net, settled).to(runtime.device)
    factors, frozen, cut = _by_stage(placed, settled, rates)
    optimiser = make_optimiser(
        placed,
        settled.rule,
        lr=settled.lr,
        l2=settled.l2,
        knobs=dict(settled.rule_knobs),
        bfloat16=runtime.precision == "bfloat16",
        factors=factors,
    )
    decay = settled.average_decay
    average = None if decay is None else MovingAverage(placed, decay)
    losses = torch.ones(2, images) if settled.sampler in BY_LOSS else None
    tail = Tail(placed, cut) if settled.kept_views else None  # type: ignore[arg-type]
    if settled.norm_frozen:
        whole = placed.get_submodule("backbone")
        came = whole.body if isinstance(whole, Detector) else placed  # the rest starts anew
        frozen = (*frozen, *(m for m in came.modules() if isinstance(m, NORM)))
    state = State(placed, optimiser, average, Position(), losses, frozen=frozen, tail=tail)
    state.set_training()
    return state


def check_freeze(shape: Architecture, backbone: nn.Module, wanted: int | str) -> None:
    """Raises RecipeError where a network has fewer stages than are to be frozen; `wanted` as
    `model.freeze`."""
    body = stages_of(backbone, shape.channels, shape.image_size)[:-1]
    if isinstance(wanted, int) and wanted > len(body):
        raise RecipeError(
            f"model.freeze: {shape.name} has {len(body)} stages, not {wanted}",
            f"Give 0 to {len(body)}, or backbone. "
            + "; ".join(f"{s.name}: {', '.join(s.modules)}" for s in body),
        )


def rates_of(settled: Settled, stages: Sequence[Stage]) -> dict[str, float]:
    """Stage → factor of its learning rate: 1 for the head, 0 for the first `frozen_stages`, between
    them `backbone_rate`, times `layer_decay` for each stage from the last one to the first."""
    *body, head = stages
    frozen = settled.stages_frozen(len(body))
    return {
        stage.name: 0.0
        if number < frozen
        else settled.backbone_rate * settled.layer_decay ** (len(body) - 1 - number)
        for number, stage in enumerate(body)
    } | {head.name: 1.0}


def _by_stage(
    net: nn.Module, settled: Settled, given: Mapping[str, float] | None
) -> tuple[dict[str, float], tuple[nn.Module, ...], tuple[str, ...]]:
    """(parameter → factor of its rate, the parts that are frozen, the first ones of them by name).
    Raises RecipeError for a stage that the network does not have."""
    if not given and settled.weights == NONE:
        return {}, (), ()
    backbone, shape = net.get_submodule("backbone"), settled.architecture
    stages = stages_of(backbone, shape.channels, shape.image_size)
    rates = rates_of(settled, stages) if given is None else given
    names = [stage.name for stage in stages]
    for name in rates:
        if name not in names:
            raise RecipeError(f"{shape.name} has no stage '{name}'", perhaps(name, names))
    frozen = [m for stage in stages if rates.get(stage.name) == 0 for m in stage.modules]
    numbers = number_by_parameter(net, stages, "backbone.")
    factors = {name: rates.get(names[number], 1.0) for name, number in numbers.items()}
    for name, parameter in net.named_parameters():
        parameter.requires_grad &= factors[name] > 0
    cut = frozen_modules(backbone, stages, settled.stages_frozen(len(stages) - 1))
    return factors, set_frozen(backbone, tuple(frozen)), cut


def network_of(
    settled: Settled,
    task: Task,
    classes: int,
    statistics: Statistics | None,
) -> Network:
    """The task's network behind its input stage, in float32 on the CPU.

    Without statistics, or where it comes with weights, the input stage is blank: it is filled from
    these or from a checkpoint.
    """
    shift, scale = _input_stage(settled, statistics)
    return Network(
        bare_network(settled.architecture, task, classes),
        torch.from_numpy(shift),
        torch.from_numpy(scale),
        channels_last=settled.channels_last,
    )


def _input_stage(settled: Settled, statistics: Statistics | None) -> tuple[Any, Any]:
    """The two arrays of `striate.models.network`."""
    size, channels = settled.image_size, settled.channels
    if settled.prepare == "weights":
        blank = np.zeros(channels, dtype=np.float32)
        return blank, blank
    if statistics is None:
        statistics = _blank_statistics(size, channels)
    return shift_and_scale(settled.prepare, statistics)


def bare_network(wanted: Architecture, task: Task, classes: int) -> nn.Module:
    """The task's network without the input stage. Raises ModelError if the architecture does not
    take a knob that was set."""
    return task.network(partial(_backbone, wanted), classes)


def _backbone(wanted: Architecture, outputs: int) -> nn.Module:
    insisted: dict[str, Any] = {
        "width": wanted.width, "small_stem": wanted.small_stem, "dropout": wanted.dropout or None,
    }  # fmt: skip
    return build(
        wanted.name,
        num_classes=outputs,
        channels=wanted.channels,
        image_size=wanted.image_size,
        insist={knob: value for knob, value in insisted.items() if value is not None},
    )


def _blank_statistics(size: int, channels: int) -> Statistics:
    blank = np.ones(channels)
    image, pairs = np.ones((size, size, channels)), np.eye(channels)
    return Statistics(blank, blank, image, pairs, np.eye(9 * channels))


def _laid_out(net: nn.Module, settled: Settled) -> nn.Module:
    if settled.channels_last:
        return net.to(memory_format=torch.channels_last)
    return net
