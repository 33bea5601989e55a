"""What made a box, and which cells, anchors or regions answer for an object (M5, E3)."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.core.runtime import Runtime
from striate.data.boxes import Boxes
from striate.data.loader import spread
from striate.explain.explanation import Answering, Explanation, MadeBox, Picture
from striate.explain.inspection import Inspection
from striate.models.detectors.coding import overlaps
from striate.models.detectors.detector import detector_in
from striate.models.hooks import evaluating, kept_output
from striate.tasks.detect.task import objects_of

_SHOWN, _EACH, _MAPS = 6, 2, 3
"""Images that are shown, boxes of each, images whose maps are shown."""
_CPU = Runtime(torch.device("cpu"), "float32")
_SURE = 0.3
"""The score from which on a further box of an image is shown."""
_SAME = 0.5
"""The overlap from which on a candidate is one of those that a box was made of."""


def maps(inspection: Inspection, found: Explanation) -> None:
    """The strongest channels of the layers, for some images."""
    for i in some(inspection)[:_MAPS]:
        pixels = inspection.sample.images([i])
        picture = _picture(inspection, i, pixels[0])
        found.maps.append((picture, inspection.strongest_maps(pixels[0])))


def made(inspection: Inspection, found: Explanation) -> None:
    """The surest boxes of some images, and which places speak for each."""
    for i in some(inspection):
        pixels = inspection.sample.images([i])
        image = torch.from_numpy(pixels).float()
        with torch.inference_mode():
            said = detector_in(inspection.net).read(inspection.net(image))[0]
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
    for i in some(inspection):
        own = inspection.sample.placed([i])
        assert isinstance(own, Boxes)
        sure = own.where(own.sure)
        pixels = inspection.sample.images([i])
        with torch.inference_mode():
            outputs = inspection.net(torch.from_numpy(pixels))
            objects_here = objects_of(sure, _CPU)
            boxes, which = detector_in(inspection.net).answering(outputs, 0, objects_here)
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
    detector = detector_in(net)
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


def some(inspection: Inspection) -> list[int]:
    """Images from all over the sample; with objects, where some have any."""
    targets = inspection.sample.targets
    having = np.arange(len(inspection.sample))
    if isinstance(targets, Boxes) and targets.sure.any():
        having = np.unique(targets.images[targets.sure])
    return [int(i) for i in having[spread(len(having), min(_SHOWN, len(having)))]]


def _picture(inspection: Inspection, index: int, pixels: NDArray[np.uint8]) -> Picture:
    return Picture(inspection.sample.names[index], pixels, "", "", 0.0)
