"""The service answers as the run does, refuses in words, and stays within its bounds."""

import base64
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import striate
from striate.core.errors import RunError
from striate.data.decode import UndecodableError
from striate.serve.batching import Batcher
from striate.serve.service import Bounds, Service, open_service
from tests.conftest import COLOURS, encoded, picture

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("python_multipart")
testclient = pytest.importorskip("starlette.testclient")

from striate.serve.app import make_app  # noqa: E402


def png(colour, size=(20, 20), form="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, form)
    return buffer.getvalue()


RED, GREEN = (encoded(picture(COLOURS[name])) for name in ("red", "green"))


@pytest.fixture(scope="module")
def run(trained):
    return striate.Run(trained[0])


@pytest.fixture(scope="module")
def service(run):
    found = Service(run.predictor, run.settled.shape, Bounds(body=100_000, images=4))
    yield found
    found.close()


@pytest.fixture(scope="module")
def client(service):
    gate, _ = make_app(service)
    gate.ready = True
    return testclient.TestClient(gate, base_url="http://127.0.0.1")


def test_every_way_to_send_images_gets_the_runs_answers(client, run):
    expected = [p.to_json() for p in run.predict([np.asarray(Image.open(io.BytesIO(RED)))], top=3)]
    raw = client.post("/predict?top=3", content=RED, headers={"content-type": "image/png"})
    form = client.post("/predict?top=3", files=[("image", ("a.png", RED)), ("b", ("b.png", GREEN))])
    texts = [base64.b64encode(data).decode() for data in (RED, GREEN)]
    plain = client.post("/predict?top=3", json={"images": texts})
    for found in (raw, form, plain):
        assert found.status_code == 200, found.text
        first = found.json()["answers"][0]
        assert first["class"] == expected[0]["class"] == "red"
        assert [t["class"] for t in first["top"]] == [t["class"] for t in expected[0]["top"]]
        assert first["probability"] == pytest.approx(expected[0]["probability"], abs=1e-4)
    assert [a["image"] for a in form.json()["answers"]] == ["a.png", "b.png"]
    assert form.json()["answers"][1]["class"] == "green"
    assert len(client.post("/predict", content=RED).json()["answers"][0]["top"]) == 1


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ({"content": b"no image"}, 422, "not an image"),
        ({"content": b""}, 422, "no image"),
        ({"content": RED[:60]}, 422, "image: "),
        ({"content": b"x" * 200_000}, 413, "100,000 bytes"),
        ({"files": [("image", (f"{i}.png", RED)) for i in range(5)]}, 413, "at most 4 images"),
        ({"files": [("a", ("good.png", RED)), ("b", ("bad.png", b"?"))]}, 422, "bad.png"),
        ({"json": {"pictures": []}}, 422, "base64"),
        ({"json": {"images": ["no base64!"]}}, 422, "base64"),
        ({"json": {"images": 3}}, 422, "base64"),
        ({"content": RED, "params": {"top": 0}}, 422, "top: "),
        ({"content": RED, "params": {"top": "all"}}, 422, "top: "),
    ],
)
def test_what_cannot_be_answered_is_said(client, how, status, said):
    found = client.post("/predict", **how)
    assert found.status_code == status
    assert said in found.json()["error"]


def test_sizes_are_refused_by_their_header(run):
    how = run.settled.shape
    small = Service(run.predictor, type(how)(how.size, how.channels, how.resize, 0.01), Bounds())
    with pytest.raises(UndecodableError, match="megapixels"):
        small.ask(png((0, 0, 0), (2000, 2000)), "large.png").result()
    small.close()


def test_machines_can_look_after_it(client):
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").status_code == 200
    assert client.get("/classes").json()["classes"] == ["blue", "green", "red"]
    client.post("/predict", content=RED)
    text = client.get("/metrics").text
    assert 'striate_requests_total{status="200"}' in text
    assert "striate_request_seconds_bucket" in text
    assert "/predict" in client.get("/openapi.json").json()["paths"]
    assert "Drop pictures" in client.get("/").text
    assert "GET /nowhere" in client.get("/nowhere").json()["error"]
    assert "GET /predict" in client.get("/predict").json()["error"]


def test_before_it_is_ready_it_lives_and_is_busy(service):
    gate, _ = make_app(service)
    client = testclient.TestClient(gate, base_url="http://localhost")
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    found = client.post("/predict", content=RED)
    assert found.status_code == 503
    assert found.headers["retry-after"] == "1"


def test_who_is_not_known_gets_nothing(service):
    gate, _ = make_app(service, "secret", local=False)
    gate.ready = True
    client = testclient.TestClient(gate, base_url="http://somewhere")
    assert client.get("/healthz").status_code == 200
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer sécret"}):
        raw = {k: v.encode("latin-1") for k, v in headers.items()}
        assert client.post("/predict", content=RED, headers=raw).status_code == 401
        assert client.get("/metrics", headers=raw).status_code == 401
    good = client.post("/predict", content=RED, headers={"authorization": "Bearer secret"})
    assert good.status_code == 200


def test_a_page_of_another_host_cannot_ask(service):
    gate, _ = make_app(service)
    gate.ready = True
    client = testclient.TestClient(gate, base_url="http://evil.example")
    assert client.post("/predict", content=RED).status_code == 403


class Slow:
    """A predictor that takes its time."""

    classes, size = ("a",), 8

    def __init__(self):
        self.go, self.sizes = threading.Event(), []

    def answers(self, store, names, top):
        self.go.wait(10)
        self.sizes.append(len(store))
        return [type("Answer", (), {"to_json": lambda self, n=n: {"image": n}})() for n in names]


def test_more_than_it_can_bear_is_turned_away_at_once(run):
    slow = Slow()
    service = Service(slow, run.settled.shape, Bounds(waiting=3, batch=2))
    gate, _ = make_app(service)
    gate.ready = True
    with testclient.TestClient(gate, base_url="http://127.0.0.1") as client:
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(client.post, "/predict", content=RED) for _ in range(8)]
            end = time.time() + 10
            while sum(a.done() for a in asked) < 5 and time.time() < end:
                time.sleep(0.01)
            turned_away = [a.result() for a in asked if a.done()]
            assert [r.status_code for r in turned_away] == [503] * 5
            assert client.get("/readyz").status_code == 503
            slow.go.set()
            codes = sorted(a.result().status_code for a in asked)
        assert codes == [200] * 3 + [503] * 5
        assert gate.waiting == 0
        assert client.get("/readyz").status_code == 200
    service.close()
    assert max(slow.sizes) <= 2


def test_a_request_that_takes_too_long_ends(run):
    slow = Slow()
    service = Service(slow, run.settled.shape, Bounds(seconds=0.2))
    gate, _ = make_app(service)
    gate.ready = True
    with testclient.TestClient(gate, base_url="http://127.0.0.1") as client:
        assert client.post("/predict", content=RED).status_code == 503
        assert gate.waiting == 0
        slow.go.set()
        assert client.post("/predict", content=RED).status_code == 200
    service.close()


def test_batches_gather_what_waits_and_a_fault_is_that_batchs_alone():
    sizes, block = [], threading.Event()

    def work(items):
        block.wait(10)
        sizes.append(len(items))
        if "bad" in items:
            raise ValueError("bad batch")
        return [item.upper() for item in items]

    batcher = Batcher(work, 3, 0.01)
    first = batcher.ask("a")
    time.sleep(0.1)  # it is at work on the first alone
    rest = [batcher.ask(item) for item in ("b", "c", "d")]
    gone = batcher.ask("gone")
    gone.cancel()
    bad = batcher.ask("bad")
    block.set()
    assert first.result(10) == "A"
    assert [f.result(10) for f in rest] == ["B", "C", "D"]
    with pytest.raises(ValueError, match="bad batch"):
        bad.result(10)
    assert batcher.ask("e").result(10) == "E"
    batcher.close()
    assert sizes[:2] == [1, 3]
    assert not batcher._thread.is_alive()


def test_nothing_there_is_said(tmp_path, striate_cli):
    with pytest.raises(RunError, match="no run and no file"):
        open_service(tmp_path / "nowhere", Bounds())
    code, _, err = striate_cli("serve", "nowhere")
    assert code == 2
    assert "no run and no file" in err
    code, _, err = striate_cli("serve", "nowhere", "--batch", "0")
    assert code == 2
    assert "--batch" in err


def test_a_file_is_served_as_its_run(run, tmp_path):
    path = striate.export_run(run.path, "torch", tmp_path / "net.pt2").path
    service = open_service(path, Bounds())
    service.warm_up()
    answer = service.ask(GREEN, "green.png").result()
    assert json.loads(json.dumps(answer.to_json()))["class"] == "green"
    service.close()
