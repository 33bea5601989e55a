"""k-fold cross-validation: a run a fold, each image tested once, continued where it stopped."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import striate
from striate.api.folds import Folds
from striate.core.errors import RecipeError, RunError
from striate.core.records import Step
from tests.conftest import COLOURS, QUICK, write_tree


@pytest.fixture
def whole(tmp_path):
    return write_tree(tmp_path / "whole", dict.fromkeys(COLOURS, 9))


def test_every_image_is_tested_once(whole, tmp_path):
    found = striate.cross_validate(whole, run=tmp_path / "cv", folds=3, **QUICK)
    tested = []
    for fold in (1, 2, 3):
        lines = (tmp_path / "cv" / f"fold-{fold}" / "predictions.csv").read_text().splitlines()
        tested += [line.partition(",")[0] for line in lines[1:]]
    assert len(tested) == len(set(tested)) == 27
    written = json.loads((tmp_path / "cv" / "folds.json").read_text())
    assert written["mean"] == pytest.approx(found.mean)


def test_the_interval_is_student_s():
    values = np.array([0.9, 0.94, 0.91, 0.97])
    expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    np.testing.assert_allclose(Folds(Path(), "accuracy", tuple(values)).interval, expected)


def test_it_is_continued(whole, tmp_path):
    stream = striate.api.folds.stream_folds(whole, run=tmp_path / "cv", folds=2, **QUICK)
    steps = 0
    for record in stream:
        steps += isinstance(record, Step)
        if steps == 3:
            stream.close()
            break
    found = striate.cross_validate(whole, run=tmp_path / "cv", folds=2, **QUICK)
    fresh = striate.cross_validate(whole, run=tmp_path / "cv2", folds=2, **QUICK)
    assert found.values == fresh.values


def test_the_command(whole, tmp_path, striate_cli):
    flags = ("--epochs", 1, "--batch-size", 8, "--image-size", 16, "--augment.flip", "False")
    code, out, _ = striate_cli("train", whole, "--folds", 2, "--run", tmp_path / "cv", "--json",
                               *flags)  # fmt: skip
    assert code == 0
    said = json.loads(out.splitlines()[-1])
    assert len(said["folds"]) == 2
    assert "95 % interval" in out


@pytest.mark.parametrize(
    ("knobs", "piece"),
    [
        ({"folds": 1}, "two or more"),
        ({"folds": 3, "data.fold": 4}, "4 of 3 folds"),
    ],
)
def test_refusals(whole, knobs, piece, tmp_path):
    with pytest.raises(RecipeError, match=piece):
        striate.train(whole, run=tmp_path / "r", **QUICK, **knobs)


def test_train_alone_takes_one_fold(whole, tmp_path):
    with pytest.raises(RecipeError, match="several trainings"):
        striate.train(whole, run=tmp_path / "r", folds=3, **QUICK)
    run = striate.train(whole, run=tmp_path / "r", folds=3, **{"data.fold": 2}, **QUICK)
    assert run.read_json("dataset.json")["splits"]["test"]["from"].startswith("fold 2 of 3")
    with pytest.raises(RunError, match="is a run"):
        striate.cross_validate(whole, run=tmp_path / "r", folds=3, **QUICK)


@pytest.mark.parametrize(
    "values", [(0.5, 0.5), (0.5, 0.4), (1.0, 0.9, 0.95), (0.0, 0.0), (1.0, 1.0)]
)
@pytest.mark.parametrize("images", [0, 40])
def test_intervals_of_folds_stay_within_bounds_and_have_a_width(values, images):
    low, high = Folds(
        Path("x"), "accuracy", values, (images,) * len(values) if images else ()
    ).interval
    assert np.isnan(low) or 0 <= low < high <= 1
    assert np.isfinite(low) or len(values) == 2 or not images
