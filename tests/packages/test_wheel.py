"""What is shipped: the same bytes twice, only what belongs in it; it runs without the repository.

Offline: it is built with the hatchling that is installed here, and its dependencies are those of
the tests' environment.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import striate
from tools import licences

ROOT = Path(__file__).parents[2]
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # since Python 3.11.4
SHIPPED = ("src/striate", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore")
KINDS = {".py", ".typed", ".j2", ".html", ".css", ".js", ".svg", ".txt"}


def built(source, target, form):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", form, "-d", str(target)],
        cwd=source, check=True, capture_output=True,
    )  # fmt: skip
    (found,) = target.iterdir()
    return found


def copied(target):
    """The sources elsewhere, with other times."""
    for name in SHIPPED:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, place, copy_function=shutil.copyfile,
                ignore=shutil.ignore_patterns("__pycache__"),
            )  # fmt: skip
        else:
            shutil.copyfile(ROOT / name, place)
    return target


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


def test_the_wheel_has_only_what_belongs_in_it(wheel):
    assert wheel.name == f"striate-{striate.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    own = [name for name in names if ".dist-info/" not in name]
    assert {name.partition("/")[0] for name in own} == {"striate"}
    assert {Path(name).suffix for name in own} <= KINDS
    assert not [name for name in own if "__pycache__" in name]
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "striate/studio/static/licences.txt" in names  # of what the page contains of others


def test_the_same_sources_are_the_same_bytes(wheel, tmp_path):
    again = built(copied(tmp_path / "elsewhere"), tmp_path / "again", "wheel")
    assert digest(again) == digest(wheel)


def test_the_source_archive_builds_the_same_wheel(wheel, tmp_path):
    archive = built(ROOT, tmp_path / "sdist", "sdist")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "source", **SAFELY)
    (source,) = (tmp_path / "source").iterdir()
    top = {path.name for path in source.iterdir()}
    assert top == {Path(name).parts[0] for name in SHIPPED} | {"PKG-INFO"}
    assert digest(built(source, tmp_path / "again", "wheel")) == digest(wheel)


@pytest.mark.slow
def test_the_wheel_alone_trains_in_an_empty_folder(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    scripts = tmp_path / "venv" / "bin"
    quiet = ["--no-index", "--no-deps", "--disable-pip-version-check", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install",
                    *quiet, str(wheel)], check=True)  # fmt: skip
    folder = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")})
    Path(folder, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    surroundings = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"),
        "STRIATE_CACHE": str(tmp_path / "cache"),
        "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9",
    }  # fmt: skip
    empty = tmp_path / "empty"
    empty.mkdir()

    def said(*words):
        ended = subprocess.run(words, cwd=empty, env=surroundings, text=True, check=True,
                               stdout=subprocess.PIPE)  # fmt: skip
        return ended.stdout.strip()

    place = said(scripts / "python", "-c", "import striate; print(striate.__file__)")
    assert place.startswith(folder)
    assert said(scripts / "striate", "--version") == f"striate {striate.__version__}"
    said(scripts / "striate", "train", "--epochs", "20", "--model", "lenet", "--run", "run")
    shown = said(scripts / "striate", "evaluate", "run", "--json").splitlines()[-1]
    assert json.loads(shown)["test"]["accuracy"] > 0.5


@pytest.fixture(scope="module")
def found():
    return licences.packages()


def test_every_licence_may_stand_beside_ours(found):
    assert len(found) > 80
    assert [part for part in found if not part.allowed] == []
    assert {"torch", "optuna", "fastapi", "onnx"} <= {part.name for part in found}
    assert "mypy" not in {part.name for part in found}


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True), ("BSD-3-Clause AND MIT", True), ("Apache Software License", True),
        ("MPL-2.0 AND MIT", True), ("AGPL-3.0", False), ("GPL-3.0-or-later", False),
        ("GNU General Public License v3 (GPLv3)", False), ("", False), ("Proprietary", False),
        ("MIT AND AGPL-3.0-only", False), ("CC-BY-NC-4.0", False),
    ],
)  # fmt: skip
def test_licences_are_told_apart(licence, allowed):
    assert licences.Package("x", "1", licence, (), ()).allowed is allowed


def test_the_bill_of_materials_names_every_package_of_the_lock(found):
    bill = licences.bill(found)
    assert bill == licences.bill(found)
    assert {part["purl"] for part in bill["components"]} == {
        f"pkg:pypi/{part.name}@{part.version}" for part in found
    }
    assert all(part["properties"][0]["value"] for part in bill["components"])


def test_the_image_is_built_from_what_is_there():
    """There may be no container engine here: what the Dockerfile needs is looked at."""
    text = (ROOT / "Dockerfile").read_text()
    copied_in = re.search(r"COPY (requirements.+) \./", text)[1].split()
    assert all((ROOT / name).is_file() for name in copied_in)
    let_in = (ROOT / ".dockerignore").read_text()
    assert all(f"!{name}" in let_in for name in (*copied_in, "src"))
    assert "USER 1000" in text
    assert re.search(r"HEALTHCHECK .*\n.*/healthz", text)
    service = {
        name: version for name, version, _ in licences.locked(ROOT / "requirements-serve.lock")
    }
    whole = {name: version for name, version, _ in licences.locked()}
    assert service.items() <= whole.items()
    assert {"torch", "fastapi", "onnxruntime"} <= service.keys()
    assert "mypy" not in service


def test_the_lock_without_sums_is_a_list_of_versions():
    """What the Dockerfile makes of it for an index of torch's CPU builds."""
    text = (ROOT / "Dockerfile").read_text()
    command = re.search(r"sed '(.+)' requirements-serve", text)[1]
    shown = subprocess.run(["sed", command, str(ROOT / "requirements-serve.lock")],
                           capture_output=True, text=True, check=True).stdout  # fmt: skip
    lines = shown.splitlines()
    assert all(re.match(r"[\w.-]+==[\w.!+-]+( ;.*)?$", line) for line in lines)
    assert not [line for line in lines if line.startswith(("nvidia", "triton", "cuda"))]
    assert len(lines) > 60
