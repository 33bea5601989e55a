"""The lectures' table of how to transfer (M3): by how much data there is, and how like the data of
the weights it is."""

from __future__ import annotations

from dataclasses import dataclass

MUCH = 500
"""Images a class from which on data are "much": the lectures give no figure."""

ALIKE = 0.9
"""Data are like those of the weights if a linear classifier on the last stage's features gets this
far from chance to a perfect score."""


@dataclass(frozen=True)
class Advised:
    """What the table says: the member of WAYS that it means, and its own words."""

    way: str
    much: bool
    alike: bool
    words: str


def table_says(images: int, classes: int, score: float, chance: float) -> Advised:
    """images: for training; score: of a linear classifier on the last stage's features, in
    cross-validation; chance: of the best constant answer."""
    much = images >= MUCH * max(classes, 1)
    alike = score >= chance + ALIKE * (1 - chance)
    way, words = {
        (False, True): ("head", "little data, alike: train a linear classifier on top"),
        (True, True): ("last", "much data, alike: train a few of the last stages"),
        (False, False): ("head", "little data, different: try linear classifiers on all stages"),
        (True, False): ("all", "much data, different: train many stages"),
    }[much, alike]
    return Advised(way, much, alike, words)
