"""`striate search`: the space, the trials, and what is left after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import islice

import numpy as np
import pytest

import striate
from striate.api.search import best, best_of, importances, stream_search, tried
from striate.cli.main import main
from striate.core.errors import RecipeError, RunError
from striate.core.recipe import Recipe
from striate.core.recipe_io import with_overrides
from striate.core.records import Finished, Note, Step
from striate.core.space import STRENGTH, Choice, Range, applied, by_knob, read_space, values_in
from tests.conftest import QUICK

pytest.importorskip("optuna", reason="needs the extra [search]")
SETTLED = with_overrides(
    Recipe(), {"lr": 0.1, "batch_size": 64, "regularise.l2": 5e-4, "loss.label_smoothing": 0.1}
)


@pytest.mark.parametrize(
    ("knob", "text", "expected"),
    [
        ("optim.lr", "0.01..1", Range(0.01, 1.0, True, False)),
        ("optim.lr", "0.1..0.5", Range(0.1, 0.5, False, False)),
        ("lr", "x0.2..x5", Range(0.02, 0.5, True, False)),
        ("optim.lr", "0.01..1,linear", Range(0.01, 1.0, False, False)),
        ("optim.lr", "1e-3..2e-3,log", Range(1e-3, 2e-3, True, False)),
        ("batch_size", "16..64", Range(16, 64, False, True)),
        ("regularise.dropout", "0..0.5", Range(0, 0.5, False, False)),
        (STRENGTH, "0..1", Range(0, 1, False, False)),
        ("budget.minutes", "1..20", Range(1, 20, True, False)),
        ("regularise.patience", "0..20", Range(0, 20, False, True)),
        ("optim.rule", "sgd, adam", Choice(("sgd", "adam"))),
        ("augment.flip", "true,false", Choice((True, False))),
    ],
)
def test_ranges_are_read(knob, text, expected):
    (found,) = read_space(by_knob({knob: text}), SETTLED).values()
    assert type(found) is type(expected)
    if isinstance(found, Choice):
        assert found == expected
        return
    assert (found.log, found.whole) == (expected.log, expected.whole)
    np.testing.assert_allclose((found.low, found.high), (expected.low, expected.high))


@pytest.mark.parametrize(
    ("knob", "text", "piece"),
    [
        ("optim.lr", "1..0.1", "lower end"),
        ("optim.lr", "a..b", "not a range"),
        ("optim.lr", "0..1..2", "not a range"),
        ("optim.lr", "0..1", "optim.lr"),
        ("optim.lr", "0.1..1,cubic", "lower end"),
        ("regularise.dropout", "0..2", "regularise.dropout"),
        ("regularise.dropout", "0..0.5,log", "lower end"),
        ("optim.rule", "1..2", "optim.rule"),
    ],
)
def test_bad_ranges_are_refused(knob, text, piece):
    with pytest.raises(RecipeError) as caught:
        read_space({knob: text}, SETTLED)
    assert piece in caught.value.message + caught.value.hint


def test_no_strength_is_no_policy():
    weak, strong = (applied(SETTLED, {STRENGTH: value}).augment for value in (0.0, 0.5))
    assert (weak.policy, weak.policy_strength) == ("none", "auto")
    assert (strong.policy, strong.policy_strength) == ("trivial", 0.5)
    space = read_space({STRENGTH: "0..1", "optim.lr": "0.2..1"}, SETTLED)
    assert values_in(SETTLED, space) is None  # its rate of 0.1 is outside
    assert values_in(SETTLED, read_space({STRENGTH: "0..1"}, SETTLED)) == {STRENGTH: 0.0}


def test_search_and_go_on(tree, tmp_path):
    """The first trial is the plain recipe; trials of an earlier call count; test is read once."""
    study = tmp_path / "s"
    list(stream_search(tree, study=study, trials=2, **QUICK))
    list(stream_search(tree, study=study, trials=3, **QUICK))
    found, (first, *others) = best(study), tried(study)
    assert [t.run for t in (first, *others)] == ["trial-000", "trial-001", "trial-002"]
    assert all(t.state in ("finished", "pruned") for t in others)
    plain = striate.train(tree, run=tmp_path / "plain", **QUICK)
    assert first.score == pytest.approx(plain.finished.val["accuracy"])
    assert first.values["optim.lr"] == plain.recipe.optim.lr
    assert len({t.values["optim.lr"] for t in (first, *others)}) == 3
    winner = best_of(tried(study))
    assert found["run"] == winner.run
    assert found["test_reads"] == len({winner.run, best_of([first, others[0]]).run})
    for trial in (first, *others):
        run = striate.Run(study / trial.run)
        assert not (run.finished and run.finished.test)


def test_the_same_proposals_again(tree, tmp_path):
    values = []
    for name in "ab":
        space = {"lr": "0.01..1"}
        list(stream_search(tree, study=tmp_path / name, trials=3, space=space, **QUICK))
        values.append([t.values for t in tried(tmp_path / name)])
    assert values[0] == values[1]


def test_a_stopped_trial_goes_on(tree, tmp_path):
    study, space = tmp_path / "s", {"lr": "0.01..1"}
    records = stream_search(tree, study=study, trials=2, space=space, **QUICK)
    steps = 0
    for record in records:  # into the second trial
        steps += isinstance(record, Step)
        if steps == 13:
            records.close()
            break
    assert [t.state for t in tried(study)] == ["finished", "interrupted"]
    again = list(stream_search(tree, study=study, trials=2, space=space, **QUICK))
    assert [t.state for t in tried(study)] == ["finished", "finished"]
    assert sum(isinstance(r, Step) for r in again) < 10  # of ten steps some were done before
    assert best(study)["test"]


def test_a_rate_that_is_too_high_is_an_answer(tree, tmp_path):
    space, knobs = {"lr": "1e8..1e9"}, {"optim.rule": "sgd", **QUICK}
    found = list(stream_search(tree, study=tmp_path, trials=1, space=space, **knobs))
    (only,) = tried(tmp_path)
    assert (only.state, only.score) == ("pruned", None)
    assert "step" in only.fault
    assert any(isinstance(r, Note) and "no trial was finished" in r.text for r in found)


def test_other_knobs_are_refused(tree, tmp_path):
    space = {"lr": "0.01..1"}
    list(stream_search(tree, study=tmp_path, trials=1, space=space, **QUICK))
    with pytest.raises(RunError, match="other knobs"):
        list(stream_search(tree, study=tmp_path, trials=2, space={"lr": "0.01..2"}, **QUICK))
    with pytest.raises(RecipeError, match="trials=0"):
        list(stream_search(tree, study=tmp_path, trials=0, **QUICK))


def test_bad_data_leave_no_trial(tmp_path):
    with pytest.raises(striate.StriateError, match="nowhere"):
        list(stream_search(tmp_path / "nowhere", study=tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_arrays_and_importances(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = np.clip(rng.normal(100 + 60 * y[:, None, None, None], 40, (60, 16, 16, 1)), 0, 255)
    data = (x.astype(np.uint8), y)
    knobs = {**QUICK, "epochs": 1, "batch_size": 16, "data.image_size": 8}
    knobs.pop("image_size")
    space = {"lr": "1e-4..1", "optim.rule": "sgd,muon"}
    records = stream_search(
        data, study=tmp_path, trials=10, space=space, method="random", prune=False, **knobs
    )
    assert sum(isinstance(r, Finished) for r in records) == 10
    assert set(importances(tmp_path)) == {"optim.lr", "optim.rule"}
    assert sum(importances(tmp_path).values()) == pytest.approx(1)


@pytest.mark.slow
def test_the_command(tree, tmp_path, capsys, monkeypatch):
    """Two processes on one study; one is killed, and the same command repairs what it left."""
    study = tmp_path / "s"
    knobs = {k.replace("_", "-"): v for k, v in QUICK.items() if k != "report.write"}
    flags = [*(f"--{k}={v}" for k, v in knobs.items()), "--report.no-write"]
    flags += ["--space", "lr=0.01..1", "--study", str(study), "--data.check", "off"]
    command = ["search", str(tree), *flags]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    line = [sys.executable, "-m", "striate", *command, "--trials", "40"]
    process = subprocess.Popen(line, env=env, stdout=subprocess.PIPE, text=True)
    lines = islice(process.stdout, 10_000)
    assert any("trial 2" in text for text in lines)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = len(tried(study))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert main([*command, "--trials", str(before + 2), "--jobs", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    done = tried(study)
    assert len(done) == before + 2
    assert {t.state for t in done} <= {"finished", "pruned"}
    assert found["run"] == best_of(done).run
    assert found["test"]["accuracy"] <= 1
    assert "search" in (study / "job-2.log").read_text(encoding="utf-8")


def test_refusals_of_the_command(tree, capsys, tmp_path):
    for flags, piece in (
        (["--space", "lr"], "no range"),
        (["--space", "optim.lrr=0..1"], "Perhaps you meant: optim.lr"),
        (["--method", "grid"], "tpe, random"),
    ):
        assert main(["search", str(tree), "--study", str(tmp_path / "s"), *flags]) == 2
        assert piece in capsys.readouterr().err
