"""The service as a program: it listens where it should, answers, and ends in order."""

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.conftest import COLOURS, encoded, picture

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("python_multipart")


@pytest.fixture
def server(trained):
    """(process, port) of `striate serve` on a trained run, once it is ready."""
    command = [sys.executable, "-m", "striate", "serve", str(trained[0]), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(re.search(r"http://127.0.0.1:(\d+)", process.stdout.readline())[1])
            end = time.time() + 60
            while asked(port, "GET", "/readyz")[0] != 200:
                assert time.time() < end
                time.sleep(0.1)
            yield process, port
        finally:
            process.kill()


def asked(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body)
    response = connection.getresponse()
    found = response.status, response.read().decode()
    connection.close()
    return found


def red():
    return encoded(picture(COLOURS["red"]))


def test_it_answers_this_machine_and_ends_when_it_is_told_to(server):
    process, port = server
    assert '"class":"red"' in asked(port, "POST", "/predict", red())[1]
    with pytest.raises(ConnectionRefusedError):  # nothing listens on other addresses (F23)
        socket.create_connection((_other_address(), port), timeout=5)
    found = []

    def call():
        with contextlib.suppress(OSError, http.client.HTTPException):  # it came too late
            found.append(asked(port, "POST", "/predict", red())[0])

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    process.send_signal(signal.SIGTERM)
    for caller in callers:
        caller.join(30)
    assert process.wait(30) == 0
    assert set(found) <= {200}  # what was begun was answered; who came later met a closed door


def _other_address():
    """An address of this machine that is not 127.0.0.1."""
    return "127.0.0.2" if sys.platform == "linux" else socket.gethostbyname(socket.gethostname())


def test_a_port_that_is_taken_is_said(trained, striate_cli):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = striate_cli("serve", trained[0], "--port", port)
    assert code == 2
    assert f"port {port}" in err
    code, _, err = striate_cli("serve", trained[0], "--port", 99999)
    assert code == 2
    assert "no port 99999" in err
