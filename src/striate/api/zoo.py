"""The weights that a training may start from: what there is, what is here, and your own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import save_file

from striate.core.errors import ModelError
from striate.core.files import disk_faults_explained, sha256, write_json
from striate.models.pretrained.card import Card
from striate.models.pretrained.catalogue import (
    CARD,
    PACKAGED,
    WEIGHTS,
    offer_of,
    own_offers,
    own_zoo,
)
from striate.models.pretrained.locate import local_file
from striate.models.pretrained.match import Matching, match
from striate.models.stages import last_weights
from striate.plan.weights import Weights, network_of_card, open_weights, weights_of_run

_TORCHVISION = ("resnet18", "resnet50")
"""Of torchvision's sets those that are listed; all can be named."""


@dataclass(frozen=True)
class ZooEntry:
    """A card, and the file if it is on this machine."""

    card: Card
    file: Path | None


def list_weights() -> list[ZooEntry]:
    """The sets of weights that have a short name, some of torchvision's, and your own. Fetches
    nothing."""
    named = [offer_of(f"torchvision:{name}") for name in _TORCHVISION]
    offers = (*PACKAGED.values(), *named, *own_offers())
    return [ZooEntry(offer.card, local_file(offer)) for offer in offers]


def show_weights(name: str, model: str = "auto") -> tuple[Weights, Matching]:
    """The weights called `name`, and how they map onto their network. Raises ModelError."""
    weights = open_weights(name, model)
    net = network_of_card(weights.card)
    return weights, match(net, weights.tensors, last_weights(net), keep_head=True)


def add_weights(run: str | Path, name: str = "") -> ZooEntry:
    """Keep a run's best weights, with a card made from the run, under a name that `model.weights`
    then takes. Raises RunError, and ModelError for a name that is taken or not plain."""
    path = Path(run)
    found = weights_of_run(path)
    name = name or path.resolve().name
    plain = name.replace("-", "").replace("_", "").isalnum() and name.isascii()
    if not plain or name in PACKAGED:
        raise ModelError(
            f"'{name}' cannot name weights",
            "Give a --name of letters, digits, - and _ that is not in the zoo yet.",
        )
    folder = own_zoo() / name
    if (folder / CARD).exists():
        raise ModelError(f"{folder} is there already", "Give another --name, or delete it first.")
    file = folder / WEIGHTS
    with disk_faults_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(found.whole(), str(file))
    card = replace(found.card, name=name, sha256=sha256(file))
    write_json(folder / CARD, card.to_json())  # last: without a card there is no entry
    return ZooEntry(card, file)
