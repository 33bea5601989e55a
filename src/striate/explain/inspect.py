"""Looking inside a network with a sample of images (M5, L8)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from striate.core.errors import ModelError, perhaps
from striate.core.words import clock
from striate.explain.backwards import rectifiers_met
from striate.explain.explanation import Explanation
from striate.explain.inspection import Choice, Inspection
from striate.explain.sample import Sample
from striate.explain.topics import NEEDS_ANSWERS, NEEDS_CLASSES, TOPICS
from striate.plan.predictor import Predictor

Floats = NDArray[np.floating[Any]]
JUDGED = ("classify",)
"""Tasks whose outputs are looked at; of others only filters are shown."""


def inspect(
    predictor: Predictor, sample: Sample, train: Callable[[int], Sample], choice: Choice,
    say: Callable[[str], None] = lambda _: None,
) -> Explanation:  # fmt: skip
    """Look inside a network with a sample of images; train(n) gives n training images.

    Ctrl-C keeps the topics that are done: `Explanation.stopped` names those that are not.
    """
    inspection = Inspection(predictor, sample, train, choice)
    found = Explanation(predictor.classes, sample.split, len(sample))
    if not rectifiers_met(inspection.net, torch.from_numpy(sample.images([0]))):
        found.notes.append(
            "no activation of this network is recognised as a rectifier: deconvolution and guided "
            "backpropagation show plain gradients here"
        )
    if not inspection.layers:
        found.notes.append("the network has no layer with maps: no patches, no Grad-CAM")
    known = [t for t in TOPICS if sample.targets is not None or t not in NEEDS_CLASSES]
    if predictor.task.name not in JUDGED:
        known = [t for t in known if t not in NEEDS_ANSWERS]
        found.notes.append(f"lacking: answers of {predictor.task.name} are not explained yet")
    for topic in choice.topics:
        if topic not in known:
            found.notes.append(f"{topic}: needs data with classes, not single images")
    topics = [t for t in known if t in (choice.topics or known)]
    began = time.monotonic()
    for number, topic in enumerate(topics):
        so_far = f", {clock(time.monotonic() - began)} so far" if number else ""
        say(f"{topic} ({number + 1} of {len(topics)}{so_far})")
        try:
            TOPICS[topic](inspection, found)
        except KeyboardInterrupt:
            if not number:
                raise
            found.stopped = tuple(topics[number:])
            found.notes.append(f"stopped before it had looked at: {', '.join(found.stopped)}")
            break
    return found


def check_topics(topics: Collection[str]) -> None:
    """Raise ModelError for a topic that does not exist."""
    for topic in topics:
        if topic not in TOPICS:
            raise ModelError(f"no topic '{topic}'", perhaps(topic, TOPICS))
