"""What made a box, and which cells, anchors or regions answer for an object (M5, E3)."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.boxes import Found
from striate.data.boxes import Boxes
from striate.explain.explanation import Answering, Explanation, MadeBox, Maps, Picture
from striate.explain.inspection import Inspection
from striate.models.detectors.coding import overlaps
from striate.models.detectors.detector import Detector, Objects, best_of
from striate.models.hooks import evaluating, kept_output, maps_of

_SHOWN, _EACH, _MAPS, _CHANNELS = 6, 2, 3, 16
"""Images that are shown, boxes of each, images whose maps are shown, channels of a layer."""
_SURE = 0.3
"""The score from which on a further box of an image is shown."""
_SAME = 0.5
"""The overlap from which on a candidate is one of those that a box was made of."""


def maps(inspection: Inspection, found: Explanation) -> None:
    """The strongest channels of the layers, for some images."""
    for i in spread(inspection)[:_MAPS]:
        pixels = inspection.sample.images([i])
        picture, each = _picture(inspection, i, pixels[0]), []
        for layer in inspection.layers:
            with torch.inference_mode():
                module = inspection.module(layer)
                given = maps_of(inspection.net, torch.from_numpy(pixels), module)[0]
            values = given.float().numpy()
            best = np.argsort(-values.max(axis=(1, 2)), kind="stable")[:_CHANNELS]
            each.append(Maps(layer.name, tuple(map(int, np.sort(best))), values[np.sort(best)]))
        found.maps.append((picture, each))


def made(inspection: Inspection, found: Explanation) -> None:
    """The surest boxes of some images, and which places speak for each."""
    for i in spread(inspection):
        pixels = inspection.sample.images([i])
        image = torch.from_numpy(pixels).float()
        said = _found(inspection, image)
        for rank, (place, number, score) in enumerate(zip(*said, strict=True)):
            if rank == _EACH or (rank and score < _SURE):
                break
            text = f"{inspection.classes[int(number)]} {score:.2f}"
            speaking = speaking_for(inspection.net, image, place, int(number))
            box = (float(place[0]), float(place[1]), float(place[2]), float(place[3]))
            picture = _picture(inspection, i, pixels[0])
            found.boxes.append(MadeBox(picture, box, text, speaking))
    if not found.boxes:
        found.notes.append("boxes: the network names no object in these images")


def answering(inspection: Inspection, found: Explanation) -> None:
    """What answers for each object of some images, as training assigns it."""
    targets = inspection.sample.targets
    assert isinstance(targets, Boxes)
    without = objects = 0
    for i in spread(inspection):
        own = inspection.sample.placed([i])
        assert isinstance(own, Boxes)
        sure = own.where(own.sure)
        pixels = inspection.sample.images([i])
        with torch.inference_mode():
            outputs = inspection.net(torch.from_numpy(pixels))
            boxes, which = detector_of(inspection.net).answering(outputs, 0, _objects(sure))
        names = tuple(inspection.classes[number] for number in sure.numbers.tolist())
        shown = Answering(
            _picture(inspection, i, pixels[0]), sure.places, names, boxes.numpy(), which.numpy()
        )
        counts = np.bincount(shown.which, minlength=len(names))
        objects, without = objects + len(names), without + int((counts == 0).sum())
        found.answering.append(shown)
    if without:
        found.notes.append(
            f"answering: nothing answers for {without} of {objects} objects, so that training "
            "cannot learn them"
        )


def speaking_for(
    net: nn.Module, image: Tensor, place: NDArray[np.float64], number: int
) -> dict[str, NDArray[np.floating]]:
    """What speaks for a box of a class, image float (1, S, S, C): for each of the body's maps the
    rectified sum over channels of map · gradient, place by place, enlarged to the image (Grad-CAM
    without its mean over places, as the score of one box is local; Draelos and Carin 2020,
    arXiv:2011.08891), and the pixels' gradient: name → (S, S).

    The score is that of the surest candidate of the class around the box.
    """
    detector = detector_of(net)
    layers = {
        f"stride {stage.stride}": detector.body.get_submodule(stage.modules[-1])
        for stage in detector.own
        if stage.stride in detector.channels
    }
    x = image.detach().clone().requires_grad_()
    with evaluating(net), torch.enable_grad(), ExitStack() as hooks:
        kept = {name: hooks.enter_context(kept_output(layer)) for name, layer in layers.items()}
        boxes, scores = detector.candidates(net(x))[0]
        around = overlaps(boxes.detach(), torch.from_numpy(place[None]).float())[:, 0]
        best = torch.where(around >= _SAME, scores[:, number].detach(), -1.0).argmax()
        inputs = [x, *(found[0] for found in kept.values())]
        own, *rest = torch.autograd.grad(scores[best, number], inputs, allow_unused=True)
    slopes: list[Tensor | None] = [*rest]
    speaking = {}
    for name, values, slope in zip(kept, inputs[1:], slopes, strict=True):
        if slope is None:  # the detector does not read these maps
            continue
        local = (values.detach() * slope).sum(dim=1, keepdim=True).relu().float()
        large = nn.functional.interpolate(
            local, size=image.shape[1:3], mode="bilinear", align_corners=False
        )
        speaking[name] = large[0, 0].numpy()
    speaking["pixels"] = own[0].abs().amax(dim=2).numpy()
    return speaking


def spread(inspection: Inspection) -> list[int]:
    """Images from all over the sample; with objects, where some have any."""
    targets = inspection.sample.targets
    having = np.arange(len(inspection.sample))
    if isinstance(targets, Boxes) and targets.sure.any():
        having = np.unique(targets.images[targets.sure])
    wanted = np.linspace(0, len(having) - 1, min(_SHOWN, len(having))).round().astype(int)
    return [int(i) for i in having[wanted]]


def detector_of(net: nn.Module) -> Detector:
    """The detector behind a network's input stage."""
    found = net.get_submodule("backbone")
    assert isinstance(found, Detector)
    return found


def _found(inspection: Inspection, image: Tensor) -> Found:
    with torch.inference_mode():
        return best_of(*detector_of(inspection.net).candidates(inspection.net(image))[0])


def _picture(inspection: Inspection, index: int, pixels: NDArray[np.uint8]) -> Picture:
    return Picture(inspection.sample.names[index], pixels, "", "", 0.0)


def _objects(own: Boxes) -> Objects:
    return Objects(
        torch.from_numpy(own.places.astype(np.float32)), torch.from_numpy(own.numbers),
        torch.zeros(0, 4),
    )  # fmt: skip
