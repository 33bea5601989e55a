"""Trainings that the page starts: processes of their own, which outlive the studio."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from striate.core.run import is_locked
from tests.conftest import write_colours
from tests.studio.server import studio, wait_for

KNOBS = {
    "model.name": "lenet", "optim.rule": "momentum", "optim.lr": 0.05, "optim.batch_size": 8,
    "data.image_size": 16, "augment.flip": False, "device.precision": "float32",
    "report.write": False, "checkpoints.keep": 50, "device.threads": 1, "data.workers": 1,
}  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_colours(tmp_path / "data" / "colours")
    return tmp_path / "runs"


def start(found, **knobs):
    sources = {row["name"]: row["id"] for row in found.get("/api/sources")}
    assert set(sources) == {"digits", "colours"}
    status, said = found.post(
        "/api/trainings", {"source": sources["colours"], "knobs": {**KNOBS, **knobs}}
    )
    assert status == 200, said
    return said["id"]


def row(found, name):
    return next((r for r in found.get("/api/runs") if r["id"] == name), None)


def state(found, name):
    return (row(found, name) or {}).get("state")


@pytest.mark.slow
def test_start_pause_resume_branch_and_finish(home, tmp_path):
    with studio(home=home, data=tmp_path / "data") as found:
        name = start(found, **{"budget.epochs": 400})
        wait_for(lambda: state(found, name) == "running" and row(found, name)["epoch"] > 2)
        assert row(found, name)["seconds_left"] > 0
        assert found.post(f"/api/runs/{name}/pause", {})[0] == 200
        wait_for(lambda: state(found, name) == "can be resumed")
        at = row(found, name)["step"]
        wait_for(lambda: found.post(f"/api/runs/{name}/pause", {})[0] == 400)  # its process is gone
        assert found.post(f"/api/runs/{name}/resume", {})[0] == 200
        wait_for(lambda: state(found, name) == "running" and row(found, name)["step"] > at)
        checkpoints = found.get(f"/api/runs/{name}")["checkpoints"]
        step = checkpoints[0]["step"]
        status, said = found.post(
            f"/api/runs/{name}/branch",
            {
                "step": step,
                "knobs": {"optim.lr": 0.01, "budget.epochs": checkpoints[0]["epoch"] + 2},
            },
        )
        assert status == 200, said
        assert found.post(f"/api/runs/{name}/stop", {})[0] == 200
        branch = wait_for(
            lambda: row(found, said["id"]) if state(found, said["id"]) == "finished" else 0
        )
        assert (branch["parent"], branch["parent_step"]) == (name, step)
        assert branch["score"] is not None
        wait_for(lambda: state(found, name) == "can be resumed")
        curves = found.get(f"/api/runs/{said['id']}/curves")
        assert set(curves["lr"][:step]) != set(curves["lr"][step:])
        # A remedy of a run that is finished begins anew, since nothing is left to train.
        status, tried = found.post(f"/api/runs/{said['id']}/branch", {"remedy": "--lr 0.02"})
        assert status == 200, tried
        wait_for(lambda: state(found, tried["id"]) == "running")
        assert found.post(f"/api/runs/{tried['id']}/stop", {})[0] == 200
        # A run that is deleted is gone, and did not fail.
        shutil.rmtree(home / branch["name"])
        assert row(found, said["id"]) is None
        # What a resumed training complains of is said.
        shutil.rmtree(tmp_path / "data" / "colours")
        assert found.post(f"/api/runs/{name}/resume", {})[0] == 200
        lost = wait_for(lambda: row(found, name)["fault"])
        assert "no longer at" in lost


def test_a_training_that_cannot_begin_says_why(home, tmp_path):
    with studio(home=home, data=tmp_path / "data") as found:
        name = start(found, **{"data.exclude": "nowhere.csv", "budget.epochs": 1})
        failed = wait_for(lambda: row(found, name) if state(found, name) == "failed" else None)
        assert "nowhere.csv" in failed["fault"]
        assert found.ask(f"/api/waiting/{name}", "DELETE")[0] == 200
        assert row(found, name) is None
        assert not list((home / ".studio").iterdir())
    status, said = 0, {}
    with studio(home=home, data=tmp_path / "data") as found:
        status, said = found.post("/api/trainings", {"source": "digits", "knobs": {"optim.lr": -1}})
    assert status == 400
    assert "optim.lr" in said["message"]


def own_process(tmp_path):
    """A studio as a person starts it: (process, its address, its token)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "striate", "studio", "--port", "0", "--data", "data"],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    told = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", process.stdout.readline())
    return process, int(told[1]), told[2]


def request(port, token, path, body=None):
    import http.client

    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    heads = {"Cookie": f"striate-{port}={token}", "Content-Type": "application/json"}
    if body is not None:
        heads["Origin"] = f"http://127.0.0.1:{port}"
    link.request("GET" if body is None else "POST", path, body and json.dumps(body), heads)
    found = json.loads(link.getresponse().read())
    link.close()
    return found


@pytest.mark.slow
def test_killing_the_studio_loses_nothing_and_two_see_the_same(home, tmp_path):
    first, port, token = own_process(tmp_path)
    second, other, secret = own_process(tmp_path)
    try:
        sources = {r["name"]: r["id"] for r in request(port, token, "/api/sources")}
        asked = {"source": sources["colours"], "knobs": {**KNOBS, "budget.epochs": 150}}
        name = request(port, token, "/api/trainings", asked)["id"]
        rows = lambda: {r["id"]: r for r in request(other, secret, "/api/runs")}  # noqa: E731
        wait_for(lambda: rows().get(name, {}).get("state") == "running")
        os.kill(first.pid, signal.SIGKILL)
        first.wait(timeout=10)
        at = rows()[name]["step"]
        done = wait_for(lambda: rows()[name] if rows()[name]["state"] == "finished" else None)
        assert done["step"] == done["steps"] > at
        assert done["score"] is not None
        assert not is_locked(home / done["name"])
    finally:
        for process in (first, second):
            process.kill()
            process.wait(timeout=10)
            process.stdout.close()


def test_the_check_and_the_pages_of_data_without_a_run(home, tmp_path):
    copy = tmp_path / "data" / "colours" / "train" / "red"
    (copy / "again.png").write_bytes(next(copy.glob("*.png")).read_bytes())
    before = {p: p.read_bytes() for p in (tmp_path / "data").rglob("*") if p.is_file()}
    with studio(home=home, data=tmp_path / "data") as found:
        name = {r["name"]: r["id"] for r in found.get("/api/sources")}["colours"]
        facts = found.get(f"/api/sets/{name}")
        assert facts["splits"]["train"] == 37
        assert facts["classes"] == ["blue", "green", "red"]
        status, said = found.post(f"/api/sets/{name}/check", {})
        assert status == 200
        assert any("cop" in text for text in said), said
        facts = found.get(f"/api/sets/{name}")
        (finding,) = facts["findings"]
        assert facts["findings"][finding] >= 1
        few = found.get(f"/api/sets/{name}/images?finding={finding.replace(' ', '%20')}&count=9")
        assert few["count"] == facts["findings"][finding]
        reds = found.get(f"/api/sets/{name}/images?label=red&split=train&count=100")
        assert reds["count"] == 13
        image = found.get(f"/api/sets/{name}/images/{reds['first'][0]}")
        assert (image["labels"], image["split"]) == (["red"], "train")
        places = found.get(f"/api/sets/{name}/map?method=pca&images=60")
        assert len(places["numbers"]) == 60
        assert min(places["numbers"]) >= 0
        assert image["neighbours"] == image["guesses"] == []
        status, heads, picture = found.ask(
            f"/api/sets/{name}/sheet?label=red&count=6&columns=3&side=32"
        )
        assert (status, heads["content-type"]) == (200, "image/jpeg")
        assert len(picture) > 500
        status, facts = found.post(f"/api/sets/{name}/doubt", {"numbers": [reds["first"][0]]})
        assert (status, facts["marked"]) == (200, 1)
        assert found.get(f"/api/sets/{name}/images?finding=marked&count=5")["first"] == [
            reds["first"][0]
        ]
    written = {p: p.read_bytes() for p in (tmp_path / "data").rglob("*") if p.is_file()}
    assert written == before  # nothing is written to a person's data
    with studio(home=home, data=tmp_path / "data") as found:  # the list is found again
        assert found.get(f"/api/sets/{name}")["marked"] == 1
        asked = {"source": name, "knobs": {
            **KNOBS, "data.exclude": facts["doubtful"], "budget.epochs": 1,
            "data.allow": ["leakage"],
        }}  # fmt: skip
        run = found.post("/api/trainings", asked)[1]["id"]
        wait_for(lambda: state(found, run) == "finished")
        assert found.get(f"/api/runs/{run}")["images"]["train"] == 36
