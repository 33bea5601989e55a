"""Runs as the page sees them: while they grow, cut back, damaged, on a disk that is read-only."""

import json
import threading
import time

import numpy as np
import pytest
from websockets.sync.client import connect

from striate.core.records import Epoch, Step, to_json
from striate.core.run import is_locked, locked
from striate.studio.live import MOST_STEPS, POINTS, Since, Tail, curves_of, thinned
from tests.studio.runs import write_run
from tests.studio.server import studio


def test_rows_say_what_the_files_say(tmp_path):
    write_run(tmp_path / "2-done", finished=True, findings=("overfitting",))
    write_run(tmp_path / "1-half", steps=30)
    broken = write_run(tmp_path / "0-broken")
    with (broken / "records.jsonl").open("a") as log:
        log.write('{"kind": "step", "nonsense": 1}\n')
    with studio(home=tmp_path) as found:
        rows = {row["name"]: row for row in found.get("/api/runs")}
        assert [*rows] == ["2-done", "1-half", "0-broken"]
        assert rows["2-done"]["state"] == "finished"
        assert rows["2-done"]["score"] == 0.9
        assert rows["2-done"]["finding"] == "overfitting"
        assert rows["1-half"]["state"] == "not begun"  # it has no checkpoint
        assert (rows["1-half"]["step"], rows["1-half"]["steps"]) == (30, 100)
        low, high = rows["1-half"]["low"], rows["1-half"]["high"]
        assert low < rows["1-half"]["score"] < high
        assert rows["0-broken"]["state"] == "damaged"
        assert "damaged" in rows["0-broken"]["fault"]
        detail = found.get(f"/api/runs/{rows['2-done']['id']}")
        assert detail["findings"][0]["remedies"] == ["--lr 0.01"]
        assert {k["name"]: k["why"] for k in detail["knobs"]} == {"optim.lr": "usual"}


def test_a_run_that_is_at_work_is_known_by_its_lock(tmp_path):
    run = write_run(tmp_path / "one")
    assert not is_locked(run)
    tail = Tail("x", run)
    tail.read()
    with locked(run):
        tail.look_whether_running()
        assert tail.running
        (run / "lock").chmod(0o400)
        assert is_locked(run)  # also where the lock can only be read
    tail.look_whether_running()
    assert not tail.running


def test_a_log_is_read_on_and_a_cut_line_waits(tmp_path):
    run = write_run(tmp_path / "one", steps=20)
    tail = Tail("x", run)
    assert tail.read()
    assert not tail.read()
    line = to_json(Step(21, 2, 0.5, 0.1, 1.0, 10.0)) + "\n"
    with (run / "records.jsonl").open("a") as log:
        log.write(line[:30])
        log.flush()
        assert not tail.read()
        log.write(line[30:])
    assert tail.read()
    assert curves_of(tail).step[-1] == 21
    assert curves_of(tail, Since(0, 20)).step == [21]


@pytest.mark.parametrize("seen_in_between", [True, False])
def test_a_resumed_run_has_each_step_once(tmp_path, seen_in_between):
    """A resumed training cuts its log at its checkpoint and writes the steps anew."""
    run = write_run(tmp_path / "one", steps=50)
    tail = Tail("x", run)
    tail.read()
    log = run / "records.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:24]))  # 2 records, 20 steps, 2 epochs
    if seen_in_between:
        tail.read()
    with log.open("a") as file:
        for n in range(21, 61):
            file.write(to_json(Step(n, (n - 1) // 10, 9.0, 0.1, 1.0, 500.0)) + "\n")
            if n % 10 == 0:
                file.write(to_json(Epoch(n // 10, n, 9.0, 9.0, 0.5, 1.0, False)) + "\n")
    tail.read()
    found = curves_of(tail, Since(0, 50, 5))  # a page has the old end: it is told all of it anew
    assert found.generation == 1
    assert found.step == list(range(1, 61))
    assert found.loss[20:] == [9.0] * 40
    assert found.epoch_step == [10, 20, 30, 40, 50, 60]


def test_a_log_is_read_once_by_several_readers(tmp_path):
    run = write_run(tmp_path / "one", steps=20_000, per_epoch=1000)
    tail = Tail("x", run)
    readers = [threading.Thread(target=tail.read) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(tail.steps["step"]) == 20_000


def test_curves_are_drawn_while_the_log_is_read(tmp_path):
    run = write_run(tmp_path / "one", steps=2000, per_epoch=100)
    tail, faults = Tail("x", run), []
    stop = threading.Event()

    def look():
        while not stop.is_set():
            try:
                found = curves_of(tail)
                assert len(found.step) == len(found.loss)
            except Exception as error:
                faults.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    with (run / "records.jsonl").open("a") as log:
        for n in range(2001, 2600):
            log.write(to_json(Step(n, 20, 0.5, 0.1, 1.0, 10.0)) + "\n")
            log.flush()
            tail.read()
    stop.set()
    looking.join()
    assert faults == []


@pytest.mark.parametrize("line", ["null", "5", "[]", '"text"', '{"kind": "step"}', "{}", "\x00"])
def test_whatever_a_log_holds_the_others_go_on(tmp_path, line):
    bad = write_run(tmp_path / "bad", steps=20)
    good = write_run(tmp_path / "good", steps=20)
    with studio(home=tmp_path) as found:
        ids = {row["name"]: row["id"] for row in found.get("/api/runs")}
        heads = {"Cookie": found.cookie, "Origin": found.url}
        with connect(f"ws://127.0.0.1:{found.port}/api/live", additional_headers=heads) as page:
            page.recv(timeout=10)
            with (bad / "records.jsonl").open("a") as log:
                log.write(line + "\n")
            told = {}
            while told.get(ids["bad"]) != "damaged":
                told |= {r["id"]: r["state"] for r in json.loads(page.recv(timeout=10))["rows"]}
            with (good / "records.jsonl").open("a") as log:
                log.write(to_json(Step(21, 2, 0.5, 0.1, 1.0, 10.0)) + "\n")
            steps = {}
            while steps.get(ids["good"]) != 21:
                steps |= {r["id"]: r["step"] for r in json.loads(page.recv(timeout=10))["rows"]}


def test_thinning_keeps_peaks_and_ends():
    values = np.sin(np.arange(100_000) / 500)
    values[54_321] = 50.0
    values[77] = np.nan
    kept = thinned(values, POINTS)
    assert len(kept) <= POINTS + 2
    assert {0, 54_321, 99_999} <= {*kept.tolist()}
    assert (np.diff(kept) > 0).all()
    assert thinned(values[:10], POINTS).tolist() == list(range(10))


def test_very_many_steps_stay_small(tmp_path):
    run = write_run(tmp_path / "one", steps=10, per_epoch=10)
    tail = Tail("x", run)
    tail.read()
    line = to_json(Step(11, 1, 0.5, 0.1, 1.0, 10.0))
    step = json.loads(line)
    for start in range(11, MOST_STEPS + 1000, 5000):
        last = min(start + 5000, MOST_STEPS + 1000)
        tail._put_steps([{**step, "step": n} for n in range(start, last)])
    assert len(tail.steps["step"]) <= MOST_STEPS
    assert tail.last.step == MOST_STEPS + 999


def test_the_page_is_told_what_changes(tmp_path):
    run = write_run(tmp_path / "one", steps=20)
    with studio(home=tmp_path) as found:
        name = found.get("/api/runs")[0]["id"]
        heads = {"Cookie": found.cookie, "Origin": found.url}
        with connect(f"ws://127.0.0.1:{found.port}/api/live", additional_headers=heads) as page:
            page.send(json.dumps({"runs": {name: [0, 20, 2, 0]}}))
            told = json.loads(page.recv(timeout=10))
            while "rows" not in told or not told["rows"]:
                told = json.loads(page.recv(timeout=10))
            assert told["all"] == [name]
            updates, points, began = [], [], time.monotonic()
            with (run / "records.jsonl").open("a") as log:
                for n in range(21, 61):
                    log.write(to_json(Step(n, 2, 0.5, 0.1, 1.0, 10.0)) + "\n")
                    log.flush()
                    time.sleep(0.05)
                    if n % 10 == 0:  # the record of an epoch comes after its last step
                        epoch = Epoch(n // 10, n, 0.5, 0.6, 0.7, 1.0, True)
                        log.write(to_json(epoch) + "\n")
                        log.flush()
            while not points or points[-1] < 60:
                told = json.loads(page.recv(timeout=10)).get("curves", {})
                updates += told.get("step", [])
                points += told.get("epoch_step", [])
            assert updates == list(range(21, 61))
            assert points == [30, 40, 50, 60]
            assert time.monotonic() - began < 10


def test_runs_come_and_go(tmp_path):
    with studio(home=tmp_path) as found:
        assert found.get("/api/runs") == []
        write_run(tmp_path / "one")
        assert [row["name"] for row in found.get("/api/runs")] == ["one"]
        (tmp_path / "one").rename(tmp_path.parent / "elsewhere")
        assert found.get("/api/runs") == []


def test_one_run_can_be_named_instead_of_a_folder(tmp_path):
    run = write_run(tmp_path / "far" / "one")
    with studio(home=tmp_path / "runs", runs=(run, tmp_path / "far")) as found:
        assert [row["name"] for row in found.get("/api/runs")] == ["one"]


def test_comparison_is_paired(tmp_path):
    for name, right in (("a", 90), ("b", 70)):
        run = write_run(tmp_path / name, finished=True)
        rows = [f"{i}.png,cat,{'cat' if i < right else 'dog'},0.9" for i in range(100)]
        (run / "predictions.csv").write_text("image,true,predicted,probability\n" + "\n".join(rows))
    (tmp_path / "b" / "recipe.yaml").write_text("data:\n  source: digits\noptim:\n  clip_norm: 1\n")
    with studio(home=tmp_path) as found:
        ids = {row["name"]: row["id"] for row in found.get("/api/runs")}
        said = found.get(f"/api/compare?one={ids['a']}&other={ids['b']}")
        assert said["difference"] == pytest.approx(0.2)
        assert 0 < said["low"] < 0.2 < said["high"]
        assert said["knobs"] == [["optim.clip_norm", 0.0, 1.0]]
        for name, print_ in (("a", "one"), ("b", "other")):
            file = tmp_path / name / "dataset.json"
            data = json.loads(file.read_text()) | {"images_fingerprint": print_}
            file.write_text(json.dumps(data))
        said = found.get(f"/api/compare?one={ids['a']}&other={ids['b']}")
        assert said["difference"] is None
        assert "other images" in said["note"]
