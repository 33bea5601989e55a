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
from striate.explain import boxes
from striate.explain.backwards import rectifiers_met
from striate.explain.explanation import Explanation
from striate.explain.inspection import Choice, Inspection
from striate.explain.sample import Sample
from striate.explain.topics import TOPICS, filters
from striate.plan.predictor import Predictor

Floats = NDArray[np.floating[Any]]
Topics = dict[str, Callable[[Inspection, Explanation], None]]
TOPICS_OF: dict[str, Topics] = {
    "classify": TOPICS,
    "detect": {
        "filters": filters, "maps": boxes.maps, "boxes": boxes.made, "answering": boxes.answering,
    },
}  # fmt: skip
"""What is looked at, by task; of other tasks only filters."""
NEEDS_TRUTH = {
    "maximised", "patches", "errors", "probes", "trust", "equivariance", "answering"
}  # fmt: skip
"""Topics that need images of which something is known."""


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
    task = predictor.task.name
    own = TOPICS_OF.get(task, {"filters": filters})
    if task not in TOPICS_OF:
        found.notes.append(f"lacking: answers of {task} are not explained yet")
    known = [t for t in own if sample.targets is not None or t not in NEEDS_TRUTH]
    for topic in choice.topics:
        if topic not in own:
            found.notes.append(f"{topic}: this network has another task; it has {', '.join(own)}")
        elif topic not in known:
            found.notes.append(f"{topic}: needs data with classes, not single images")
    topics = [t for t in known if t in (choice.topics or known)]
    began = time.monotonic()
    for number, topic in enumerate(topics):
        so_far = f", {clock(time.monotonic() - began)} so far" if number else ""
        say(f"{topic} ({number + 1} of {len(topics)}{so_far})")
        try:
            own[topic](inspection, found)
        except KeyboardInterrupt:
            if not number:
                raise
            found.stopped = tuple(topics[number:])
            found.notes.append(f"stopped before it had looked at: {', '.join(found.stopped)}")
            break
    return found


def check_topics(topics: Collection[str]) -> None:
    """Raise ModelError for a topic that does not exist."""
    every = list(dict.fromkeys(topic for own in TOPICS_OF.values() for topic in own))
    for topic in topics:
        if topic not in every:
            raise ModelError(f"no topic '{topic}'", perhaps(topic, every))
