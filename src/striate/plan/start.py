"""What must be known before a start from trained weights is settled: how good a linear
classifier on their features is, and what keeping a frozen part's outputs takes (M3)."""

from __future__ import annotations

import math

import torch

from striate.core.runtime import Runtime
from striate.models.frozen import Prefix, can_be_cut, frozen_modules
from striate.models.network import Network
from striate.models.stages import stages_of
from striate.plan.data import PreparedData
from striate.plan.decisions import Decisions
from striate.plan.head import fit_head
from striate.plan.settled import architecture_of, or_else, task_of
from striate.plan.weights import Start


def first_look(
    decisions: Decisions,
    start: Start,
    backbone: torch.nn.Module,
    data: PreparedData,
    runtime: Runtime,
) -> tuple[float | None, float | None]:
    """(the score of a linear classifier on the weights' features in cross-validation, chance);
    None: not known. Keeps the classifier as the head to start with."""
    wanted = decisions.default("model.head", "probe", "a linear classifier is the best start (M3)")
    if wanted != "probe" or not start.matching.new_head:
        return None, None
    task, shape = task_of(decisions.recipe, data.dataset.kind), architecture_of(decisions.recipe)
    net = start.network(backbone, shape.image_size, shape.channels)
    found = fit_head(net, task, data, shape, runtime)
    if found is None:
        return None, None
    start.keep_head((shape, task.loss_name, runtime.precision), net)
    start.score = found.scores[task.main_score]
    start.interval = found.figures.intervals[task.main_score]
    return start.score, task.chance_score(data.dataset.splits["train"].targets)


def worth_in_words(start: Start, main_score: str) -> str:
    """A line: what a linear classifier on the weights' features reaches."""
    low, high = start.interval
    return (
        f"a linear classifier on the features of {start.weights.card.name} has "
        f"{main_score.replace('_', ' ')} {start.score:.3f} ({low:.3f} to {high:.3f}) in "
        "cross-validation"
    )


def kept_bytes(decisions: Decisions, backbone: torch.nn.Module) -> int:
    """What the outputs of the frozen part take, for an image; 0 where there are none to keep."""
    wanted, freeze = architecture_of(decisions.recipe), decisions.recipe.model.freeze
    stages = stages_of(backbone, wanted.channels, wanted.image_size)
    count = len(stages) - 1 if freeze == "backbone" else or_else(freeze, 0)
    modules = frozen_modules(backbone, stages, count)
    blank = torch.zeros(wanted.channels)
    net = Network(backbone, blank, blank + 1 / 255)
    if not modules or not can_be_cut(net, modules, wanted.image_size, wanted.channels):
        return 0
    shape = Prefix(net, modules, torch.float32)(
        torch.zeros((1, wanted.image_size, wanted.image_size, wanted.channels), dtype=torch.uint8)
    ).shape
    return math.prod(shape) * (2 if decisions.recipe.device.precision == "bfloat16" else 4)
