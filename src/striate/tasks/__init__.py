"""Floor 2: what a target is, its loss and its scores. The loop never asks which task it runs."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from striate.core.errors import RecipeError, perhaps
from striate.data.boxes import Boxes
from striate.data.targets import KINDS, kind_in
from striate.tasks.task import Entry, Task

TASKS: dict[str, str] = {
    "classify": "striate.tasks.classify:ENTRY",
    "detect": "striate.tasks.detect:ENTRY",
}
"""Every task by name, as "module:Entry"."""


def entries() -> dict[str, Entry]:
    """All tasks."""
    found = {}
    for name, place in TASKS.items():
        module, _, attribute = place.partition(":")
        found[name] = getattr(importlib.import_module(module), attribute)
    return found


def known_losses() -> list[str]:
    """The names of the losses of all tasks."""
    each = (names for entry in entries().values() for names in entry.losses.values())
    return list(dict.fromkeys(name for names in each for name in names))


def usual_loss(kind: str) -> str:
    """The loss that is usual for this kind of targets. Raises RecipeError if no task takes it."""
    return entry_of(kind).losses[kind][0]


def make_task(kind: str, loss: str, smoothing: float = 0.0, detector: str = "") -> Task:
    """The task that takes this kind of targets, with this loss; detector: for boxes.

    Raises RecipeError for an unknown loss, or one that does not fit such targets.
    """
    if loss not in known_losses():
        raise RecipeError(f"loss.name: unknown '{loss}'", perhaps(loss, known_losses()))
    entry = entry_of(kind)
    fitting = list(entry.losses[kind])
    if loss not in fitting:
        wanted = " or ".join(filter(None, (", ".join(fitting[:-1]), fitting[-1])))
        described = {"labels": "one label", "label_sets": "several labels"}.get(kind, kind)
        raise RecipeError(
            f"loss.name: {loss} does not fit images with {described}", f"Use {wanted}."
        )
    if detector and kind == Boxes.kind:
        return entry.make(kind, loss, smoothing, detector)
    return entry.make(kind, loss, smoothing)


def knows_loss(loss: str) -> bool:
    """Whether predictions tell this loss, so that validation has one; of an unknown loss: yes."""
    return all(
        e.knows_loss for e in entries().values() if loss in itertools.chain(*e.losses.values())
    )


def task_of_loss(loss: str) -> Task | None:
    """The task that minimises this loss; None for a loss that is not known here."""
    for entry in entries().values():
        for kind, names in entry.losses.items():
            if loss in names:
                return entry.make(kind, loss, 0.0)
    return None


def chance_score_of(facts: Mapping[str, Any], class_images: Sequence[int]) -> float | None:
    """The accuracy of always naming the commonest class, from a run's dataset.json and the images
    of each class; None for targets of another kind than one label an image."""
    if kind_in(facts) != "labels" or not sum(class_images):
        return None
    return max(class_images) / sum(class_images)


def entry_of(kind: str) -> Entry:
    """The task that takes this kind of targets. Raises RecipeError where there is none."""
    for entry in entries().values():
        if kind in entry.losses:
            return entry
    if kind in KINDS:
        raise RecipeError(
            f"there is no training on {KINDS[kind].described} yet",
            "`striate data check`, `data show` and `data convert` work on such images.",
        )
    raise RecipeError(
        f"no task takes targets of the kind '{kind}'",
        "striate.tasks.TASKS lists the tasks; a task of your own is a line there.",
    )
