"""What follows from an evaluation: comparison, thresholds, slices, plain values."""

import json

import numpy as np
import pytest

import striate
from striate.api.evaluating import slices_json
from striate.core.errors import DataError
from striate.data.targets import Labels, LabelSets
from striate.tasks.classify.evaluation import LabelEvaluation, LabelSetEvaluation
from striate.tasks.classify.task import LabelSetTask, LabelTask
from striate.tasks.plain import evaluation_json

CLASSES = ("cat", "dog", 'it, "quoted"')


def evaluation(n=300, strength=2.0, seed=0, split="test", **more):
    """Of a made-up network; the same images for each strength."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, n)
    noise = rng.normal(size=(n, 3))
    logits = (noise + strength * np.eye(3)[targets]).astype(np.float32)
    task, truth, said = LabelTask("cross_entropy"), Labels(targets), {"logits": logits}
    scores = task.scores(said, truth)
    names = tuple(f"{'indoor' if i % 3 else 'night'}/{i:04}.png" for i in range(n))
    return LabelEvaluation(split, scores, CLASSES, names, truth, said, task, **more)


def test_a_better_run_is_better_and_a_run_is_not_better_than_itself():
    good, weak = evaluation(strength=3.0), evaluation(strength=1.5)
    found = striate.compare(good, weak)
    assert found.low > 0
    assert found.p < 1e-4
    assert str(found).startswith("better by ")
    back = striate.compare(weak, good)
    assert back.difference == pytest.approx(-found.difference)
    assert str(back).startswith("worse by ")
    assert "undetermined" in str(striate.compare(good, good))


def test_only_the_same_images_can_be_compared():
    with pytest.raises(DataError, match="different images: 300 and 200"):
        striate.compare(evaluation(), evaluation(n=200))
    with pytest.raises(DataError, match="different images"):
        striate.compare(evaluation(), evaluation(seed=1))


def test_thresholds_hold_where_they_were_chosen():
    val, test = evaluation(split="val"), evaluation(seed=5)
    for row, again in zip(
        striate.thresholds(val, val, recall=0.9), striate.thresholds(val, test, recall=0.9),
        strict=True,
    ):  # fmt: skip
        assert row["recall"] >= 0.9
        assert again["threshold"] == row["threshold"]
        assert again["recall"] > 0.8
    rows = striate.thresholds(evaluation(strength=0.0), val, precision=0.999)
    assert any(row["threshold"] is None or row["precision"] is not None for row in rows)


def test_temperature_changes_probabilities_and_no_answer():
    modest = evaluation()
    t = modest.fitted_temperature()
    mended = evaluation(temperature=t)
    assert t == pytest.approx(0.5, abs=0.1)  # deviation 1, distance 2
    assert mended.scores == modest.scores
    assert (mended.probabilities.argmax(1) == modest.probabilities.argmax(1)).all()
    assert mended["calibration_error"] < modest["calibration_error"]


def test_slices_by_name_and_by_table(tmp_path):
    found = evaluation(traits={"brightness": np.arange(300.0)})
    found.logits[np.arange(300) % 3 == 0] *= -1
    by_name = striate.slices(found, by="^([a-z]+)/")
    assert (by_name[0].value, by_name[0].worse) == ("night", True)
    lines = [f"{name},{i % 3},{'ab'[i % 2]}" for i, name in enumerate(found.names)]
    (tmp_path / "t.csv").write_text("image,third,half\n" + "\n".join(lines))
    by_table = striate.slices(found, by=str(tmp_path / "t.csv"))
    assert {s.column for s in by_table} == {"brightness", "third", "half"}
    assert (by_table[0].column, by_table[0].value) == ("third", "0")
    assert json.loads(json.dumps(slices_json(by_table)))[0]["worse"] is True


@pytest.mark.parametrize(
    ("by", "piece"),
    [
        ("(", "no regular expression"),
        ("zebra", "is in no image's name"),
        ("missing.csv", "cannot be read"),
        ("short.csv", "lacks 299 of 300 images"),
        ("one.csv", "no table of images"),
        ("ragged.csv", "too few cells"),
    ],
)
def test_slices_refuse(tmp_path, monkeypatch, by, piece):
    monkeypatch.chdir(tmp_path)
    names = evaluation().names
    (tmp_path / "short.csv").write_text(f"image,x\n{names[0]},1\n")
    (tmp_path / "one.csv").write_text("image\na.png\n")
    ragged = [f"{n},1" if i else n for i, n in enumerate(names)]
    (tmp_path / "ragged.csv").write_text("image,x\n" + "\n".join(ragged))
    with pytest.raises(DataError) as caught:
        striate.slices(evaluation(), by=by)
    assert piece in str(caught.value)
    assert caught.value.hint or by == "(" or by.endswith("d.csv") or by.startswith("m")


def test_plain_values_are_json():
    said = json.loads(json.dumps(evaluation_json(evaluation()), allow_nan=False))
    assert said["n"] == 300
    assert said["intervals"]["accuracy"][0] < said["accuracy"] < said["intervals"]["accuracy"][1]
    assert [row["class"] for row in said["per_class"]] == list(CLASSES)
    assert said["per_class"][0]["intervals"].keys() >= {"precision", "recall", "f1"}


def test_several_labels():
    rng = np.random.default_rng(0)
    task, targets = LabelSetTask(), (rng.random((100, 3)) < 0.4).astype(np.float32)
    logits = (rng.normal(size=(100, 3)) + 2 * targets - 1).astype(np.float32)
    names = tuple(map(str, range(100)))
    said, truth = {"logits": logits}, LabelSets(targets)
    scores = task.scores(said, truth)
    found = LabelSetEvaluation("test", scores, CLASSES, names, truth, said, task)
    assert found.fitted_temperature() == 1.0
    said = evaluation_json(found)
    assert "mean_average_precision" in said["intervals"]
    apart = striate.compare(found, found)
    assert (apart.score, apart.p) == ("labels right", None)
