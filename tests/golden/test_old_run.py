"""A run that the recorded code wrote, stopped in its second epoch: every verb still takes it.

`old_run/` is what a training wrote, without its lock; its folder's path and the system's name
became neutral words.
"""

import json
import shutil

import pytest

from tests.golden.trainings import OLD_RUN, old_pictures


@pytest.fixture
def old(tmp_path):
    """(a copy of the run, its data at another place than they were)"""
    return shutil.copytree(OLD_RUN, tmp_path / "run"), old_pictures(tmp_path)


def said_by(striate_cli, *words):
    """The JSON object on the last line of a command that succeeds."""
    code, out, err = striate_cli(*words, "--json")
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def test_an_old_run_is_resumed_and_used(old, striate_cli):
    run, data = old
    code, _, err = striate_cli("resume", run)
    assert code == 2
    assert "no longer at /somewhere/else/split" in err
    done = said_by(striate_cli, "resume", run, data)
    assert done["epochs"] == 4
    assert done["test"]["n"] == 12
    steps = [
        record["step"]
        for record in map(json.loads, (run / "records.jsonl").read_text().splitlines())
        if record["kind"] == "step"
    ]
    assert steps == list(range(1, 13))

    assert said_by(striate_cli, "evaluate", run)["test"]["accuracy"] == done["test"]["accuracy"]
    assert said_by(striate_cli, "doctor", run)["verdict"] == done["doctor"]["verdict"]
    assert said_by(striate_cli, "certify", run)["finished"]
    # The first steps were computed on another processor, whose rounding may be another.
    assert striate_cli("certify", run, "--verify")[0] in (0, 1)
    assert said_by(striate_cli, "explain", run, "--only", "probes")["layers"]
    assert len(said_by(striate_cli, "predict", run, data / "test")["predictions"]) == 12
    for form in ("html", "md", "json"):
        assert striate_cli("report", run, "--format", form)[0] == 0
        assert (run / f"report.{form}").stat().st_size > 1000
    assert "finished" in striate_cli("runs", run.parent)[1]


def test_an_old_run_is_used_before_it_is_resumed(old, striate_cli):
    run, data = old
    assert said_by(striate_cli, "evaluate", run, "--moved", data)["test"]["n"] == 12
    assert said_by(striate_cli, "doctor", run)["verdict"]
    assert not said_by(striate_cli, "certify", run)["finished"]
    assert "can be resumed" in striate_cli("runs", run.parent)[1]


def test_an_old_recipe_trains(old, striate_cli):
    run, data = old
    words = ("train", data, "--recipe", run / "recipe.yaml", "--epochs", 1, "--run", "again")
    assert said_by(striate_cli, *words)["epochs"] == 1
