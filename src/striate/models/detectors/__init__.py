"""What detectors are made of: each operation in one small function, its formula beside it (E3).

Boxes are (left, top, right, bottom) in pixels of the network's input, as float32 tensors.
"""

DETECTORS: dict[str, str] = {
    "one_stage": "striate.models.detectors.one_stage:OneStage",
    "anchors": "striate.models.detectors.anchored:Anchored",
    "grid": "striate.models.detectors.grid:Grid",
    "fast_rcnn": "striate.models.detectors.fast_rcnn:FastRCNN",
    "faster_rcnn": "striate.models.detectors.faster_rcnn:FasterRCNN",
}
"""Every detector by name, as "module:class" (`striate.models.detectors.detector.Detector`)."""
USUAL = "one_stage"
