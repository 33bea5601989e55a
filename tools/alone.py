"""Commands of `striate` as if only its own packages and those of some extras were installed.

    python tools/alone.py < jobs.json

A job is {"extras": […], "folder": "…", "commands": [["train", …], …]}; all are run one after the
other, each in a process of its own in its folder, where `output` and `errors` then hold what it
said and `code` the largest exit code. Other packages can neither be imported nor asked for their
version. What every job needs is imported once, before.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.metadata
import json
import os
import sys
import tomllib
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_found = importlib.metadata.Distribution.from_name
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def closure(requirements: Sequence[str]) -> set[str]:
    """The installed distributions that these requirements bring, theirs with them."""
    found: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        wanted, extra = waiting.pop()
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(wanted.name)
        for part in ("", *wanted.extras):
            if (name, part) not in found:
                found.add((name, part))
                waiting += [(each, part) for each in _requires(name)]
    return {name for name, _ in found}


def wanted_by(extras: Sequence[str]) -> list[str]:
    """The project's requirements with those of some extras."""
    optional = PROJECT["optional-dependencies"]
    return [*PROJECT["dependencies"], *(text for extra in extras for text in optional[extra])]


@functools.cache
def _requires(name: str) -> Sequence[Requirement]:
    try:
        return [Requirement(text) for text in _found(name).requires or []]
    except importlib.metadata.PackageNotFoundError:
        return []


class Visible(importlib.machinery.PathFinder):
    """Finds modules of the distributions that are allowed, and those that are of none."""

    roots: ClassVar[set[str]] = set()
    """Modules that are hidden."""
    owners: ClassVar[Mapping[str, list[str]]] = importlib.metadata.packages_distributions()

    @classmethod
    def only(cls, allowed: set[str]) -> None:
        cls.roots = {
            root
            for root, names in cls.owners.items()
            if not allowed & {canonicalize_name(name) for name in names}
        }

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname.partition(".")[0] in cls.roots:
            return None
        return super().find_spec(fullname, path, target)


def hide_all_but(allowed: set[str]) -> None:
    """From here on only these distributions are there."""
    Visible.only(allowed)
    usual = importlib.machinery.PathFinder
    sys.meta_path[:] = [Visible if finder is usual else finder for finder in sys.meta_path]
    importlib.invalidate_caches()

    def from_name(name: str) -> importlib.metadata.Distribution:
        if canonicalize_name(name) not in allowed:
            raise importlib.metadata.PackageNotFoundError(name)
        return _found(name)

    importlib.metadata.Distribution.from_name = from_name  # type: ignore[method-assign]


def run(job: Mapping[str, Any]) -> None:
    """A job in this process."""
    from striate.cli.main import main

    hide_all_but(closure(wanted_by(job["extras"])) | {"striate"})
    os.chdir(job["folder"])
    for stream, name in ((sys.stdout, "output"), (sys.stderr, "errors")):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream.fileno())
    codes = []
    for command in job["commands"]:
        try:
            codes.append(main(command))
        except SystemExit as stop:
            codes.append(stop.code if isinstance(stop.code, int) else 1)
        except BaseException:
            traceback.print_exc()
            codes.append(1)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    Path("code").write_text(str(max(codes)))


if __name__ == "__main__":
    jobs = json.load(sys.stdin)
    hide_all_but(closure(wanted_by([])) | {"striate"})
    for needed in ("torch._dynamo", "sklearn.linear_model", "scipy.stats", "striate.api.train"):
        importlib.import_module(needed)
    for job in jobs:
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            run(job)
            os._exit(0)
