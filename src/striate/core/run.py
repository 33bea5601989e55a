"""The run directory: one training whole. This module knows its files, not what they mean."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from striate.core import records
from striate.core.errors import RunError
from striate.core.files import disk_faults_explained, write_json

FORMAT = 1
"""Version of the folder's layout, in environment.json."""


PREFLIGHT = "preflight.json"
"""What was found before the training: it may be there first."""
MOVED = "moved.json"
"""Where a run's data are now, if they are not where its recipe says."""
AVERAGES, ADOPTED = "averages.safetensors", "averages-adopted.safetensors"
"""Batch norm's averages estimated anew, offered; and those that the run answers with."""


class RunDirectory:
    """Paths and plain contents of a run. Opening one that is not a run raises RunError."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise RunError(
                f"no run directory {self.path}", "`striate runs` lists the runs that there are."
            )
        if not (self.path / "environment.json").is_file():
            raise RunError(
                f"{self.path} is not a run: it has no environment.json",
                "A run is a folder made by `striate train`, such as runs/2026-11-21-1432-digits.",
            )
        version = self.read_json("environment.json").get("format")
        if version != FORMAT:
            raise RunError(
                f"{self.path} has format {version!r}; this version reads format {FORMAT}",
                "Use the version of Striate that wrote it (see its environment.json).",
            )

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the run. Raises RunError if it is missing or damaged."""
        path = self.path / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(
                f"{path} is missing: the run is damaged or has not got that far",
                "Train again, or copy the whole folder once more.",
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"{path} is damaged: {error}", "Copy the whole run once more.") from None
        if not isinstance(value, dict):
            raise RunError(f"{path} is damaged: expected an object")
        return value

    def records(self) -> Iterator[records.Record]:
        """The log, oldest first. A cut last line (a crash while writing) is left out."""
        path = self.path / "records.jsonl"
        if not path.exists():
            return
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], start=1):
            try:
                yield records.from_json(line.decode("utf-8"))
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(f"{path}, line {number}, is damaged: {error}") from None

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"


def reserve_run(path: str | Path | None, name: str) -> Path:
    """Choose and make the (empty) folder of a new run: `runs/<date>-<name>` by default.

    A run without a checkpoint starts again in its folder. Raises RunError for a non-empty folder
    that is not a run and for a run that has checkpoints.
    """
    if path:
        folder = Path(path)
        if folder.exists():
            _refuse_foreign(folder)
        with disk_faults_explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder
    return _make_unused(name)


def reserve_folder(path: str | Path | None, name: str) -> Path:
    """Choose and make the folder of several runs; one that is there may be used again.

    Raises RunError for a folder that is a run itself.
    """
    if not path:
        return _make_unused(name)
    folder = Path(path)
    if (folder / "environment.json").is_file():
        raise RunError(f"{folder} is a run, not a folder of runs", "Give another folder.")
    with disk_faults_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def has_checkpoint(folder: Path) -> bool:
    """Whether there is something to resume."""
    return any((folder / "checkpoints").glob("step-*/manifest.json"))


def release_run(folder: Path) -> None:
    """Undo `reserve_run` when the checks fail: an empty folder goes, anything else stays."""
    with contextlib.suppress(OSError):
        folder.rmdir()
        if folder.parent == Path("runs"):
            folder.parent.rmdir()


def begin_run(folder: Path, environment: dict[str, Any]) -> RunDirectory:
    """Turn a reserved (and locked) folder into a run."""
    write_json(folder / "environment.json", {"format": FORMAT, **environment})
    with disk_faults_explained(folder):
        (folder / "checkpoints").mkdir(exist_ok=True)
    return RunDirectory(folder)


def find_runs(folder: str | Path) -> list[RunDirectory]:
    """All runs directly inside `folder` (or `folder` itself), oldest name first."""
    root = Path(folder)
    if (root / "environment.json").is_file():
        return [RunDirectory(root)]
    if not root.is_dir():
        raise RunError(f"no folder {root}", "Runs are made by `striate train`, in ./runs.")
    found = []
    for child in sorted(root.iterdir()):
        with contextlib.suppress(RunError):
            found.append(RunDirectory(child))
    return found


@contextlib.contextmanager
def locked(folder: Path, name: str = "lock", patience: float = 0) -> Iterator[None]:
    """Hold a folder for writing, or what else a lock file's name stands for. Raises RunError if
    another process still holds it after `patience` seconds."""
    with disk_faults_explained(folder / name):
        opened = (folder / name).open("a+", encoding="utf-8")
    with opened as file:
        last = time.monotonic() + patience
        while not (held := _try_lock(file)) and time.monotonic() < last:
            time.sleep(0.1)
        if not held:
            file.seek(0)
            raise RunError(
                f"{folder} is being written by process {file.read().strip() or 'unknown'}",
                "Wait for it, or stop it first.",
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_locked(folder: Path) -> bool:
    """Whether a process is at work in a run now."""
    try:
        import fcntl
    except ImportError:  # Windows: nobody knows
        return False
    try:
        with (folder / "lock").open(encoding="utf-8") as file:  # reading: the disk may be read-only
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _try_lock(file: IO[str]) -> bool:
    """The kernel frees the lock when its process ends, so a crash leaves none behind."""
    try:
        import fcntl
    except ImportError:  # Windows: no advisory lock, one writer is the user's duty
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _make_unused(name: str) -> Path:
    """mkdir decides between two trainings that start in the same minute."""
    stem = f"{datetime.now().astimezone():%Y-%m-%d-%H%M}-{name}"
    with disk_faults_explained(Path("runs")):
        Path("runs").mkdir(exist_ok=True)
        for number in itertools.count(1):
            folder = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    raise AssertionError("unreachable")


def _refuse_foreign(folder: Path) -> None:
    if not folder.is_dir():
        raise RunError(f"{folder} is a file", "Give --run a folder that does not exist yet.")
    if all(child.name in ("lock", PREFLIGHT) for child in folder.iterdir()):
        return
    if not (folder / "environment.json").is_file():
        raise RunError(
            f"{folder} is not empty and not a run", "Give --run a folder that does not exist yet."
        )
    if has_checkpoint(folder):
        raise RunError(
            f"{folder} is a run that has checkpoints",
            f"Continue it with `striate resume {folder}`, or give --run another folder.",
        )
