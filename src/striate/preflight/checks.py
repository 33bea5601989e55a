"""CHECKS: everything that is tried before a training. A new one is a function and a line."""

from __future__ import annotations

from collections.abc import Callable

from striate.core.findings import Finding
from striate.preflight.bench import Bench
from striate.preflight.boxes import box_sizes
from striate.preflight.estimate import estimate
from striate.preflight.inputs import augmentation, batch_norm, labels, stem, workers
from striate.preflight.start import (
    activations,
    dead_units,
    gradients,
    initial_loss,
    unused_parameters,
)
from striate.preflight.trials import first_steps, learns_labels, overfit_few

Check = Callable[[Bench], Finding | list[Finding]]

CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        labels,
        box_sizes,
        augmentation,
        workers,
        stem,
        batch_norm,
        initial_loss,
        activations,
        gradients,
        dead_units,
        unused_parameters,
        first_steps,
        overfit_few,
        learns_labels,
        estimate,
    )
}
"""The quick ones first."""
