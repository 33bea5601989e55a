"""The weights that a training starts from (M3, M4): opened by name, run or file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.errors import ModelError, RunError
from striate.core.files import sha256
from striate.core.recipe import Recipe
from striate.core.run import RunDirectory
from striate.models.detectors.detector import Detector
from striate.models.network import Network
from striate.models.pretrained.card import Card, Normalisation
from striate.models.pretrained.catalogue import NONE, offer_of
from striate.models.pretrained.locate import fetched
from striate.models.pretrained.match import Matching, load_matched, match
from striate.models.pretrained.read import READABLE, read_weights
from striate.models.stages import last_weights
from striate.models.zoo import build
from striate.plan.recall import settled_recipe
from striate.plan.settled import architecture_of
from striate.training import checkpoints

PARTIAL = "partial-weights"
"""What `--allow` takes where weights do not fill the whole backbone."""
_INPUT_STAGE, _BACKBONE = ("shift", "scale"), "backbone."
_BODY = "body."
"""The part of a detector that is a network of the zoo, without its head."""
_SMALL_HEAD = 0.01
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """A card with its tensors: `tensors` of the backbone by name; `shift` and `scale` of the input
    stage (`striate.models.network`)."""

    card: Card
    tensors: Mapping[str, Tensor]
    shift: Floats
    scale: Floats

    def whole(self) -> dict[str, Tensor]:
        """All tensors under a run's names, input stage included."""
        found = {f"{_BACKBONE}{name}": tensor for name, tensor in self.tensors.items()}
        stage = zip(_INPUT_STAGE, (self.shift, self.scale), strict=True)
        return {**found, **{name: torch.from_numpy(array) for name, array in stage}}

    def matched(
        self, backbone: nn.Module, classes: tuple[str, ...], allow: tuple[str, ...]
    ) -> Matching:
        """The mapping onto a network for these classes; the head is taken over only where it tells
        the same classes apart. Raises ModelError where less than all of the backbone is filled,
        unless `allow` names "partial-weights"."""
        if isinstance(backbone, Detector) and not any(
            name.startswith(_BODY) for name in self.tensors
        ):
            found = match(backbone, self.tensors, (), part=_BODY)  # a classifier's, for a detector
        else:
            found = match(
                backbone,
                self.tensors,
                last_weights(backbone),
                keep_head=self.card.class_names == classes,
            )
        if found.missing and PARTIAL not in allow:
            names = ", ".join(found.missing[:5])
            raise ModelError(
                f"{self.card.name}: {len(found.missing)} tensors of the network are not in the "
                f"weights ({names}{', …' if len(found.missing) > 5 else ''})",
                f"--allow {PARTIAL} lets them start anew.",
            )
        return found

    def input_stage(self, size: int, channels: int) -> tuple[Floats, Floats]:
        """(shift, scale) for images of this size and number of channels: a mean image of another
        size becomes the mean of its places, and channels that are lacking are alike."""
        shift, scale = self.shift, self.scale
        if len(shift.shape) == 3 and shift.shape[:2] != (size, size):
            shift = shift.mean(axis=(0, 1))
        if scale.shape[-1] not in (1, channels):
            if len(scale.shape) == 2:
                raise ModelError(
                    f"{self.card.name}: its input stage mixes {len(scale)} channels; the images "
                    f"have {channels}",
                    "--data.prepare standardise measures another one.",
                )
            shift, scale = shift.mean(axis=-1, keepdims=True), scale.mean(axis=-1, keepdims=True)
        return shift, scale


@dataclass
class Start:
    """Weights with the mapping onto a network."""

    weights: Weights
    matching: Matching
    heads: dict[Any, dict[str, Tensor]] = field(default_factory=dict)
    """Heads that were fitted to the weights' features, by what they were fitted on."""
    kept: dict[str, Any] = field(default_factory=dict)
    """What frozen parts gave for these images (`striate.training.features`), by their weights."""
    score: float | None = None
    """Of a linear classifier on the weights' features in cross-validation, with its `interval`;
    None: not known."""
    interval: tuple[float, float] = (0.0, 1.0)

    def network(self, backbone: nn.Module, size: int, channels: int) -> Network:
        """The backbone with the tensors, behind the weights' input stage."""
        blank = torch.zeros(channels)
        net = Network(backbone, blank, blank)
        self.load(net, size, channels)
        return net

    def load(self, net: Network, size: int, channels: int) -> None:
        """Copy the tensors into the network, and the input stage for images of this shape; a head
        that starts anew is small."""
        shift, scale = self.weights.input_stage(size, channels)
        net.shift, net.scale = torch.from_numpy(shift), torch.from_numpy(scale)
        load_matched(net.backbone, self.weights.tensors, self.matching)
        own = net.backbone.state_dict()
        for name in self.matching.new_head:
            if own[name].dim() > 1:
                nn.init.normal_(own[name], 0.0, _SMALL_HEAD)
            else:
                nn.init.zeros_(own[name])

    def keep_head(self, key: Any, net: Network) -> None:
        """Remember the head that was fitted to these."""
        own = net.backbone.state_dict()
        self.heads[key] = {name: own[name].clone() for name in self.matching.new_head}

    def load_head(self, key: Any, net: Network) -> bool:
        """Copy a head that was remembered into a network; False if there is none."""
        own = net.backbone.state_dict()
        for name, tensor in self.heads.get(key, {}).items():
            own[name].copy_(tensor)
        return key in self.heads

    def to_json(self) -> dict[str, Any]:
        """The card and the mapping, for the run."""
        found = self.matching
        return {
            **self.weights.card.to_json(), "matched": found.how, "tensors": dict(found.pairs),
            "new_head": list(found.new_head), "anew": list(found.missing),
            "unused": list(found.left), "probe": self.score, "probe_interval": list(self.interval),
        }  # fmt: skip


def open_weights(name: str, architecture: str = "auto") -> Weights:
    """The weights called `name`: a run's directory, a file, or what `offer_of` knows. architecture:
    the network that was asked for, "auto" where the weights decide.

    Raises ModelError and RunError: which file is lacking, damaged or not weights.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        found = weights_of_run(path)
        _refuse_other(found.card, architecture)
        return found
    if (path.suffix in READABLE and ":" not in name) or (path.suffix and path.is_file()):
        return _weights_of_file(path, architecture)
    offer = offer_of(name, architecture)
    _refuse_other(offer.card, architecture)
    file = fetched(offer)
    tensors = read_weights(file, offer.card.sha256)
    return _with_input_stage(offer.card, tensors)


def network_of_card(card: Card) -> nn.Module:
    """A network that the weights of a card fit, with first weights of its own."""
    knobs = {knob.rpartition(".")[2]: value for knob, value in card.knobs.items()}
    with torch.random.fork_rng(devices=[]):
        return build(
            card.architecture, num_classes=card.classes or 2, channels=card.channels,
            image_size=card.image_size, insist=knobs,
        )  # fmt: skip


def _refuse_other(card: Card, architecture: str) -> None:
    if architecture not in ("auto", card.architecture):
        raise ModelError(
            f"model.weights: {card.name} are weights of {card.architecture}, not of {architecture}",
            "Leave --model out: the weights name their network.",
        )


def wanted_weights(recipe: Recipe) -> Weights | None:
    """The weights that a recipe asks for, None while that is not settled. Raises as
    `open_weights`."""
    if recipe.model.weights in (NONE, "auto"):
        return None
    return open_weights(recipe.model.weights, recipe.model.name)


def weights_of_run(path: Path) -> Weights:
    """A run's best weights, with its input stage and class map. Raises RunError."""
    directory = RunDirectory(path)
    recipe = settled_recipe(directory)
    chosen, faults = checkpoints.best(directory.checkpoints)
    if chosen is None:
        raise RunError(
            f"{path} has no usable checkpoint to start from" + (f": {faults[0]}" if faults else ""),
            f"`striate resume {path}` continues a training that was cut off early.",
        )
    facts, scores = directory.read_json("dataset.json"), _scores(directory)
    shape = architecture_of(recipe)
    file = chosen.path / "model.safetensors"
    card = Card(
        name=str(path),
        architecture=shape.name,
        source=f"trained by Striate on {facts['source']}",
        licence="yours",
        trained_on=str(facts["source"]),
        accuracy=scores,
        image_size=shape.image_size,
        classes=len(facts["classes"]),
        channels=shape.channels,
        resize="bicubic" if recipe.data.interpolation == "bicubic" else "bilinear",
        megabytes=round(file.stat().st_size / 1e6, 1),
        sha256=sha256(file),
        class_names=tuple(facts["classes"]),
        knobs={
            name: value
            for name, value in (
                ("model.width", shape.width), ("model.small_stem", shape.small_stem),
            )
            if value is not None
        },
    )  # fmt: skip
    return _with_input_stage(card, chosen.model())


def _scores(directory: RunDirectory) -> str:
    """The main score of the split that was read last, in words."""
    try:
        found = directory.read_json("scores.json")
    except RunError:
        return "not scored"
    figures: dict[str, Any] = found.get(found["split"], {})
    name = next((n for n in ("accuracy", "mean_average_precision") if n in figures), "")
    if not name:
        return "not stated"
    value = figures[name]
    value = value["value"] if isinstance(value, Mapping) else value
    return f"{name.replace('_', ' ')} {value:.3f} on its {found['split']} images"


def _weights_of_file(path: Path, architecture: str) -> Weights:
    """A bare file: the network must be named, and its usual card says what the images are like."""
    if not path.is_file():
        raise ModelError(f"there is no file {path}", "Check the path.")
    tensors = read_weights(path)
    if _INPUT_STAGE[0] in tensors and any(n.startswith(_BACKBONE) for n in tensors):
        raise ModelError(
            f"{path} is a part of a run, without the class map and the network's name",
            "Name the run's folder instead: --weights RUN.",
        )
    if architecture == "auto":
        raise ModelError(
            f"{path}: which network are these weights of?",
            "Name it: --model resnet18, --model timm:NAME, or your own --model module:factory.",
        )
    try:
        usual = offer_of("imagenet", architecture).card
        norm, size, resize = usual.normalisation, usual.image_size, usual.resize
        crop = usual.crop
    except ModelError:
        norm, size, resize, crop = None, 224, "bilinear", 0.875
    card = Card(
        name=str(path),
        architecture=architecture,
        source=f"the file {path}",
        licence="not stated",
        trained_on="not stated",
        accuracy="not stated",
        image_size=size,
        classes=0,
        normalisation=norm,
        resize=resize,
        crop=crop,
        megabytes=round(path.stat().st_size / 1e6, 1),
    )
    return _with_input_stage(card, tensors)


def _with_input_stage(card: Card, tensors: Mapping[str, Tensor]) -> Weights:
    """Weights whose input stage is their own, or follows from the card."""
    if all(name in tensors for name in _INPUT_STAGE):
        shift, scale = (tensors[name].float().numpy() for name in _INPUT_STAGE)
        tensors = {
            n.removeprefix(_BACKBONE): t for n, t in tensors.items() if n.startswith(_BACKBONE)
        }
        return Weights(card, tensors, shift, scale)
    return Weights(card, tensors, *input_stage(card.normalisation))


def input_stage(norm: Normalisation | None) -> tuple[Floats, Floats]:
    """(shift, scale) in grey levels 0 to 255; without a normalisation pixels go from 0 to 1."""
    mean = np.array(norm.mean if norm else (0.0,), dtype=np.float64)
    deviation = np.array(norm.deviation if norm else (1.0,), dtype=np.float64)
    return (255 * mean).astype(np.float32), (1 / (255 * deviation)).astype(np.float32)
