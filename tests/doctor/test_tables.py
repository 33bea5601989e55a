"""Anybody's curves, and what cannot be judged or read."""

import json
import math

import numpy as np
import pytest

import striate
from striate.core.errors import DataError, RunError
from striate.doctor.table import of_rows

X = np.linspace(0, 1, 12)
GOOD = {
    "epoch": list(range(1, 13)),
    "train_loss": list(2.2 * np.exp(-4 * X) + 0.05),
    "val_loss": list(2.0 * np.exp(-4 * X) + 0.15),
    "train_acc": list(1 - 0.85 * np.exp(-4 * X)),
    "val_acc": list(0.97 - 0.8 * np.exp(-4 * X)),
}
CURVES = {
    "overfitting": {**GOOD, "val_loss": list(1.0 + np.exp(-6 * X) + X), "val_acc": [0.6] * 12},
    "underfitting": {
        "train_loss": list(1.9 + 0.4 * np.exp(-9 * X)),
        "val_loss": list(1.92 + 0.4 * np.exp(-9 * X)),
        "train_acc": [0.3] * 12, "val_acc": [0.3] * 12,
    },
    "learning_rate_too_high": {
        "train_loss": [2.3, 9, 5, 14, 7, 18, 6, 20], "val_loss": [2.3, 8, 6, 15, 6, 19, 7, 22],
    },
    "learning_rate_too_low": {
        "train_loss": list(2.3 - 0.1 * X), "val_loss": list(2.31 - 0.1 * X),
    },
    "not_finite": {"train_loss": [2.3, 4.0, math.nan], "val_loss": [2.3, 6.0, math.nan]},
    "bad_split": {"train_loss": list(1.2 - 0.4 * X), "val_loss": list(0.5 - 0.2 * X)},
}  # fmt: skip


@pytest.mark.parametrize("rule", CURVES)
def test_the_lectures_curves(rule):
    """T5, from losses alone."""
    assert rule in {f.rule for f in striate.diagnose(CURVES[rule]).findings}


def test_a_healthy_curve_and_what_it_does_not_tell():
    found = striate.diagnose(GOOD)
    assert (found.verdict, found.findings) == ("healthy", ())
    assert "dead_units" in found.not_judged
    assert "no column for lr" in found.notes


def test_a_bad_split_without_evaluation_mode_stays_undetermined():
    found = striate.diagnose(CURVES["bad_split"])
    assert found.verdict == "undetermined"


ONE_CYCLE = np.interp(np.arange(1, 13), [1, 4, 12], [0.3, 1.0, 0.05])
EXPLAINED = {
    "learnt something, and lost it": (
        "learning_rate_too_high",
        {"train_loss": [1.9, 2.7, 2.4, 2.6, 2.3, 2.3], "val_loss": [1, 2.4, 2.3, 2.3, 2.3, 2.3]},
    ),
    "worse than guessing, then guessing": (
        "learning_rate_too_high",
        {"train_loss": [2.95, 2.33, 2.32, 2.31, 2.31], "val_acc": [0.1, 0.11, 0.09, 0.1, 0.1]},
    ),
    "in proportion to the rate": (
        "learning_rate_too_low",
        {"train_loss": list(2.3 - 0.02 * np.cumsum(ONE_CYCLE)),
         "val_loss": list(2.3 - 0.02 * np.cumsum(ONE_CYCLE)), "lr": list(1e-5 * ONE_CYCLE)},
    ),
    "still falling fast": (
        "too_few_epochs",
        {"train_loss": [2.2, 1.9, 1.5, 1.1], "val_loss": [2.1, 1.8, 1.4, 1.05]},
    ),
    "worse on others before anything is known by heart": (
        "unlike_splits",
        {"train_loss": [2.2, 1.4, 1.1, 1.0, 0.95, 0.9, 0.88, 0.87, 0.86],
         "val_loss": [2.3, 3.5, 3.2, 3.1, 3.1, 3.0, 2.9, 2.9, 2.9]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", EXPLAINED)
def test_shapes_of_curves_tell_the_cause(shape):
    rule, curves = EXPLAINED[shape]
    first = striate.diagnose(curves).findings[0]
    assert (first.rule, first.verdict) == (rule, "sick"), shape


def test_dead_units_are_not_taken_for_a_rate():
    """Exactly the loss of guessing from the first epoch on: nothing tells why."""
    flat = {
        "train_loss": [2.303] * 8,
        "val_loss": [2.31] * 8,
        "val_acc": [0.1] * 8,
        "lr": [0.01] * 8,
    }
    found = striate.diagnose(flat)
    assert found.verdict == "sick"
    assert not {f.rule for f in found.findings} & {
        "learning_rate_too_high",
        "learning_rate_too_low",
    }


def test_a_step_schedule_is_healthy():
    """The loss stands still after the cut, because it stood nearly still before."""
    losses = [1.66, 1.29, 1.26, 1.24, 1.13, 1.09, 1.08, 1.06, 1.05, 1.05, 1.04, 1.05]
    curves = {"train_loss": losses, "val_loss": [0.55 * x for x in losses],
              "lr": [0.1] * 4 + [0.01] * 4 + [0.001] * 4}  # fmt: skip
    assert not [f for f in striate.diagnose(curves).findings if f.verdict == "sick"]


@pytest.mark.parametrize("pace", [0.1, 0.5, 1.2])
def test_the_loss_before_the_first_step(pace):
    """Of an exponential, from its means over epochs."""
    means = [1 + 1.3 * (math.exp(-pace * n) - math.exp(-pace * (n + 1))) / pace for n in range(8)]
    found = of_rows({"train_loss": means, "val_loss": means})
    assert found.chance == pytest.approx(2.3, rel=0.05)


@pytest.mark.parametrize(
    "names",
    [
        ("epoch", "loss", "val_loss", "accuracy", "val_accuracy"),  # Keras
        ("epoch", "train_loss", "valid_loss", "train_accuracy", "accuracy"),  # fastai, mixed
        ("Epoch", "Train Loss", "Val-Loss", "Train Acc", "Val Acc"),
    ],
)
def test_other_loggers_names(names):
    found = of_rows(dict(zip(names, CURVES["overfitting"].values(), strict=True)))
    assert np.isfinite(found.epochs.train_loss).all()
    assert np.isfinite(found.epochs.val_loss).all()


def test_files_rows_and_frames_say_the_same(tmp_path):
    columns = CURVES["overfitting"]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    text = "\n".join([",".join(columns), *(",".join(map(str, r.values())) for r in rows)])
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "b.csv").write_text("\ufeff" + text.replace(",", ";"))
    (tmp_path / "c.json").write_text(json.dumps(rows))
    (tmp_path / "d.json").write_text(json.dumps(columns))
    (tmp_path / "e.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sources = [columns, rows, *sorted(tmp_path.iterdir())]
    said = [[f.rule for f in striate.diagnose(s).findings] for s in sources]
    assert said == [["overfitting"]] * len(sources)


def test_rows_of_one_epoch_are_put_together():
    rows = [
        {"epoch": 1, "train_loss": 2.0},
        {"epoch": 1, "val_loss": 2.1},
        {"epoch": 2, "train_loss": 1.0},
    ]
    found = of_rows(rows)
    assert found.epochs.train_loss.tolist() == [2.0, 1.0]
    assert found.epochs.val_loss[0] == 2.1
    assert math.isnan(found.epochs.val_loss[1])


def test_percent_and_gaps():
    found = of_rows({"epoch": [1, 2, 5], "val_acc": [50, 60, 70.5], "train_acc": [51, 62, 80]})
    assert found.epochs.val_score.tolist() == [0.5, 0.6, 0.705]
    assert "epochs are missing" in found.faults


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no rows"),
        ({"a": [1], "b": [2]}, "no losses or accuracies: a, b"),
        ({"train_loss": [1, 2], "val_loss": [1]}, "columns of one length"),
        ({"train_loss": ["x"], "val_loss": [1]}, "row 1: train_loss is 'x', not a number"),
        ({"val_acc": [300]}, "runs from 300 to 300"),
        ({"train_loss": [1.0], "lr": [-1]}, "lr is negative"),
        ([1, 2], "row 1: expected names"),
        (5, "cannot diagnose a int"),
    ],
)
def test_what_is_no_table(rows, message):
    with pytest.raises(DataError, match=message):
        striate.diagnose(rows)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "damaged"),
        ("a.csv", "train_loss,val_loss\n1,2,3\n", "line 2, has more cells"),
        ("a.csv", "", "has no rows"),
        ("a.txt", "1 2 3", "neither a run nor a table"),
    ],
)
def test_what_is_no_file_of_curves(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        striate.diagnose(tmp_path / name)


def test_no_run_there(tmp_path):
    with pytest.raises(RunError, match="no run directory"):
        striate.diagnose(tmp_path / "none")


def test_a_validation_loss_that_was_0_is_judged(tmp_path, striate_cli):
    """Losses that rise from nothing rise without bound; a division by that nothing ended it."""
    rows = ["epoch,train_loss,val_loss", "1,0.5,0.0", "2,0.01,1.0", "3,0.001,2.0"]
    (tmp_path / "curves.csv").write_text("\n".join(rows) + "\n")
    code, out, err = striate_cli("doctor", tmp_path / "curves.csv")
    assert code in (0, 1)
    assert out
    assert "Traceback" not in err
