"""Who is answered, and who is not (FAULTS F21, F23)."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.studio.runs import write_run
from tests.studio.server import TOKEN, studio

ADDRESSES = ("/", "/api/session", "/api/runs", "/api/knobs", "/assets/index.js", "/playground")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    write_run(home / "a-run", finished=True)
    (home.parent / "secret.txt").write_text("a secret that nobody may read")
    with studio(home=home) as found:
        yield found


def test_the_page_with_its_cookie_is_answered(served):
    for path in ADDRESSES:
        status, heads, _ = served.ask(path)
        assert status == 200, path
        assert "unsafe" not in heads["content-security-policy"]
        assert heads["x-content-type-options"] == "nosniff"


def test_without_the_token_nothing_is_answered(served):
    wrong = [None, "", f"striate-{served.port}=", f"striate-{served.port}={TOKEN}x",
             f"striate-1={TOKEN}", f"other={TOKEN}", "striate\x00=;;;"]  # fmt: skip
    for cookie in wrong:
        for path in ADDRESSES:
            status, _, body = served.ask(path, Cookie=cookie)
            assert status in (400, 401)  # 400: no cookie at all could be read
            assert len(body) < 200
    assert served.ask(f"/?token={TOKEN}x", Cookie=None)[0] == 401
    assert served.ask(f"/api/runs?token={TOKEN}", Cookie=None)[0] == 401


@pytest.mark.parametrize("others", ['x={"a":1}', "prefs=a b c", "a=1;;", "=;=", "x=é"])
def test_cookies_of_other_programs_do_not_lock_the_owner_out(served, others):
    cookie = f"{others}; {served.cookie}; more={{}}".encode().decode("latin-1")
    assert served.ask("/api/session", Cookie=cookie)[0] == 200


def test_a_tunnel_and_the_other_names_of_this_machine_are_answered(served):
    for host in (f"localhost:{served.port}", "localhost:9000", "127.0.0.1", "LOCALHOST:80"):
        assert served.ask("/api/session", Host=host)[0] == 200, host
    status, _, body = served.ask("/api/session", Host="striate.example")
    assert status == 403
    assert b"127.0.0.1" in body


def test_the_token_moves_from_the_address_into_a_cookie(served):
    status, heads, body = served.ask(f"/playground?token={TOKEN}", Cookie=None)
    assert (status, heads["location"], body) == (303, "/playground", b"")
    assert re.search("HttpOnly; SameSite=(Lax|Strict)", heads["set-cookie"])
    _, heads, _ = served.ask(f"//evil.example/?token={TOKEN}", Cookie=None)
    assert not heads["location"].startswith("//")


def test_200_other_origins_and_hosts_are_not_answered(served):
    draw, answered = random.Random(0), 0
    port = served.port
    for number in range(200):
        name = "".join(draw.choices("abcdefghij0123456789", k=8))
        evil = draw.choice([
            f"http://{name}.example", f"https://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}",
            f"http://localhost:{port}.{name}.example", "null", f"http://127.0.0.1.{name}.example",
            f"file://{name}", f"http://127.0.0.1:{port}@{name}.example", "http://[::1]:1",
            f"http://2130706433:{port}", f"chrome-extension://{name}",
        ])  # fmt: skip
        host = draw.choice([f"{name}.example:{port}", f"127.0.0.1.{name}:{port}", "[::2]",
                            f"localhost.{name}:{port}", f"2130706433:{port}", ""])  # fmt: skip
        path = draw.choice(ADDRESSES)
        tries = ({"Origin": evil}, {"Host": host}, {"Origin": f"http://{host}", "Host": host})
        method = draw.choice(["GET", "POST"]) if number % 2 else "GET"
        status, _, body = served.ask(path, method, **tries[number % 3])
        answered += status < 400 or b"{" in body
    assert answered == 0
    status, _, _ = served.ask("/api/runs", sec_fetch_site="cross-site")
    assert status == 403
    status, _, _ = served.ask("/api/trainings", "POST", {"source": "digits"}, Origin=None)
    assert status == 403


@pytest.mark.parametrize("heads", [{"Origin": "http://evil.example"}, {"Cookie": None}])
@pytest.mark.parametrize("path", ["live", "play"])
def test_sockets_are_guarded_too(served, path, heads):
    own = {"Cookie": served.cookie, "Origin": served.url} | heads
    own = {name: value for name, value in own.items() if value is not None}
    with pytest.raises(InvalidStatus), connect(
        f"ws://127.0.0.1:{served.port}/api/{path}", additional_headers=own
    ):  # fmt: skip
        pass


def test_1000_traversals_leak_nothing(served):
    draw, leaked = random.Random(1), 0
    ups = ["../", "..%2f", "%2e%2e/", "..\\", "..%5c", "%252e%252e%252f", "....//", "%c0%ae%c0%ae/",
           "/", "//", "./", "%00", "..;/"]  # fmt: skip
    ends = [
        "secret.txt",
        "etc/passwd",
        "a-run/records.jsonl",
        "environment.json",
        "proc/self/environ",
    ]
    starts = ["/", "/assets/", "/api/runs/", "/api/sets/", "/api/waiting/", "/api/ask/", "/run/",
              "/api/runs/{}/curves", "/api/compare?one=", "/api/sets/{}/sheet"]  # fmt: skip
    for _ in range(1000):
        evil = "".join(draw.choices(ups, k=draw.randint(1, 7))) + draw.choice(ends)
        start = draw.choice(starts)
        path = start.format(evil) if "{}" in start else start + evil
        _, _, body = served.ask(path.replace(" ", "%20"))
        leaked += b"a secret" in body or b"root:" in body or b'"kind"' in body or b"PATH=" in body
    assert leaked == 0


def test_a_studio_that_only_shows_changes_nothing(tmp_path):
    write_run(tmp_path / "runs" / "one")
    with studio(home=tmp_path / "runs", read_only=True) as shown:
        run = shown.get("/api/runs")[0]["id"]
        for path in (
            "/api/trainings",
            f"/api/runs/{run}/branch",
            f"/api/runs/{run}/pause",
            f"/api/sets/{run}/doubt",
            f"/api/sets/{run}/check",
            "/api/sources?name=a.zip",
        ):
            assert shown.ask(path, "POST", {})[0] == 403, path
        assert shown.ask("/api/waiting/x", "DELETE")[0] == 403
        asked = {"expression": "x*2", "values": {"x": "3"}}
        assert shown.post("/api/labs/graph", asked)[0] == 200
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["one"]


def test_bodies_are_bounded(served):
    status, _, _ = served.ask("/api/labs/graph", "POST", b"x" * 21_000_000)
    assert status == 413
    deep = b'{"a":' * 5000 + b"1" + b"}" * 5000
    assert served.ask("/api/labs/graph", "POST", deep, Content_Type="application/json")[0] >= 400


@pytest.mark.parametrize(
    ("name", "kept"),
    [("birds.zip", "birds.zip"), ("../../up.zip", "up.zip"), ("..\\up.tar", "up.tar"),
     ("a b<script>.zip", "a b-script-.zip"), (".zip", ""), ("evil.py", ""), ("x.zip/", ""),
     ("/etc/passwd", ""), ("x" * 300 + ".zip", "")],
)  # fmt: skip
def test_uploads_stay_in_the_data_directory(tmp_path, name, kept):
    from urllib.parse import quote

    (tmp_path / "data").mkdir()
    with studio(home=tmp_path / "runs", data=tmp_path / "data") as found:
        status, _, _ = found.ask(f"/api/sources?name={quote(name)}", "POST", b"PK\x05\x06")
        assert status == (200 if kept else 400)
        if kept:  # the same name again is refused, what is there stays
            assert found.ask(f"/api/sources?name={quote(name)}", "POST", b"other")[0] == 400
            assert (tmp_path / "data" / kept).read_bytes() == b"PK\x05\x06"
    inside = [p.name for p in (tmp_path / "data").iterdir()]
    assert inside == ([kept] if kept else [])
    assert sorted(p.name for p in tmp_path.iterdir()) in (["data"], ["data", "runs"])


def test_it_listens_on_loopback_only(tmp_path):
    """F23, as the kernel tells it: no other address of this machine is bound."""
    code = (
        "import sys; from striate.cli.main import main; sys.exit(main(['studio', '--port', '0']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        told = process.stdout.readline()
        port = int(re.search(r"127\.0\.0\.1:(\d+)/\?token=([\w-]{22})", told)[1])
        listening = [
            line.split()[1] for name in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
            if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
        ]  # fmt: skip
        process.terminate()
    assert listening == [f"0100007F:{port:04X}"]


def test_every_refusal_is_a_sentence(served):
    for path, body in (
        ("/api/labs/descend", {"rate": "x"}), ("/api/labs/none", {}),
        ("/api/trainings", {"source": "/etc"}), ("/api/runs/none/branch", {}),
        ("/api/labs/convolution", {"image": [[1, 2]], "kernel": [[1]]}),
        ("/api/labs/graph", {"expression": "__import__('os')", "values": {}}),
        ("/api/labs/graph", {"expression": "x*y", "values": {"x": "1"}}),
        ("/api/trainings", {"source": "digits", "knobs": {"data.source": "/etc"}}),
    ):  # fmt: skip
        status, said = served.post(path, body)
        assert status == 400, (path, said)
        assert said["message"]
        assert "Traceback" not in json.dumps(said)
    _, said = served.post("/api/labs/graph", {"expression": "x*y", "values": {"x": "1"}})
    assert "no value for 'y'" in said["message"]
