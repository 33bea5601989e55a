"""A real studio on a free port, in a thread, and plain requests to it."""

import contextlib
import http.client
import json
import threading
import time

import uvicorn

from striate.core.listening import listen
from striate.studio.app import Options, make_app
from striate.studio.guard import Guard
from striate.studio.server import _names

TOKEN = "a-token-of-tests_0123456"


class Studio:
    """Its port, and requests as its own page makes them (or another one)."""

    def __init__(self, port, guard):
        self.port, self.guard = port, guard

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def cookie(self):
        return f"striate-{self.port}={TOKEN}"

    def ask(self, path, method="GET", body=None, **heads):
        """(status, headers, body) with the cookie; a header that is None is left out."""
        given = {"Cookie": self.cookie, "Host": f"127.0.0.1:{self.port}"}
        if method != "GET":
            given["Origin"] = self.url
        given |= {name.replace("_", "-"): value for name, value in heads.items()}
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        link.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in given.items():
            if value is not None:
                link.putheader(name, value)
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        link.putheader("Content-Length", str(len(data)))
        if data and not isinstance(body, bytes):
            link.putheader("Content-Type", "application/json")
        link.endheaders(data)
        answer = link.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        link.close()
        return found

    def get(self, path):
        """The message at an address."""
        status, _, body = self.ask(path)
        assert status == 200, (path, status, body[:500])
        return json.loads(body)

    def post(self, path, body):
        """(status, message)."""
        status, _, found = self.ask(path, "POST", body)
        return status, json.loads(found)


@contextlib.contextmanager
def studio(*, read_only=False, **options):
    listening = listen("127.0.0.1", [0], "")
    port = listening.getsockname()[1]
    app = make_app(Options(read_only=read_only, **options))
    guard = Guard(app, TOKEN, _names("127.0.0.1"), port, read_only)
    server = uvicorn.Server(uvicorn.Config(
        guard, log_level="critical", access_log=False, ws="websockets-sansio",
        timeout_graceful_shutdown=1,
    ))  # fmt: skip
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Studio(port, guard)
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()


def wait_for(check, seconds=60.0, every=0.1):
    """What `check` answers, as soon as it is true."""
    last = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < last, "it did not happen in time"
        time.sleep(every)
    return found
