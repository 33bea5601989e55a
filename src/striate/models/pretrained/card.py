"""The card of a set of weights: where it comes from, and how its network wants its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from striate.core.errors import ModelError


@dataclass(frozen=True)
class Normalisation:
    """prepared = (pixel / 255 − mean) / deviation, for each channel."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Means and deviations of ImageNet's channels, which most of its networks are given."""
HALVES = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""From 0 … 1 to −1 … 1."""


@dataclass(frozen=True)
class Card:
    """What is known of a set of weights.

    name: what `--weights` takes. architecture: the network's name in the zoo, with further `knobs`
    of the recipe that it was built with. image_size: side in pixels at which it was trained; crop:
    which share of the stored side its test images were. normalisation: None where it is among the
    weights themselves, as in our own runs. classes: how many its head tells apart. megabytes: of
    the file; sha256: of the file, or the first digits of that; "": not known. class_names: of the
    head's outputs, where they are known.
    """

    name: str
    architecture: str
    source: str
    licence: str
    trained_on: str
    accuracy: str
    image_size: int
    classes: int
    normalisation: Normalisation | None = None
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    crop: float = 0.875
    channels: int = 3
    megabytes: float = 0.0
    sha256: str = ""
    knobs: Mapping[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def card_from_json(values: object, where: str) -> Card:
    """A card from its JSON. Raises ModelError that names what is wrong."""
    try:
        return TypeAdapter(Card).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise ModelError(
            f"{where} is not a card of weights: {place}: {first['msg']}",
            "`striate zoo add RUN` writes one.",
        ) from None
