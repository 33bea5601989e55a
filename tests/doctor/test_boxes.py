"""Every rule of boxes fires on its sick training, and on no healthy one."""

import math

import numpy as np
import pytest

from striate.core.records import Epoch, Finished, Measured, Planned, Step, from_json, to_json
from striate.doctor.boxes import BOX_RULES
from striate.doctor.diagnosis import diagnose
from striate.doctor.history import of_records

SEEN = {
    "objects": 60.0, "said": 3.0, "score": 0.7, "near": 0.95, "placed": 0.85, "found": 0.8,
    "found_small": 0.7, "found_large": 0.9, "size": 1.0, "shift": 0.0, "shifted": 0.9,
}  # fmt: skip
NOTHING = {**SEEN, "said": 0.0, "score": 0.01, "near": 0.0, "placed": 0.0, "found": 0.0,
           "found_small": 0.0, "found_large": 0.0}  # fmt: skip


def told(scores, *, train=None, boxes=(SEEN, SEEN), terms=(0.5, 0.5), classes=(60, 60, 60)):
    """A training on boxes with these average precisions on validation images."""
    count = len(scores)
    train = scores if train is None else train
    records = [Planned(count, count * 10, 100, "net", 1000, "average_precision", batch_size=8,
                       loss="detection", class_images=classes)]  # fmt: skip
    for e, score in enumerate(scores):
        for i in range(10):
            loss = 2.0 - e / count
            parts = {"classes": terms[0] * loss, "boxes": terms[1] * loss}
            records.append(Step(e * 10 + i + 1, e, loss, 0.001, 1.0, 50.0, parts))
        records.append(Epoch(e + 1, e * 10 + 10, loss, math.nan, float(score), 1.0, False))
        seen = {"train": boxes[0], "val": boxes[1]}
        records.append(Measured(
            step=e * 10 + 10, epoch=e + 1, train_loss=math.nan, train_loss_error=0.0,
            train_score=float(train[e]), val_loss=math.nan, val_loss_error=0.0,
            val_score=float(score), train_images=100, val_images=40, contradicted=None,
            norm_gap=None, recall=(), layers={}, seconds=0.1, boxes=seen,
        ))  # fmt: skip
    return [*records, Finished("run", count, 1.0, "planned", {}, {}, {})]


RISING = np.linspace(0.05, 0.5, 8)
FLAT = np.full(8, 0.0)
HEALTHY = told(RISING)
SICK = {
    "all_background": told(FLAT, boxes=(NOTHING, NOTHING)),
    "boxes_displaced": told(FLAT, train=RISING, boxes=(SEEN, {**SEEN, "placed": 0.02, "found": 0.0,
                                                              "size": 0.05})),
    "classes_shifted": told(FLAT, train=RISING, boxes=(SEEN, {**SEEN, "shift": 1.0,
                                                              "found": 0.05})),
    "boxes_by_heart": told([0.1, 0.2, 0.25, 0.26, 0.26, 0.26, 0.25, 0.25],
                           train=np.linspace(0.1, 0.9, 8)),
    "small_objects_lost": told(RISING, boxes=(SEEN, {**SEEN, "found_small": 0.05})),
    "losses_out_of_balance": told(np.full(8, 0.03), terms=(0.995, 0.005)),
    "nothing_found": told(FLAT, boxes=({**SEEN, "placed": 0.3}, {**SEEN, "placed": 0.2,
                                                                "found": 0.1})),
}  # fmt: skip


def rules_of(records):
    return {f.rule for f in diagnose(of_records(records)).findings}


def test_a_healthy_training_has_no_finding():
    found = diagnose(of_records(HEALTHY, {"data.image_size": 320}))
    assert found.verdict == "healthy"
    assert not found.findings
    assert "overfitting" in found.not_judged  # a rule of labels


@pytest.mark.parametrize("rule", BOX_RULES)
def test_every_rule_fires_on_its_sick_training(rule):
    found = diagnose(of_records(SICK[rule], {"data.image_size": 320}))
    assert rule in {f.rule for f in found.findings}
    first = found.findings[0]
    assert first.rule == rule
    assert first.remedies
    assert first.evidence


def test_there_is_a_sick_training_for_every_rule():
    assert SICK.keys() == BOX_RULES.keys()


def test_few_objects_are_not_judged():
    few = {**NOTHING, "objects": 3.0}
    assert "all_background" not in rules_of(told(FLAT, boxes=(few, few)))


def test_a_loss_that_is_not_known_is_not_one_that_is_not_finite():
    read = [from_json(to_json(record)) for record in HEALTHY]
    assert "not_finite" not in rules_of(read)
    broken = [*read[:15], Step(99, 2, math.inf, 0.001, 1.0, 50.0)]
    assert "not_finite" in rules_of(broken)


def test_labels_have_no_rules_of_boxes():
    records = [Planned(2, 2, 10, "net", 10, "accuracy", loss="cross_entropy", class_images=(5, 5))]
    found = diagnose(of_records(records))
    assert not set(found.not_judged) & set(BOX_RULES)


def test_what_was_measured_at_the_start_says_nothing_of_the_middle():
    early = [r for r in SICK["all_background"][:-1]
             if not isinstance(r, Measured) or r.epoch == 1]  # fmt: skip
    assert "all_background" not in rules_of(early)
