"""Trainings as processes of their own, started through the public command.

The studio is not their master: they have a session of their own, so they go on when it is closed or
killed, and whoever opens a studio on the same folder sees and steers them. What is known of a job
lies beside the runs, in `.studio/`, until its run directory tells everything.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from striate.api.branch import prepare_branch, starts_anew
from striate.core import recipe_io
from striate.core.errors import RunError, StriateError
from striate.core.files import disk_faults_explained, write_atomically, write_json
from striate.core.recipe import Recipe
from striate.core.run import RunDirectory, is_locked
from striate.plan.recall import settled_recipe
from striate.plan.refuse import check_used

_HERE = ".studio"
_BETWEEN = 0.3
"""Seconds between the signal that asks and the one that stops at once."""


@dataclass(frozen=True)
class Job:
    """A process that was started here, as far as its run directory does not tell it."""

    name: str
    folder: Path
    pid: int
    log: Path
    began: bool = False
    """Whether its folder has been a run already."""

    @property
    def alive(self) -> bool:
        """Whether the process is there and is ours: its command names the run's folder."""
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes()
            return os.fsencode(self.folder) in words
        except FileNotFoundError:
            return False if Path("/proc/self").exists() else _answers(self.pid)
        except OSError:
            return False

    def complaint(self) -> str:
        """Why it ended, where it was not asked to; "" where nothing went wrong."""
        lines = self.last_words().splitlines()
        starts = [i for i, line in enumerate(lines) if line.startswith(("striate: ", "Traceback"))]
        if not starts or lines[starts[-1]].startswith("striate: stopped"):
            return ""
        return "\n".join(lines[starts[-1] :]).removeprefix("striate: ")

    def last_words(self) -> str:
        """The end of what it printed."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-12:])


@dataclass
class Jobs:
    """Trainings in a folder of runs."""

    runs: Path
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _launcher: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def __post_init__(self) -> None:
        """A process has the priority of the thread that starts it: this one keeps the usual one,
        whatever becomes of the others."""
        self._launcher.submit(lambda: None).result()

    def start(self, recipe: Recipe) -> Path:
        """Begin a training; the folder of its run. Raises RecipeError for what cannot be asked."""
        check_used(recipe)
        return self._train(recipe, Path(recipe.data.source).stem or "run")

    def resume(self, run: Path) -> None:
        """Go on with a run that was paused. Raises RunError where it is at work."""
        if is_locked(run):
            raise RunError(f"{run.name} is being trained already")
        RunDirectory(run)
        self._launch(run, ["resume", str(run)])

    def branch(self, run: Path, knobs: Mapping[str, Any], step: int | None) -> Path:
        """Train on from a checkpoint with other knobs; the folder of the branch."""
        parent = RunDirectory(run)
        if starts_anew(knobs):
            return self._anew(run, knobs)
        folder = self._reserve(f"{run.name[:60]}-branch")
        try:
            prepare_branch(parent, knobs, step, folder)
        except StriateError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            raise
        self._launch(folder, ["resume", str(folder)])
        return folder

    def try_remedy(self, run: Path, knobs: Mapping[str, Any]) -> Path:
        """A branch with a remedy's knobs, from the last checkpoint; from the first step where
        nothing is left to train, or the remedy leaves a knob open."""
        try:
            return self.branch(run, knobs, None)
        except StriateError:
            return self._anew(run, knobs)

    def pause(self, run: Path, *, at_once: bool = False) -> None:
        """Ask a training to end its step, save and stop; at once: what it has learnt since its last
        checkpoint is lost. Raises RunError where none is at work."""
        pid = self._worker(run)
        if pid is None:
            raise RunError(f"{run.name} is not being trained")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            if at_once:  # two signals that come together would count as one
                time.sleep(_BETWEEN)
                os.kill(pid, signal.SIGTERM)

    def complaint(self, run: Path) -> str:
        """Why the last training of a run that was started here ended, if something went wrong."""
        job = _read(self.runs / _HERE / f"{run.name}.json")
        return job.complaint() if job and job.folder == run and not job.alive else ""

    def preparing(self) -> list[Job]:
        """Jobs whose run directory is not a run yet, the dead ones too: they say why."""
        self._reap()
        found = []
        for file in sorted((self.runs / _HERE).glob("*.json")):
            job = _read(file)
            if job is None:
                continue
            if (job.folder / "environment.json").is_file():
                if not job.began:  # should its folder be deleted one day, it did not fail
                    write_json(file, {**_plain(job), "began": True})
            elif job.began:
                self.forget(job)
            else:
                found.append(job)
        return found

    def _anew(self, run: Path, knobs: Mapping[str, Any]) -> Path:
        """A training of the same recipe with other knobs, from the first step."""
        recipe = recipe_io.load_recipe(run / "recipe.yaml")
        source = settled_recipe(RunDirectory(run)).data.source
        recipe = recipe_io.with_overrides(recipe, {"data.source": source, **knobs})
        check_used(recipe)
        return self._train(recipe, f"{run.name[:60]}-branch")

    def _train(self, recipe: Recipe, name: str) -> Path:
        folder = self._reserve(name)
        file = self._beside(folder, "yaml")
        write_atomically(file, recipe_io.to_yaml(recipe))
        self._launch(folder, ["train", "--recipe", str(file), "--run", str(folder)])
        return folder

    def forget(self, job: Job) -> None:
        """Leave out a job that failed before it was a run."""
        for ending in ("json", "log", "yaml"):
            self._beside(job.folder, ending).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            job.folder.rmdir()

    def _worker(self, run: Path) -> int | None:
        """The process that holds the run's lock, or that prepares it."""
        if is_locked(run):
            try:
                pid = int((run / "lock").read_text(encoding="utf-8").strip())
            except (OSError, ValueError):
                return None
            if not _has_open(pid, run / "lock"):
                raise RunError(
                    f"{run.name} is trained on another machine, or by another user",
                    "Pause it there, with Ctrl-C.",
                )
            return pid
        job = _read(self._beside(run, "json"))
        return job.pid if job and job.alive else None

    def _launch(self, folder: Path, words: list[str]) -> None:
        self._reap()
        log = self._beside(folder, "log")
        environment = {**os.environ, "COLUMNS": "100", "PYTHONUNBUFFERED": "1"}
        with disk_faults_explained(log), log.open("wb") as out:
            process = self._launcher.submit(
                subprocess.Popen, [sys.executable, "-m", "striate", *words],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True, env=environment,
            ).result()  # fmt: skip
        self._children.append(process)
        began = (folder / "environment.json").is_file()
        write_json(
            self._beside(folder, "json"), _plain(Job(folder.name, folder, process.pid, log, began))
        )

    def _reserve(self, name: str) -> Path:
        """A new folder for a run; mkdir decides between two that want the same name."""
        plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:80].strip("-")
        stem = f"{datetime.now().astimezone():%Y-%m-%d-%H%M}-{plain or 'run'}"
        with disk_faults_explained(self.runs):
            self.runs.mkdir(parents=True, exist_ok=True)
            number = 1
            while True:
                folder = self.runs / (stem if number == 1 else f"{stem}-{number}")
                with contextlib.suppress(FileExistsError):
                    folder.mkdir()
                    return folder.absolute()
                number += 1

    def _beside(self, folder: Path, ending: str) -> Path:
        here = self.runs / _HERE
        with disk_faults_explained(here):
            here.mkdir(parents=True, exist_ok=True)
        return (here / f"{folder.name}.{ending}").absolute()

    def _reap(self) -> None:
        """Processes that ended leave nothing behind."""
        self._children = [child for child in self._children if child.poll() is None]


def _read(file: Path) -> Job | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Job(found["name"], Path(found["folder"]), int(found["pid"]), Path(found["log"]),
                   bool(found.get("began")))  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _plain(job: Job) -> dict[str, Any]:
    return {"name": job.name, "folder": str(job.folder), "pid": job.pid, "log": str(job.log),
            "began": job.began}  # fmt: skip


def _has_open(pid: int, file: Path) -> bool:
    """Whether a process of this machine has the file open: a number alone may be anybody's."""
    opened = Path(f"/proc/{pid}/fd")
    if not Path("/proc/self").exists():
        return _answers(pid)
    with contextlib.suppress(OSError):
        for link in opened.iterdir():
            with contextlib.suppress(OSError):
                if link.samefile(file):
                    return True
    return False


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
