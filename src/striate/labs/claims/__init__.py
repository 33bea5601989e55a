"""The labs, in the order of docs/sources.md."""

from __future__ import annotations

from striate.labs.claims import (
    adam,
    all_schedules,
    anchors,
    augmentations,
    backpropagation,
    batch_norm,
    batches,
    captions,
    components,
    convolution_size,
    counts,
    crops,
    crowd,
    crowding,
    curves,
    data_needed,
    dead_units,
    depth,
    equivariance,
    first_filters,
    gradient_check,
    hinge,
    initialisation,
    momentum,
    nesterov,
    parameters,
    polynomials,
    preparation,
    pretrained,
    radiance,
    random_labels,
    random_search,
    rates,
    reading_rules,
    regularisers,
    saddles,
    schedules,
    stacks,
    synthetic,
    test_set,
    top_five,
    twenty,
    vanishing,
    windows,
)
from striate.labs.lab import Lab

_ALL = (
    backpropagation.GRAPH, gradient_check.LAB, convolution_size.LAB, backpropagation.CONVOLUTION,
    equivariance.LAB, data_needed.LAB, dead_units.LAB, hinge.LAB, batch_norm.LAB, stacks.LAB,
    vanishing.LAB,
    random_search.LAB, batches.LAB, momentum.LAB, nesterov.LAB, adam.LAB, rates.LAB, schedules.LAB,
    all_schedules.LAB, saddles.LAB,
    preparation.LAB, crops.LAB, augmentations.LAB, test_set.LAB, components.LAB, crowding.LAB,
    crowd.LAB, synthetic.LAB,
    initialisation.LAB, twenty.LAB, regularisers.LAB, random_labels.LAB, polynomials.LAB,
    radiance.LAB, reading_rules.LAB, curves.LAB,
    parameters.LAB, depth.LAB, top_five.LAB, pretrained.LAB, first_filters.LAB, captions.LAB,
    counts.LAB, windows.LAB, anchors.LAB,
)  # fmt: skip
LABS: dict[str, Lab] = {lab.key: lab for lab in _ALL}
"""`O3-momentum` → its lab."""
ELSEWHERE = {
    "L1": "striate textbook train", "L4": "striate layers", "L7": "striate layers",
    "L9": "striate gradcheck MaxPool2d --input 1x1x4x4",
    "D5": "striate map", "D8": "striate train fake:1000x3x64x64x10",
    "T1": "striate preflight", "T6": "striate search", "T7": "striate studio",
    "M4": "striate zoo", "E4": "striate data convert",
}  # fmt: skip
"""Ids that a command shows."""
