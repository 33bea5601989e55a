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
from striate.doctor.outcome import (
    at_chance,
    class_never_found,
    generalisation_gap,
    labels_random,
)
from striate.doctor.rates import (
    decayed_too_early,
    decayed_too_late,
    learning_rate_too_high,
    learning_rate_too_low,
)
from striate.doctor.saying import Rule
from striate.doctor.setup import (
    augmentation_too_strong,
    frozen_layers,
    input_too_small,
    momentum_too_high,
    output_activation,
)
from striate.doctor.transfer import forgetting

RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        output_activation,
        input_too_small,
        momentum_too_high,
        exploding_gradient,
        batch_too_small,
        learning_rate_too_high,
        not_finite,
        frozen_layers,
        forgetting,
        regularisation_too_strong,
        augmentation_too_strong,
        vanishing_gradient,
        saturated_units,
        norm_mismatch,
        dead_units,
        learning_rate_too_low,
        labels_random,
        unlike_splits,
        label_noise,
        bad_split,
        class_imbalance,
        class_never_found,
        overfitting,
        decayed_too_early,
        decayed_too_late,
        batch_too_large,
        too_few_epochs,
        underfitting,
        unequal_layers,
        at_chance,
        generalisation_gap,
        plateau,
    )
}
"""Causes before effects: of equally sure findings the first is named first."""
