"""A start from trained weights: features as on the CPU, a real set, the same bits again."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checks import new_folder, tf32, weights_sum
from commands import verb
from report import CheckFailedError, Place, Report

import striate
from striate.core.records import Step
from striate.core.runtime import choose_precision
from striate.models.frozen import Prefix, frozen_modules
from striate.models.network import Network
from striate.models.stages import stages_of
from striate.plan.weights import Start, network_of_card, open_weights

NEAR = 1e-3
"""How far a feature on the card may be from the CPU's, as a share of the largest."""
PHOTOS = "sign-digits.zip"


def run(report: Report, place: Place, data: Path) -> None:
    """Everything that needs the weights "imagenet"; left out by name where they are not there."""
    try:
        open_weights("imagenet")
    except striate.StriateError as error:
        report.say(f"a start from weights: left out, {str(error).splitlines()[0]}")
        return
    report.check("features as on the CPU, lite0", partial(features, place), 20)
    report.check("features, images a second", partial(rate, place), 20)
    kept: dict[str, Path] = {}
    report.check("from weights, the same twice", partial(same_twice, place, kept), 30)
    report.check("from weights, resumed is bit-equal", partial(resumed, place, kept), 20)
    if not (data / PHOTOS).exists():
        report.say(f"a real set from weights: left out, {PHOTOS} is not in {data}")
        return
    report.check("from weights, hand signs", partial(hand_signs, place, data / PHOTOS), 45)
    if place.card:
        advise = ["transfer", data / PHOTOS, "--advise-only", "--minutes", "1",
                  "--device", place.device]  # fmt: skip
        report.check("striate transfer", partial(verb, report, advise), 60)


def _network(device: str) -> tuple[Network, tuple[str, ...]]:
    """Lite0 with its weights on a device, and the modules of all stages but the head."""
    weights = open_weights("imagenet")
    card = weights.card
    net = network_of_card(card)
    whole = Start(weights, weights.matched(net, (), ())).network(net, card.image_size, 3)
    parts = stages_of(net, card.channels, card.image_size)
    return whole.to(device), frozen_modules(net, parts, len(parts) - 1)


def _images(count: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.integers(0, 256, (count, 3, 14, 14)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, 224, mode="bilinear")
    return fine.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def features(place: Place) -> str:
    """What enters the head, in float32 without TF32, on both devices."""
    images, found = _images(32), []
    with tf32(False):
        for device in ("cpu", place.device):
            net, modules = _network(device)
            found.append(Prefix(net, modules, torch.float32)(images).float().cpu())
    apart = float((found[0] - found[1]).abs().max() / found[0].abs().max())
    text = f"apart by {apart:.1e} of the largest (allowed {NEAR:g})"
    if not apart <= NEAR:
        raise CheckFailedError(text)
    return text


def rate(place: Place) -> str:
    """Features a second at 224 pixels, in the precision of the device."""
    net, modules = _network(place.device)
    low = choose_precision(torch.device(place.device))[0]
    prefix = Prefix(net, modules, getattr(torch, low))
    images, best = _images(1024 if place.card else 32), 0.0
    for _ in range(4):
        place.wait()
        began = time.perf_counter()
        prefix(images)
        place.wait()
        best = max(best, len(images) / (time.perf_counter() - began))
    return f"{best:,.0f} images/s in {low}"


def _knobs(place: Place) -> dict[str, Any]:
    return {
        "model.weights": "imagenet", "batch_size": 16, "epochs": 2, "seed": 0, "workers": 2,
        "augment.flip": True, "report.write": False, "device": place.device,
        "data.image_size": 224 if place.card else 64,
    }  # fmt: skip


_SOURCE = "fake:240x3x96x96x4"


def _trained(place: Place) -> Path:
    folder = new_folder(place)
    striate.train(_SOURCE, run=folder, **_knobs(place))
    return folder


def same_twice(place: Place, kept: dict[str, Path]) -> str:
    """Two trainings that start from the weights, frozen stages and kept views as by default."""
    kept["whole"], again = _trained(place), _trained(place)
    one, two = weights_sum(kept["whole"]), weights_sum(again)
    if one != two:
        raise CheckFailedError(f"SHA-256 of the weights {one[:16]} and {two[:16]}")
    return f"SHA-256 of the weights {one[:16]} twice"


def resumed(place: Place, kept: dict[str, Path]) -> str:
    """One that is closed within its second epoch and resumed."""
    whole = kept.get("whole") or _trained(place)
    cut, at = new_folder(place), 0
    with contextlib.closing(striate.stream(_SOURCE, run=cut, **_knobs(place))) as records:  # type: ignore[type-var]
        for record in records:
            at = record.step if isinstance(record, Step) else at
            if at == 12:
                break
    striate.resume(cut)
    one, two = weights_sum(whole), weights_sum(cut)
    text = f"stopped after step {at}; SHA-256 {one[:16]} and {two[:16]}"
    if one != two:
        raise CheckFailedError(text)
    return text


def hand_signs(place: Place, source: Path) -> str:
    """A set of photographs with defaults: its score and the seconds of the whole training."""
    began, rates = time.perf_counter(), []
    folder = new_folder(place)
    quick: dict[str, Any] = {} if place.card else {"data.image_size": 64, "epochs": 1}
    for record in striate.stream(
        str(source), run=folder, device=place.device, **{"report.write": False}, **quick
    ):
        if isinstance(record, Step):
            rates.append(record.images_per_second)
    seconds, run = time.perf_counter() - began, striate.Run(folder)
    made = run.read_json("resolved.json")
    chosen = {k: made[k]["value"] for k in ("optim.backbone_rate", "model.freeze") if k in made}
    why = made["optim.backbone_rate"]["why"]
    return (f"accuracy {run.evaluate(split='test')['accuracy']:.4f}, {seconds:.0f} s in all, "
            f"median of a step {np.median(rates):,.0f} images/s; {chosen}; {why}")  # fmt: skip
