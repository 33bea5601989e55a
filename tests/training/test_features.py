"""What a frozen part gives is kept with the targets of its own view."""

import numpy as np
import torch

from striate.core.runtime import Runtime
from striate.data.augment import About, Pipeline
from striate.data.boxes import boxes_of
from striate.data.loader import ArrayStore, epoch_plan
from striate.training.features import Features, Kept

SIDE, COUNT = 32, 20


def test_objects_of_kept_mosaics_are_where_their_pixels_are(monkeypatch):
    """Each image has one square of a grey of its own, and a frozen part that leaves pixels as they
    are: in every view the boxes of all parts hold their image's grey."""
    images = np.zeros((COUNT, SIDE, SIDE, 3), dtype=np.uint8)
    rows = []
    for i in range(COUNT):
        left, top = 2 + i % 7, 3 + i % 5
        images[i, top : top + 18, left : left + 20] = 50 + 10 * i
        place = np.array([[left, top, left + 20, top + 18]], dtype=float)
        rows.append((place, np.array([i]), np.zeros(1, np.uint8)))
    pipe = Pipeline(0, {"mosaic": 0.6, "flip": 0.5}, About(SIDE, np.zeros(3)))
    store = ArrayStore(images)
    cpu = Runtime(torch.device("cpu"), "float32")
    features = Features(("all",), 2, store, store, pipe, SIDE, cpu)
    kept = Kept(lambda pixels: pixels.permute(0, 3, 1, 2))
    monkeypatch.setattr(Features, "_of", lambda *_: kept)
    seen = joined = 0
    for epoch in range(3):
        plan = epoch_plan(COUNT, 6, 0, epoch)
        for batch in features.batches(None, boxes_of(rows), plan, epoch, 0):
            for i in range(len(batch)):
                own = batch.targets.only(i)
                assert int(batch.ids[i]) in own.numbers or len(own.numbers) > 1
                joined += len(own.numbers) > 1
                for (left, top, right, bottom), number in zip(
                    own.places.tolist(), own.numbers.tolist(), strict=True
                ):
                    if min(right - left, bottom - top) < 6:
                        continue
                    inner = batch.images[
                        i, :, round(top) + 2 : round(bottom) - 2, round(left) + 2 : round(right) - 2
                    ]
                    assert (inner == 50 + 10 * number).all()
                    seen += 1
    assert seen > 100
    assert joined > 20
    assert set(kept.views) == {0, 1}
