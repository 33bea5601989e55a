"""RULES: every judgement that the doctor knows, by its id. A new one is a function and a line."""

from __future__ import annotations

from striate.doctor.batches import batch_too_large, batch_too_small
from striate.doctor.data import bad_split, class_imbalance, label_noise, unlike_splits
from striate.doctor.fit import (
    overfitting,
    plateau,
    regularisation_too_strong,
    too_few_epochs,
    underfitting,
)
from striate.doctor.layers import (
    dead_units,
    exploding_gradient,
    norm_mismatch,
    not_finite,
    saturated_units,
    unequal_layers,
    vanishing_gradient,
)
from striate.doctor.rates import (
    decayed_too_early,
    decayed_too_late,
    learning_rate_too_high,
    learning_rate_too_low,
)
from striate.doctor.saying import Rule

RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        not_finite,
        exploding_gradient,
        learning_rate_too_high,
        regularisation_too_strong,
        vanishing_gradient,
        saturated_units,
        dead_units,
        learning_rate_too_low,
        norm_mismatch,
        batch_too_small,
        label_noise,
        unlike_splits,
        bad_split,
        class_imbalance,
        overfitting,
        decayed_too_early,
        decayed_too_late,
        batch_too_large,
        too_few_epochs,
        underfitting,
        unequal_layers,
        plateau,
    )
}
"""Causes before effects: of equally sure findings the first is named first."""
