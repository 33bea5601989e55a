"""Average precision beside pycocotools, beside VOC's own rule, and by hand."""

import contextlib
import io

import numpy as np
import pytest

from striate.core.boxes import Found, areas, overlaps, suppressed
from striate.metrics.detection import (
    Rows,
    Truth,
    area_under,
    coco_scores,
    coco_table,
    curve_of,
    eleven_points,
    matched,
)
from striate.metrics.detection_errors import costs, judged
from striate.metrics.detection_intervals import intervals_of, resampled
from striate.metrics.intervals import drawn_again

NAMES = [
    "average_precision", "average_precision_50", "average_precision_75",
    "average_precision_small", "average_precision_medium", "average_precision_large",
    "average_recall_1", "average_recall_10", "average_recall_100",
    "average_recall_small", "average_recall_medium", "average_recall_large",
]  # fmt: skip


def invented(rng, images, classes, *, coarse):
    """Objects and detections of images: detections near objects, twice, elsewhere, of equal scores,
    of more than a hundred in an image; crowds; images and classes without any."""
    cases = []
    for _ in range(images):
        count = int(rng.integers(0, 7))
        corners, sides = rng.uniform(0, 200, (count, 2)), rng.uniform(1, 160, (count, 2))
        places = np.concatenate([corners, corners + sides], axis=1)
        numbers = rng.integers(0, classes, count)
        crowd = rng.random(count) < 0.15
        near = places[rng.integers(0, count, rng.integers(0, 12))] if count else places
        near = near + rng.normal(0, rng.choice([0, 2, 15]), near.shape)
        free = rng.uniform(0, 200, (int(rng.integers(0, 5)), 2))
        found = np.concatenate([near, np.concatenate([free, free + 30], axis=1)])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2])
        if rng.random() < 0.05:
            found = np.tile(found, (40, 1))
        if coarse:
            places, found = np.round(places / 20) * 20, np.round(found / 20) * 20
        scores = rng.random(len(found))
        scores = np.round(scores, 1) if rng.random() < 0.5 else scores
        labels = rng.integers(0, classes, len(found))
        cases.append((Truth(places, numbers, np.zeros(count, bool), crowd),
                      Found(found, labels, scores)))  # fmt: skip
    return cases


def by_coco(cases, classes):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    data = {"images": [{"id": i + 1} for i in range(len(cases))], "annotations": [],
            "categories": [{"id": c + 1, "name": str(c)} for c in range(classes)],
            "info": {}}  # fmt: skip
    results = []
    for i, (truth, found) in enumerate(cases):
        for place, number, crowd in zip(truth.places, truth.numbers, truth.crowd, strict=True):
            box = [*place[:2], *(place[2:] - place[:2])]
            data["annotations"].append({
                "id": len(data["annotations"]) + 1, "image_id": i + 1, "bbox": box,
                "category_id": int(number) + 1, "area": box[2] * box[3], "iscrowd": int(crowd),
            })  # fmt: skip
        for place, number, score in zip(*found, strict=True):
            results.append({"image_id": i + 1, "category_id": int(number) + 1, "score": score,
                            "bbox": [*place[:2], *(place[2:] - place[:2])]})  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = data
        truth.createIndex()
        scored = COCOeval(truth, truth.loadRes(results) if results else COCO(), "bbox")
        if not results:
            return None
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return scored.stats


def ours(cases, classes):
    return coco_scores(coco_table(rows_of(cases), classes))


def rows_of(cases, **how):
    return Rows.joined([matched(i, f, t, **how) for i, (t, f) in enumerate(cases)])


@pytest.mark.parametrize("seed", range(500))
def test_equal_to_pycocotools(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 5))
    cases = invented(rng, int(rng.integers(1, 12)), classes, coarse=seed % 2 == 1)
    if not any(len(found.scores) for _, found in cases):
        pytest.skip("pycocotools refuses no detections at all")
    wanted = by_coco(cases, classes)
    found = ours(cases, classes)
    for name, value in zip(NAMES, wanted, strict=True):
        if value == -1:
            assert np.isnan(found[name]), name
        else:
            assert found[name] == pytest.approx(value, abs=1e-6), name


def test_parts_join_to_the_whole():
    cases = invented(np.random.default_rng(0), 9, 3, coarse=False)
    whole = rows_of(cases)
    parts = [Rows.joined([matched(i, cases[i][1], cases[i][0]) for i in some])
             for some in ([0, 1, 2], [3], [4, 5, 6, 7, 8])]  # fmt: skip
    assert coco_scores(coco_table(Rows.joined(parts), 3)) == pytest.approx(
        coco_scores(coco_table(whole, 3)), nan_ok=True
    )


def one(places, scores, truth, ignored=()):
    count = len(truth)
    aside = np.array([i in ignored for i in range(count)], dtype=bool)
    boxes, found = (np.array(some, float).reshape(-1, 4) for some in (truth, places))
    return (
        Truth(boxes, np.zeros(count, int), aside, np.zeros(count, bool)),
        Found(found, np.zeros(len(found), int), np.array(scores, float)),
    )


def test_the_lecture_s_count():
    """E1: TP = 1, FP = 2, FN = 1: precision 1/3, recall 1/2."""
    case = one([[0, 0, 10, 10], [50, 50, 60, 60], [80, 0, 90, 10]], [0.9, 0.8, 0.7],
               [[0, 0, 10, 10], [20, 20, 30, 30]])  # fmt: skip
    curve = curve_of(rows_of([case]), 0)
    assert curve.precision[-1] == pytest.approx(1 / 3)
    assert curve.recall[-1] == 0.5
    assert area_under(curve) == 0.5
    assert eleven_points(curve) == pytest.approx(6 / 11)


def test_difficult_objects_count_neither_way():
    case = one([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.8],
               [[0, 0, 10, 10], [20, 20, 30, 30]], ignored=(1,))  # fmt: skip
    for voc in (False, True):
        curve = curve_of(rows_of([case], voc=voc), 0)
        assert (curve.positives, len(curve.score)) == (1, 1)
        assert area_under(curve) == 1.0


def test_voc_asks_only_for_the_nearest():
    """Two detections of one object, the second nearer to it than to a free one: COCO gives it the
    free one, VOC calls it wrong."""
    truth = [[0, 0, 10, 10], [3, 0, 13, 10]]
    case = one([[0, 0, 10, 10], [1, 0, 11, 10]], [0.9, 0.8], truth)
    assert area_under(curve_of(rows_of([case]), 0)) == 1.0
    assert area_under(curve_of(rows_of([case], voc=True), 0)) == 0.5


def test_nothing_to_find_and_nothing_found():
    nothing = one([], [], [])
    assert np.isnan(ours([nothing], 1)["average_precision"])
    assert ours([one([], [], [[0, 0, 9, 9]])], 1)["average_precision"] == 0
    assert np.isnan(ours([one([[0, 0, 9, 9]], [0.5], [])], 1)["average_precision"])


def test_overlaps_and_suppression_beside_torchvision():
    import torch
    from torchvision.ops import box_iou, nms

    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 50, (80, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (80, 2))], axis=1)
    scores = rng.random(80)
    np.testing.assert_allclose(
        overlaps(boxes, boxes),
        box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)),
        atol=1e-12,
    )
    for most in (0.1, 0.5, 0.9):
        wanted = nms(torch.from_numpy(boxes), torch.from_numpy(scores), most)
        np.testing.assert_array_equal(suppressed(boxes, scores, most), wanted)
    assert areas(np.array([5.0, 5, 3, 9])) == 0


def test_errors_by_kind_by_hand():
    """One of each: hit, class, place, both, duplicate, background, missed."""
    truth = Truth(
        np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10],
                  [80, 0, 90, 10.0]]),
        np.array([0, 0, 0, 0, 0]), np.zeros(5, bool), np.zeros(5, bool),
    )  # fmt: skip
    found = Found(
        np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [43, 3, 53, 13],
                  [64, 0, 74, 14], [200, 200, 210, 210.0]]),
        np.array([0, 0, 1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),
    )  # fmt: skip
    one = judged(found, truth)
    assert one.kinds == ["hit", "duplicate", "class", "place", "both", "background"]
    np.testing.assert_array_equal(one.met, [True, True, True, False, False])
    found_costs = {c.kind: c for c in costs([(found, truth)], 2)}
    assert {k: c.count for k, c in found_costs.items()} == {
        "class": 1, "place": 1, "both": 1, "duplicate": 1, "background": 1, "missed": 2,
    }  # fmt: skip
    assert found_costs["class"].cost > found_costs["background"].cost
    assert all(c.cost >= 0 for c in found_costs.values())


def test_without_errors_nothing_can_be_gained():
    truth = Truth(np.array([[0, 0, 10, 10.0]]), np.array([0]), np.zeros(1, bool), np.zeros(1, bool))
    found = Found(truth.places, truth.numbers, np.array([0.9]))
    assert all(c.count == 0 and c.cost == 0 for c in costs([(found, truth)], 1))


def test_resamples_are_the_scores_of_images_drawn_again():
    """Weights that take images twice or not at all give what a set with copies of them gives."""
    rng = np.random.default_rng(3)
    images = [an_image(rng) for _ in range(12)]
    rows = Rows.joined([matched(i, *image) for i, image in enumerate(images)])
    weights = drawn_again(12, 6)
    found = resampled(rows, 3, weights)
    for b, row in enumerate(weights.astype(int)):
        chosen = [images[i] for i in np.repeat(np.arange(12), row)]
        copies = Rows.joined([matched(i, *image) for i, image in enumerate(chosen)])
        wanted = [area_under(curve_of(copies, c)) for c in range(3)]
        known = [w for w in wanted if np.isfinite(w)]
        assert found.scores["average_precision_50"][b] == pytest.approx(np.mean(known), abs=1e-9)
        recall = coco_scores(coco_table(copies, 3))["average_recall_100"]
        assert found.scores["average_recall_100"][b] == pytest.approx(recall, abs=1e-9)


def test_intervals_hold_the_score_and_shrink_with_images():
    rng = np.random.default_rng(4)
    widths = []
    for count in (10, 80):
        images = [an_image(rng) for _ in range(count)]
        rows = Rows.joined([matched(i, *image) for i, image in enumerate(images)])
        scores = coco_scores(coco_table(rows, 3))
        named, each = intervals_of(rows, count, scores, [0.5, 0.5, 0.5])
        low, high = named["average_precision"]
        assert 0 <= low <= scores["average_precision"] <= high <= 1
        widths.append(high - low)
        assert len(each) == 3
    assert widths[1] < widths[0]
    none, classes = intervals_of(rows, 3, scores, [0.5])
    assert none == {}
    assert np.isnan(classes[0]).all()


def an_image(rng):
    """Objects of three classes, and detections around most of them."""
    count = rng.integers(1, 6)
    corner = rng.random((count, 2)) * 80
    places = np.concatenate([corner, corner + 8 + rng.random((count, 2)) * 40], axis=1)
    numbers = rng.integers(0, 3, count)
    near = places + rng.normal(0, 3, places.shape)
    extra = np.concatenate([near, places + 100])
    scores = rng.random(2 * count)  # no two are equal
    blank = np.zeros(count, bool)
    called = np.concatenate([np.where(rng.random(count) < 0.8, numbers, 0), numbers])
    return Found(extra, called, scores), Truth(places, numbers, blank, blank)
