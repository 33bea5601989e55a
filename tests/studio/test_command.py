"""`striate studio` with wrong input says what is wrong."""

import socket
import sys

import pytest


def test_without_its_packages_it_says_how_to_get_them(striate_cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    code, _, err = striate_cli("studio")
    assert code == 2
    assert "fastapi is not installed" in err
    assert "striate[studio]" in err


@pytest.mark.parametrize("words", [("nowhere",), ("--data", "nowhere")])
def test_folders_must_be_there(striate_cli, words):
    code, _, err = striate_cli("studio", *words)
    assert code == 2
    assert "no folder nowhere" in err


def test_a_port_that_is_taken_is_said(striate_cli):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = striate_cli("studio", "--port", port)
    assert code == 2
    assert f"port {port}" in err
    assert "--port N" in err


def test_a_port_that_there_is_not_is_said(striate_cli):
    code, _, err = striate_cli("studio", "--port", 99999)
    assert code == 2
    assert "there is no port 99999" in err


def test_a_host_that_is_not_known_is_said(striate_cli):
    code, _, err = striate_cli("studio", "--host", "not.a.host.invalid")
    assert code == 2
    assert "not.a.host.invalid" in err
    assert "--host" in err


def test_a_file_cannot_be_the_home(striate_cli, tmp_path):
    (tmp_path / "runs.txt").write_text("")
    code, _, err = striate_cli("studio", "--home", tmp_path / "runs.txt")
    assert code == 2
    assert "runs.txt is a file" in err
