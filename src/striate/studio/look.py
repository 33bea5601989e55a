"""Looking inside a network while it trains, or afterwards: what the page "watch it see" shows.

A training that is watched writes its weights at most once a second (`training.glance`); the studio
computes with them in its own process, on one thread, and says how long the page should wait so that
all looking together stays a small share of a core.
"""

from __future__ import annotations

import base64
import functools
import io
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.api.runs import Run
from striate.core.errors import DataError, ModelError, RunError, perhaps
from striate.core.run import ADOPTED
from striate.core.runtime import Runtime
from striate.data.decode import UndecodableError, decode
from striate.explain.attribution import saliency
from striate.explain.patches import top_patches, window
from striate.explain.sample import Sample
from striate.models.arithmetic import fields_of
from striate.models.hooks import (
    Layer,
    evaluating,
    kept_output,
    last_features,
    layers_with_maps,
)
from striate.models.network import Network
from striate.plan.network import network_of
from striate.plan.predictor import Predictor
from striate.report.pictures import Picture, block, heat, overlaid, signed, tile, with_boxes
from striate.studio.live import Tail
from striate.studio.messages import Asked, Guess, Inside, LayerRow, Patches, Seen, Strip
from striate.tasks.classify.answer import LabelSetPrediction
from striate.tasks.detect.answer import SURE
from striate.tasks.detect.task import DetectTask
from striate.training import checkpoints
from striate.training.averages import adopt
from striate.training.glance import WEIGHTS, watch
from striate.training.state import load_weights

T = TypeVar("T")
SHOWN, CHANNELS, _SEARCHED = 24, 36, 1000
"""Validation images of the strip, channels of a layer, images that patches are looked for in."""
_SHARE, _SOONEST = 0.01, 1000
"""The part of a core that looking may take, and the fewest milliseconds between two looks."""
_KEPT = 3
_TILE = 56
_LARGEST_PICTURE = 50.0


@dataclass
class Opened:
    """A run with some of its validation images and the weights that were last read."""

    run: Run
    sample: Sample
    predictor: Predictor
    stamp: tuple[str, float] = ("", 0.0)
    step: int = 0
    layers: list[Layer] = field(default_factory=list)
    many: Sample | None = None
    seen: dict[str, Any] = field(default_factory=dict)
    born: float = 0.0

    @property
    def net(self) -> nn.Module:
        return self.predictor.net


def _one_at_a_time(look: Callable[..., T]) -> Callable[..., T]:
    @functools.wraps(look)
    def locked(self: Looker, *arguments: Any) -> T:
        with self._lock:
            return look(self, *arguments)

    return locked


class Looker:
    """Opens runs when they are first looked at and keeps the last few. One look at a time."""

    def __init__(self) -> None:
        self._opened: OrderedDict[str, Opened] = OrderedDict()
        self._lock = threading.RLock()

    @_one_at_a_time
    def strip(self, tail: Tail) -> Strip:
        """What the network says of some validation images now."""
        began, opened = time.perf_counter(), self._fresh(tail)
        sample, task = opened.sample, opened.predictor.task
        answers = opened.predictor.answers(sample.store, sample.names, 3)
        boxed = isinstance(task, DetectTask)
        images, tiles = [], []
        pixels = sample.images(range(len(sample)))
        for i, answer in enumerate(answers):
            truth = self._truth(opened, i)
            guesses = _guesses(answer)
            images.append(Seen(i, sample.names[i], truth, guesses, _named(answer) == {*truth}))
            shown = tile(pixels[i], _TILE)
            tiles.append(_boxed(shown, answer, pixels[i].shape, sample, i) if boxed else shown)
        return Strip(
            id=tail.id, weights=opened.stamp[0], step=opened.step, images=images,
            tiles=uri(block(tiles, len(tiles), 0)), side=_TILE, wait=_wait(began),
        )  # fmt: skip

    @_one_at_a_time
    def inside(self, tail: Tail, image: int, layer: str) -> Inside:
        """One image of the strip in one layer. Raises ModelError for a layer that there is not."""
        began, opened = time.perf_counter(), self._fresh(tail)
        if not 0 <= image < len(opened.sample):
            raise DataError("there is no such image in the strip")
        pixels = opened.sample.images([image])
        chosen = self._layer(opened, layer)
        maps, slopes, answer = _maps(opened, torch.from_numpy(pixels), chosen)
        shown = np.sort(np.argsort(-maps.max(axis=(1, 2)), kind="stable")[:CHANNELS])
        return Inside(
            layer=chosen.name,
            layers=[LayerRow(x.name, x.channels, x.height, x.width) for x in opened.layers],
            shown=[int(c) for c in shown],
            side=_TILE,
            filters=_filters(opened.net),
            maps=_tiles([heat(maps[c]) for c in shown]),
            gradients=_tiles([signed(slopes[c][..., None]) for c in shown]),
            saliency=self._saliency(opened, pixels),
            image=uri(tile(pixels[0], 4 * _TILE)),
            answer=answer,
            wait=_wait(began),
        )

    @_one_at_a_time
    def patches(self, tail: Tail, layer: str, unit: int) -> Patches:
        """The nine places in validation images that excite a unit most."""
        opened = self._fresh(tail)
        chosen = self._layer(opened, layer)
        if not 0 <= unit < chosen.channels:
            raise ModelError(f"{chosen.name} has units 0 to {chosen.channels - 1}")
        if opened.many is None:
            opened.many = opened.run.sample(split="val", images=_SEARCHED)
        key = f"{chosen.name} {opened.stamp}"
        if key not in opened.seen:
            module = opened.net.get_submodule(chosen.name)
            opened.seen = {key: top_patches(opened.net, opened.many.batches(), module, 9)}
        found, sample = opened.seen[key], opened.many
        images = found.images[unit].tolist()
        pixels = sample.images(images)
        places = found.places[unit].tolist()
        size, stride, padding = _field(opened, chosen)
        parts = []
        for picture, place in zip(pixels, places, strict=True):
            sides = (picture.shape[0], picture.shape[1])
            rows, columns = window((place[0], place[1]), size, stride, padding, sides)
            parts.append(tile(picture[rows, columns], _TILE))
        return Patches(
            chosen.name, unit, uri(block(parts, 9, 2)), _TILE,
            [sample.names[i] for i in images],
            [float(f"{v:.4g}") for v in found.values[unit].tolist()],
        )  # fmt: skip

    @_one_at_a_time
    def ask(self, tail: Tail, picture: bytes) -> Asked:
        """What the network says of a picture in a file's bytes. Raises DataError for what is not
        an image."""
        opened = self._fresh(tail)
        try:
            pixels = decode(picture, _LARGEST_PICTURE)
        except UndecodableError as error:
            raise DataError(f"this is no image that can be read: {error}") from None
        sample = opened.run.pictures([pixels])
        answer = opened.predictor.answers(sample.store, sample.names, 5)[0]
        seen = sample.images([0])
        large = tile(seen[0], 4 * _TILE)
        boxes = [[*map(float, o["box"])] for o in getattr(answer, "objects", ())]
        shown = _boxed(large, answer, seen[0].shape, sample, 0) if boxes else large
        return Asked(_guesses(answer), self._saliency(opened, seen), uri(shown), boxes)

    @_one_at_a_time
    def features(self, tail: Tail, sample: Sample) -> tuple[Any, NDArray[np.float32]]:
        """What the network's last layer gets of images, and of which weights that is."""
        opened = self._fresh(tail)
        return opened.stamp, last_features(opened.net, sample.batches())

    @_one_at_a_time
    def opened(self, tail: Tail) -> Opened:
        """The run with its weights, for the page of its data."""
        return self._fresh(tail)

    def _fresh(self, tail: Tail) -> Opened:
        """Opened, with the newest weights. Raises RunError where there are none yet."""
        known, born = self._opened.get(tail.id), born_of(tail.path)
        opened = known if known and known.born == born else self._open(tail)
        opened.born = born
        self._opened[tail.id] = opened
        self._opened.move_to_end(tail.id)
        while len(self._opened) > _KEPT:
            self._opened.popitem(last=False)
        if tail.running:
            watch(tail.path)
        self._load(opened, tail)
        return opened

    def _open(self, tail: Tail) -> Opened:
        run = Run(tail.path)
        net = network_of(run.settled, run.task, len(run.classes), None).eval()
        sample = run.sample(split="val", images=SHOWN)
        runtime = Runtime(torch.device("cpu"), "float32")
        predictor = Predictor(net, run.task, run.classes, run.size, runtime)
        return Opened(run, sample, predictor)

    def _load(self, opened: Opened, tail: Tail) -> None:
        live = tail.path / WEIGHTS
        if tail.running and live.is_file():
            stamp = ("live", live.stat().st_mtime)
            if stamp != opened.stamp:
                load_weights(opened.net, checkpoints.read_tensors(live))
                opened.predictor = replace(opened.predictor, views="single", temperature=1.0)
                opened.stamp, opened.step = stamp, tail.last.step if tail.last else 0
        else:
            folders = [p.stat().st_mtime for p in (tail.path / "checkpoints").glob("step-*")]
            if not folders and opened.stamp[0] != "live":
                raise RunError(
                    "this training has no weights to look at yet",
                    "A training that is watched writes them after its first second.",
                )
            stamp = ("best", max(folders, default=opened.stamp[1]))
            if folders and stamp != opened.stamp:
                found, _ = checkpoints.best(tail.path / "checkpoints")
                if found is None:
                    raise RunError("no checkpoint of this run is sound")
                load_weights(opened.net, found.model())
                run = opened.run
                if (run.path / ADOPTED).is_file():
                    adopt(opened.net, checkpoints.read_tensors(run.path / ADOPTED))
                opened.predictor = replace(
                    opened.predictor, views=run.settled.test_views, temperature=run.temperature
                )
                opened.stamp, opened.step = stamp, found.step
        opened.net.eval()
        if not opened.layers:
            image = torch.from_numpy(opened.sample.images([0]))
            opened.layers = layers_with_maps(opened.net, image)

    def _layer(self, opened: Opened, name: str) -> Layer:
        if not opened.layers:
            raise ModelError("this network has no layer with maps")
        if not name:
            return opened.layers[0]
        for layer in opened.layers:
            if layer.name == name:
                return layer
        raise ModelError(f"no layer '{name}'", perhaps(name, [x.name for x in opened.layers]))

    def _truth(self, opened: Opened, image: int) -> list[str]:
        targets, classes = opened.sample.targets, opened.run.classes
        return [] if targets is None else [classes[n] for n in targets.of(image)]

    def _saliency(self, opened: Opened, pixels: NDArray[np.uint8]) -> str:
        """Which pixels the answer hangs on; "" for tasks whose output is no list of classes."""
        if isinstance(opened.predictor.task, DetectTask):
            return ""
        x = torch.from_numpy(pixels)
        with torch.no_grad():
            best = opened.net(x.float()).argmax(dim=1)
        found = saliency(opened.net, x, best)[0].numpy()
        return uri(tile(overlaid(pixels[0], found), 4 * _TILE))


def born_of(run: Path) -> float:
    """When a run began: another one in the same folder is another run."""
    try:
        return (run / "environment.json").stat().st_mtime
    except OSError:
        return 0.0


def uri(picture: Picture) -> str:
    """A picture as a data URI."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _wait(began: float) -> int:
    return max(_SOONEST, round(1000 * (time.perf_counter() - began) / _SHARE))


def _guesses(answer: Any) -> list[Guess]:
    """The first answers of a classification, or the objects of a detection."""
    if hasattr(answer, "objects"):
        sure = [o for o in answer.objects if o["score"] >= SURE]
        return [Guess(str(o["class"]), float(o["score"])) for o in sure[:5]]
    return [Guess(name, float(p)) for name, p in answer.top]


def _named(answer: Any) -> set[str]:
    """The classes that an answer names: all that it is sure of, or the one that is likeliest."""
    if hasattr(answer, "objects"):
        return {str(o["class"]) for o in answer.objects if o["score"] >= SURE}
    return {*answer.labels} if isinstance(answer, LabelSetPrediction) else {answer.label}


def _boxed(
    picture: Picture, answer: Any, shape: tuple[int, ...], sample: Sample, image: int
) -> Picture:
    """A tile with the boxes that were found; they are in pixels of the stored image."""
    from striate.data.loader import to_centre

    matrix = np.linalg.inv(_square(to_centre(sample.store, np.array([image]), sample.size)[0]))
    scale = picture.width / shape[1]
    found = []
    for o in answer.objects:
        left, top, right, bottom = o["box"]
        corners = np.array([[left, top, 1.0], [right, bottom, 1.0]]) @ np.linalg.inv(matrix).T
        found.append((tuple((corners[:, :2] * scale).ravel().tolist()), "", "hit"))
    return with_boxes(picture, found)  # type: ignore[arg-type]


def _square(matrix: NDArray[Any]) -> NDArray[Any]:
    whole = np.eye(3)
    whole[: matrix.shape[0], : matrix.shape[1]] = matrix
    return whole


def _maps(opened: Opened, x: Tensor, layer: Layer) -> tuple[NDArray[Any], NDArray[Any], str]:
    """A layer's maps (C, H, W), how the best answer's score changes with them, and that answer."""
    net, module = opened.net, opened.net.get_submodule(layer.name)
    with evaluating(net), torch.enable_grad(), kept_output(module) as kept:
        out = net(x.float().requires_grad_())
        first = out if isinstance(out, Tensor) else _first(out)
        flat = first.flatten(1)
        best = int(flat[0].argmax())
        (slopes,) = torch.autograd.grad(flat[0, best], kept[0], allow_unused=True)
    maps = kept[0][0].detach().float().numpy()
    gradient = np.zeros_like(maps) if slopes is None else slopes[0].float().numpy()
    classes = opened.run.classes
    plain = isinstance(out, Tensor) and len(out.shape) == 2 and best < len(classes)
    return maps, gradient, classes[best] if plain else ""


def _first(out: Any) -> Tensor:
    """The first tensor of an output of several."""
    if isinstance(out, Tensor):
        return out
    values = out.values() if isinstance(out, dict) else vars(out).values() if hasattr(
        out, "__dict__") else out  # fmt: skip
    return _first(next(iter(values)))


def _filters(net: nn.Module) -> str:
    """The weights of the first convolution as pictures: of three inputs in their colours."""
    first = next((m for m in net.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        return ""
    weights = first.weight.detach().float().numpy()[:64].transpose(0, 2, 3, 1)
    if weights.shape[3] not in (1, 3):
        weights = weights.mean(axis=3, keepdims=True)
    return _tiles([signed(w) for w in weights])


def _tiles(parts: Sequence[NDArray[np.uint8]]) -> str:
    return uri(block([tile(p, _TILE) for p in parts], 6, 4)) if parts else ""


def _field(opened: Opened, layer: Layer) -> tuple[tuple[int, int], ...]:
    """What a unit of a layer sees: size, stride, padding; the whole image where that is not
    known."""
    whole, net = opened.run.size, opened.net
    found = None
    if isinstance(net, Network):
        short = layer.name.removeprefix("backbone.")
        channels = opened.sample.images([0]).shape[3]
        found = fields_of(net.backbone, (channels, whole, whole), [short]).get(short)
    if found is None:
        return (whole, whole), (1, 1), (0, 0)
    return found.size, found.stride, found.padding
