"""Images of several callers through a network together."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class _Asked(Generic[A, B]):
    item: A
    answer: Future[B]


class Batcher(Generic[A, B]):
    """One thread that takes what waits, up to `most` items or as many as come within `wait` seconds
    after the first, and gives them to `work` together.

    begin() is called in the thread first. work(items) → an answer for each, in order; what it
    raises, all callers of that batch get. Items whose future was cancelled meanwhile are left out.
    """

    def __init__(
        self,
        work: Callable[[Sequence[A]], Sequence[B]],
        most: int,
        wait: float,
        begin: Callable[[], object] = lambda: None,
    ) -> None:
        self._work, self._most, self._wait, self._begin = work, most, wait, begin
        self._waiting: queue.SimpleQueue[_Asked[A, B] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="striate-batches", daemon=True)
        self._thread.start()

    def ask(self, item: A) -> Future[B]:
        """The answer to come."""
        asked: _Asked[A, B] = _Asked(item, Future())
        self._waiting.put(asked)
        return asked.answer

    def close(self) -> None:
        """Answer what waits, then end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        self._begin()
        while (first := self._waiting.get()) is not None:
            batch, ending = self._gathered(first)
            self._answer([asked for asked in batch if asked.answer.set_running_or_notify_cancel()])
            if ending:
                return

    def _gathered(self, first: _Asked[A, B]) -> tuple[list[_Asked[A, B]], bool]:
        batch, until = [first], time.monotonic() + self._wait
        while len(batch) < self._most:
            try:
                more = self._waiting.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return batch, False
            if more is None:
                return batch, True
            batch.append(more)
        return batch, False

    def _answer(self, batch: Sequence[_Asked[A, B]]) -> None:
        if not batch:
            return
        try:
            answers = self._work([asked.item for asked in batch])
        except BaseException as error:  # the callers are told, the thread lives on
            for asked in batch:
                asked.answer.set_exception(error)
            return
        for asked, answer in zip(batch, answers, strict=True):
            asked.answer.set_result(answer)
