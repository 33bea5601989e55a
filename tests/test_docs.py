"""README and docs run: every `console` command and `python` block, in order, in one folder a page.

Shown output must appear in order; `…` stands for anything, and figures may differ.
"""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from striate.core import recipe as recipe_module
from striate.data.augment import AUGMENTATIONS
from striate.data.sources import SOURCES
from striate.ladder.rungs import RUNGS
from striate.models.detectors import DETECTORS
from striate.models.initialise import INITIALISERS
from striate.models.zoo import ARCHITECTURES
from striate.optim.rules import UPDATE_RULES
from striate.optim.schedules import SCHEDULES
from striate.tasks import TASKS
from striate.tasks.classify.losses import LOSSES

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "docs" / "labs" / "index.md",
]  # fmt: skip
SHARED = "striate train digits --epochs 8 --run runs/eight"
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.M | re.S)
FIGURE = re.compile(r"\d[\d,.]*")
LONGER = re.compile(r"# (?:h|min)(?: # (?:min|s))?")
"""A time that is seconds on a faster machine."""


def commands(block):
    """(command, shown lines) pairs of a console block."""
    found = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def skeleton(line):
    """The line without what differs between machines: figures, spacing, the best-epoch star."""
    plain = FIGURE.sub("#", line)
    return " ".join(LONGER.sub("# s", plain).replace("*", " ").split())


def assert_shown(shown, out):
    """Each shown line, in order; a line or a line's end `…` matches anything."""
    lines = iter([skeleton(line) for line in out.splitlines()])
    for line in shown:
        want = skeleton(line)
        if want in ("…", ""):
            continue
        start = want.split("…")[0].strip()
        exact = "…" not in want
        assert any(got == want if exact else got.startswith(start) for got in lines), line


@pytest.fixture
def page_cli(striate_cli, tmp_path, tmp_path_factory):
    """Runs a command as it stands on a page. The training that several pages begin with is done
    once: it would be the same again, so its run is copied and its output repeated."""

    def run(command):
        arguments = shlex.split(command)[1:]
        if command != SHARED:
            return striate_cli(*arguments)
        kept, here = tmp_path_factory.getbasetemp() / "shared", tmp_path / "runs" / "eight"
        said = kept / "said.json"
        if said.exists():
            shutil.copytree(kept / "eight", here)
        else:
            ended = striate_cli(*arguments)
            shutil.copytree(here, kept / "eight")
            said.write_text(json.dumps(ended))
        return json.loads(said.read_text())

    return run


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_page(page, page_cli):
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert blocks, "a page without an executed example"
    program = {"__name__": "__main__"}  # a page's blocks are one, as a reader types them
    for language, block in blocks:
        if language == "python":
            exec(compile(block, page.name, "exec"), program)
            continue
        for line, shown in commands(block):
            command, _, code = line.partition("# exit code ")
            name = shlex.split(command)[0]
            assert name == "striate", f"only striate commands are executed, found: {command}"
            ended, out, err = page_cli(command.strip())
            assert ended == int(code or 0), (command, err)
            assert_shown(shown, out)


def test_the_page_of_maps_is_complete():
    """docs/extending.md and the recipe's own texts name every member."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    page = page.replace("vgg11…19[_bn]", " ".join(n for n in ARCHITECTURES if "vgg" in n))
    page = page.replace("resnet18…152", " ".join(n for n in ARCHITECTURES if "resnet" in n))
    recipe = Path(recipe_module.__file__).read_text(encoding="utf-8")
    maps = [
        ARCHITECTURES, INITIALISERS, LOSSES, UPDATE_RULES, SCHEDULES, AUGMENTATIONS, SOURCES,
        DETECTORS, RUNGS, TASKS,
    ]  # fmt: skip
    for names in maps:
        assert [n for n in names if not re.search(rf"\b{n}\b", page)] == []
    for names in (INITIALISERS, LOSSES, UPDATE_RULES, SCHEDULES, DETECTORS):
        assert [n for n in names if not re.search(rf"\b{n}\b", recipe)] == []


def test_the_check_can_fail():
    assert_shown(["a 1", "…", "b 2.5 *"], "a 9\nx\nb 3.1\n")
    with pytest.raises(AssertionError):
        assert_shown(["b 1", "a 2"], "a 1\nb 2\n")
