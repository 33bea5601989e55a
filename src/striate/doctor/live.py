"""Judging while it trains: findings join the stream of records as they fire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from striate.core.findings import Finding
from striate.core.records import Epoch, Failed, Measured, Record, Saved
from striate.doctor.diagnosis import Diagnosis, diagnose
from striate.doctor.history import Book

_SURE = 0.75
"""A live finding must be surer than one at the end: the training may still recover."""


class Watch:
    """Reads records as they are made (`seen_by(watch.see, …)`); `past` are those of a run that is
    resumed."""

    def __init__(self, knobs: Mapping[str, Any], past: Iterable[Record] = ()) -> None:
        self._book, self._said, self._new = Book(knobs), set[str](), False
        for record in past:
            self._book.put(record)
            if isinstance(record, Finding):
                self._said.add(record.rule)

    def see(self, record: Record) -> list[Finding]:
        """Findings that fire now, each rule's once: at the end of an epoch, or of everything."""
        self._book.put(record)
        self._new |= isinstance(record, Epoch)
        if not (isinstance(record, Failed) or (isinstance(record, Saved) and self._new)):
            return []
        self._new = False
        fired = [
            f
            for f in self.diagnosis().findings
            if f.verdict == "sick" and (f.confidence or 0) >= _SURE and f.rule not in self._said
        ]
        self._said |= {f.rule for f in fired}
        return fired

    @property
    def measured(self) -> Measured | None:
        """The last measurement."""
        return self._book.measured

    def withdrawn(self, last: Diagnosis) -> list[str]:
        """Rules that fired during the training and no longer do."""
        return sorted(self._said - {f.rule for f in last.findings})

    def diagnosis(self) -> Diagnosis:
        return diagnose(self._book.history())
