"""Writing records to the run, and cutting the log where a checkpoint was made."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from striate.core.errors import RunError
from striate.core.files import disk_faults_explained
from striate.core.records import Record, Step, to_json

R = TypeVar("R")
T = TypeVar("T")


_WAIT = 0.05
"""Seconds that steps may wait in the buffer."""


class Log:
    """`records.jsonl`, append-only. `offset` is the byte position after the last record."""

    def __init__(self, path: Path, offset: int | None = None) -> None:
        self.path = path
        with disk_faults_explained(path):
            self._file = path.open("ab")
            if offset is not None and self._file.seek(0, os.SEEK_END) < offset:
                raise RunError(
                    f"{path} is shorter than its checkpoint remembers: the run is damaged",
                    "Copy the whole run once more.",
                )
            if offset is not None:
                self._file.truncate(offset)
        self.offset = self._file.seek(0, os.SEEK_END)
        self._flushed = time.monotonic()

    def write(self, record: Record) -> None:
        line = (to_json(record) + "\n").encode()
        with disk_faults_explained(self.path, len(line)):
            self._file.write(line)
            if not isinstance(record, Step) or time.monotonic() - self._flushed > _WAIT:
                self._file.flush()
                self._flushed = time.monotonic()
        self.offset += len(line)

    def flush(self) -> None:
        """To the disk, before a checkpoint refers to the offset."""
        with disk_faults_explained(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError) if error else disk_faults_explained(self.path):
            self._file.close()  # flushes: a full disk must not hide the first error


def seen_by(
    see: Callable[[R], Iterable[R] | None], records: Generator[R, None, T]
) -> Generator[R, None, T]:
    """Pass records on, each given to `see` first: with `log.write`, whoever has a record finds it
    in the log. Records that `see` answers with follow. Returns what `records` returns; closing this
    closes `records`.
    """
    with contextlib.closing(records):
        while True:
            try:
                record = next(records)
            except StopIteration as end:
                value: T = end.value
                return value
            more = see(record)
            yield record
            yield from more or ()


def drained(steps: Generator[Any, None, T]) -> T:
    """Run a generator to its end; what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value
