"""Training to the end, for callers who want the run and not its records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from striate.api.runs import Run
from striate.api.stopping import graceful_stop
from striate.api.stream import resume as resume_stream
from striate.api.stream import stream
from striate.core.records import Finished, Record


def train(data: Any = None, **settings: Any) -> Run:
    """Train to the end and return the run; takes what `stream` takes.

    Ctrl-C finishes the step, saves, and raises KeyboardInterrupt; the run can be resumed.
    """
    with graceful_stop() as stop:
        return _drained(stream(data, stop=stop, **settings), data)


def resume(run: str | Path, **settings: Any) -> Run:
    """Continue a run to the end; takes what `striate.api.stream.resume` takes."""
    with graceful_stop() as stop:
        return _drained(resume_stream(run, stop=stop, **settings), settings.get("data"))


def _drained(records: Iterator[Record], data: Any = None) -> Run:
    path, last = "", None
    for record in records:
        path, last = path or getattr(record, "run", ""), record
    if not isinstance(last, Finished):
        raise KeyboardInterrupt(f"stopped; continue with striate.resume({path!r})")
    return Run(path, None if isinstance(data, str | Path) else data)
