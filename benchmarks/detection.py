"""Detection: the default detector's average precision and wall time, the rungs, the scorer.

    python benchmarks/detection.py sets [NAME ...]    two real sets, seeds 0 to 2 (half an hour)
    python benchmarks/detection.py rungs [NAME ...]   the ladder on kangaroos (half an hour)
    python benchmarks/detection.py torchvision        its Faster R-CNN from the same weights, for
                                                      the same minutes
    python benchmarks/detection.py metrics            what four rules say of the same boxes
    python benchmarks/detection.py scorer             beside faster-coco-eval: 5,000 images, 80
                                                      classes

Data from STRIATE_DATA (default ../shared/data); each training is a process of its own.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, machine, verb

import striate

SETS = {
    # name: (source, wanted AP50, wanted AP, seconds)
    "kangaroo": ("kangaroo-voc.zip", 0.87, 0.45, 300),
    "bccd": ("bccd-voc.zip", 0.89, 0.57, 360),
}
SEEDS = (0, 1, 2)
RUNG_MINUTES = 4
"""Of training, for each rung that learns."""


def sets(names: list[str]) -> int:
    """Mean average precision and slowest wall time over the seeds, with defaults."""
    print("| data | test AP50, seeds 0–2 | mean | wanted | test AP | mean | wanted | slowest, s "
          "| limit |\n|---|---|---|---|---|---|---|---|---|", flush=True)  # fmt: skip
    missed = 0
    for name in names or SETS:
        source, half, whole, limit = SETS[name]
        found = [_trained(source, seed) for seed in SEEDS]
        halves, wholes, walls = zip(*found, strict=True)
        missed += statistics.mean(halves) < half or statistics.mean(wholes) < whole
        missed += max(walls) > limit
        print(f"| {name} | {_each(halves)} | {half} | {_each(wholes)} | {whole} | {max(walls):.0f} "
              f"| {limit} |", flush=True)  # fmt: skip
    return missed


def _trained(source: str, seed: int, *knobs: object) -> tuple[float, float, float]:
    """(AP50, AP, wall seconds) on the test images."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        said, wall, _ = verb("train", DATA / source, "--run", run, "--seed", seed, *knobs)
    test = said["test"]
    return test["average_precision_50"], test["average_precision"], wall


def _each(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3f}" for value in values) + f" | {statistics.mean(values):.3f}"


def rungs(names: list[str]) -> int:
    """The ladder on kangaroos: AP50 and seconds an image of each rung, and whether each is faster
    than the one before."""
    flags = [part for name in names for part in ("--rungs", name)]
    with tempfile.TemporaryDirectory() as folder:
        said, _, _ = verb("ladder", DATA / SETS["kangaroo"][0], "--out", folder, "--minutes",
                          RUNG_MINUTES, *flags)  # fmt: skip
    print("| rung | test AP50 | 95 % | test AP | seconds an image | of which | prepared, s |\n"
          "|---|---|---|---|---|---|---|", flush=True)  # fmt: skip
    for rung in said["rungs"]:
        times = dict(rung["seconds_an_image"])
        total = times.pop("total")
        parts = ", ".join(f"{name} {took:.2g}" for name, took in times.items())
        low, high = rung["intervals"]["average_precision_50"]
        print(f"| `{rung['rung']}` | {rung['average_precision_50']:.3f} | {low:.2f}–{high:.2f} "
              f"| {rung['average_precision']:.3f} | {total:.3g} | {parts} "
              f"| {rung['training_seconds']:.0f} |", flush=True)  # fmt: skip
        for note in rung["notes"]:
            print(f"<!-- {rung['rung']}: {note} -->", flush=True)
    by = {r["rung"]: r["seconds_an_image"]["total"] for r in said["rungs"]}
    if "rcnn" in by:
        print(f"\nthe last rung is {by['rcnn'] / by['one_stage']:.0f} times as fast as rcnn")
    return 0


def metrics(_: list[str]) -> int:
    """One run's boxes by COCO's rule, VOC's two, and the mean of single images' scores."""
    from striate.metrics.detection import Rows, coco_scores, coco_table, matched
    from striate.tasks.detect.evaluation import pairs_of

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        verb("train", DATA / SETS["kangaroo"][0], "--run", run)
        found = striate.Run(run).evaluate(split="test")
    each = []
    for said, truth in pairs_of(found.predictions, found.truth):
        one = coco_scores(coco_table(Rows.joined([matched(0, said, truth)]), 1))
        each.append(one["average_precision_50"])
    rows = {
        "COCO, overlap 0.5": found["average_precision_50"],
        "VOC 2010": found["voc_average_precision"],
        "VOC 2007, 11 points": found["voc07_average_precision"],
        "mean of single images, overlap 0.5": float(np.nanmean(each)),
        "COCO": found["average_precision"],
    }
    print("| rule | average precision |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value:.3f} |", flush=True)
    return 0


def scorer(_: list[str]) -> int:
    """Seconds to score 5,000 images of 80 classes, in turn, the best of three."""
    import contextlib
    import io

    from faster_coco_eval import COCO, COCOeval_faster

    from striate.core.boxes import Found
    from striate.metrics.detection import (
        Rows,
        Truth,
        coco_scores,
        coco_table,
        matched,
    )

    images, classes = 5000, 80
    rng = np.random.default_rng(0)
    pairs = []
    for _image in range(images):
        count = int(rng.integers(1, 15))
        corner = rng.random((count, 2)) * 500
        places = np.concatenate([corner, corner + 5 + rng.random((count, 2)) * 120], axis=1)
        numbers = rng.integers(0, classes, count)
        extra = int(rng.integers(5, 80))
        rows = rng.integers(0, count, extra)
        near = places[rows] + rng.normal(0, 8, (extra, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        blank = np.zeros(count, bool)
        pairs.append((Found(near, numbers[rows], rng.random(extra)),
                      Truth(places, numbers, blank, blank)))  # fmt: skip
    truth, found = _as_coco(pairs, classes)

    def ours() -> dict[str, float]:
        rows = Rows.joined([matched(i, *pair) for i, pair in enumerate(pairs)])
        return coco_scores(coco_table(rows, classes))

    def theirs() -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(truth)
            judge = COCOeval_faster(coco, coco.loadRes(found), "bbox")
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        return float(judge.stats[0])

    best: dict[str, float] = {}
    for _turn in range(3):
        for name, work in (("ours", ours), ("faster-coco-eval", theirs)):
            began = time.perf_counter()
            value = work()
            took = time.perf_counter() - began
            best[name] = min(best.get(name, took), took)
            said = value["average_precision"] if isinstance(value, dict) else value
            print(f"{name}: AP {said:.6f} in {took:.2f} s", flush=True)
    ratio = best["ours"] / best["faster-coco-eval"]
    print(f"{ratio:.2f} times faster-coco-eval's time")
    return int(ratio > 1.3)


def _as_coco(pairs: list[Any], classes: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    annotations, found = [], []
    for image, (said, truth) in enumerate(pairs, 1):
        for place, number in zip(truth.places, truth.numbers, strict=True):
            box = [*place[:2], *(place[2:] - place[:2])]
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": int(number) + 1,
                "bbox": [float(v) for v in box], "area": float(box[2] * box[3]), "iscrowd": 0,
            })  # fmt: skip
        for place, number, score in zip(*said, strict=True):
            box = [*place[:2], *(place[2:] - place[:2])]
            found.append({
                "image_id": image, "category_id": int(number) + 1,
                "bbox": [float(v) for v in box], "score": float(score),
            })  # fmt: skip
    return {
        "images": [{"id": i + 1, "file_name": f"{i}.jpg"} for i in range(len(pairs))],
        "categories": [{"id": c + 1, "name": str(c)} for c in range(classes)],
        "annotations": annotations, "info": {}, "licenses": [],
    }, found  # fmt: skip


def main(argv: list[str]) -> int:
    parts = {"sets": sets, "rungs": rungs, "metrics": metrics, "scorer": scorer,
             "torchvision": with_torchvision}  # fmt: skip
    if not argv or argv[0] not in parts:
        print(__doc__)
        return 2
    print(machine() + "\n", flush=True)
    return parts[argv[0]](argv[1:])


def with_torchvision(_: list[str]) -> int:
    """torchvision's Faster R-CNN on the same weights, by its reference recipe, for the minutes that
    ours takes; then ours."""
    from detection_peers import train

    print("| what | test AP50 | test AP | wall s |\n|---|---|---|---|", flush=True)
    half, ours, wall = _trained(SETS["kangaroo"][0], 0)
    print(f"| ours | {half:.3f} | {ours:.3f} | {wall:.0f} |", flush=True)
    half, whole, took = train(DATA / SETS["kangaroo"][0], wall)
    print(f"| torchvision | {half:.3f} | {whole:.3f} | {took:.0f} |", flush=True)
    return int(whole > ours)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
