"""The labs, in the order of docs/sources.md."""

from __future__ import annotations

from striate.labs.claims import (
    adam,
    backpropagation,
    batch_norm,
    batches,
    captions,
    components,
    convolution_size,
    counts,
    crops,
    crowd,
    curves,
    dead_units,
    equivariance,
    gradient_check,
    hinge,
    initialisation,
    momentum,
    nesterov,
    parameters,
    polynomials,
    preparation,
    radiance,
    random_search,
    rates,
    saddles,
    schedules,
    stacks,
    test_set,
    top_five,
    twenty,
    vanishing,
    windows,
)
from striate.labs.lab import Lab

_ALL = (
    backpropagation.GRAPH, gradient_check.LAB, convolution_size.LAB, backpropagation.CONVOLUTION,
    equivariance.LAB, dead_units.LAB, hinge.LAB, batch_norm.LAB, stacks.LAB, vanishing.LAB,
    random_search.LAB, batches.LAB, momentum.LAB, nesterov.LAB, adam.LAB, rates.LAB, schedules.LAB,
    saddles.LAB,
    preparation.LAB, crops.LAB, test_set.LAB, components.LAB, crowd.LAB,
    initialisation.LAB, twenty.LAB, polynomials.LAB, radiance.LAB, curves.LAB,
    parameters.LAB, top_five.LAB, captions.LAB,
    counts.LAB, windows.LAB,
)  # fmt: skip
LABS: dict[str, Lab] = {lab.key: lab for lab in _ALL}
"""`O3-momentum` → its lab."""
ELSEWHERE = {
    "L1": "striate textbook train", "L4": "striate layers", "L7": "striate layers",
    "L9": "striate gradcheck MaxPool2d --input 1x1x4x4",
    "D5": "striate map", "D7": "striate evaluate", "D8": "striate train fake:1000x3x64x64x10",
    "T1": "striate preflight", "T6": "striate search", "T7": "striate studio",
    "M3": "striate transfer", "M4": "striate zoo", "M5": "striate explain",
    "E3": "striate ladder", "E4": "striate data convert",
}  # fmt: skip
"""Ids that a command shows."""
