"""What the studio knows: runs and data under opaque ids. A client never names a path."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from striate.core.errors import RunError
from striate.studio.jobs import Job, Jobs
from striate.studio.live import Tail
from striate.studio.messages import RunDetail, RunRow, SourceRow
from striate.studio.rows import detail_of, row_of

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".csv")
BUILT_IN = ("digits",)


def opaque(path: Path) -> str:
    """The id of a path: the same at every start, and nothing can be read from it."""
    return hashlib.blake2b(str(path).encode("utf-8", "surrogateescape"), digest_size=9).hexdigest()


@dataclass
class Catalogue:
    """Runs in folders (or runs themselves), and data that can be trained on.

    places: what was named at the start. home: the folder that new runs go to. data: the directory
    that uploads go to and whose entries can be chosen.
    """

    places: Sequence[Path]
    home: Path
    data: Path | None = None
    tails: dict[str, Tail] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.home)
        self._lock = threading.Lock()

    def look(self) -> bool:
        """Find runs that are new or gone; whether there are any."""
        found = {opaque(path): path for path in self._folders()}
        with self._lock:
            new, gone = found.keys() - self.tails.keys(), self.tails.keys() - found.keys()
            kept = {name: tail for name, tail in self.tails.items() if name not in gone}
            self.tails = kept | {name: Tail(name, found[name]) for name in new}
        return bool(new or gone)

    def read(self) -> list[str]:
        """Read all logs on; the ids of runs of which anything is new."""
        return [name for name, tail in self.tails.items() if tail.read()]

    def look_who_runs(self) -> list[str]:
        """Ask the locks of runs that are not finished; the ids of those that changed."""
        return [name for name, tail in self.tails.items() if tail.look_whether_running()]

    def run(self, name: str) -> Tail:
        """Raises RunError for an id that there is not."""
        if name not in self.tails:
            self.look()
        tail = self.tails.get(name)
        if tail is None:
            raise RunError("there is no such run", "It may have been moved or deleted.")
        tail.read()
        tail.look_whether_running()
        return tail

    def rows(self, names: Sequence[str] | None = None) -> list[RunRow]:
        """The table's rows, the newest name first; names: only these."""
        tails, ids = self.tails, self.ids()
        chosen = tails if names is None else {n: tails[n] for n in names if n in tails}
        rows = [self._row(tail, ids) for tail in chosen.values()]
        return sorted(rows, key=lambda row: (row.name, row.id), reverse=True)

    def waiting(self) -> list[RunRow]:
        """Trainings that are not runs yet: they read their data, or ended with a message."""
        return [_waiting_row(job) for job in self.jobs.preparing()]

    def job(self, name: str) -> Job:
        """Raises RunError for an id that there is not."""
        for job in self.jobs.preparing():
            if opaque(job.folder) == name:
                return job
        raise RunError("there is no such training")

    def sources(self) -> list[SourceRow]:
        """Data that can be chosen."""
        rows = [SourceRow(name, name, "built in") for name in BUILT_IN]
        return rows + [
            SourceRow(opaque(path), path.name, "folder" if path.is_dir() else "file")
            for path in self._entries()
        ]

    def source(self, name: str) -> str:
        """What a recipe names. Raises RunError for an id that there is not."""
        if name in BUILT_IN:
            return name
        for path in self._entries():
            if opaque(path) == name:
                return str(path)
        raise RunError("there is no such data", "Choose one of the list.")

    def ids(self) -> dict[Path, str]:
        """The id of each run by its path."""
        return {tail.path: name for name, tail in self.tails.items()}

    def _row(self, tail: Tail, ids: dict[Path, str]) -> RunRow:
        row = row_of(tail, ids)
        if row.fault or row.state in ("finished", "running", "preparing"):
            return row
        return replace(row, fault=self.jobs.complaint(tail.path))

    def detail(self, tail: Tail) -> RunDetail:
        """Everything that the page of one run shows beside its curves."""
        ids = self.ids()
        return replace(detail_of(tail, ids), row=self._row(tail, ids))

    def _entries(self) -> list[Path]:
        if self.data is None or not self.data.is_dir():
            return []
        with contextlib.suppress(OSError):
            return sorted(
                p for p in self.data.iterdir()
                if not p.name.startswith(".") and (p.is_dir() or p.suffix.lower() in _ARCHIVES)
            )  # fmt: skip
        return []

    def _folders(self) -> Iterator[Path]:
        seen = set()
        for place in dict.fromkeys([*self.places, self.home]):
            with contextlib.suppress(OSError):
                inside = [place] if _is_run(place) else sorted(place.iterdir())
                for path in inside:
                    whole = path.absolute()
                    if _is_run(path) and whole not in seen:
                        seen.add(whole)
                        yield whole


def _is_run(path: Path) -> bool:
    return (path / "environment.json").is_file()


def _waiting_row(job: Job) -> RunRow:
    alive = job.alive
    return RunRow(
        id=opaque(job.folder), name=job.name, state="preparing" if alive else "failed", source="",
        task="", model="", epoch=0, epochs=0, step=0, steps=0, score_name="", split="", score=None,
        low=None, high=None, seconds=None, seconds_left=None, images_per_second=None, finding="",
        parent="", parent_step=None, fault="" if alive else job.last_words(),
    )  # fmt: skip
