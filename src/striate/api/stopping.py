"""Ctrl-C and SIGTERM end a training at a step, not in one (F3)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def graceful_stop() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C or SIGTERM turns the yielded function true, the second stops at once (F3).

    Before that function has been asked for the first time, the first one stops at once too.
    """
    asked, polled = threading.Event(), threading.Event()

    def stop() -> bool:
        polled.set()
        return asked.is_set()

    def ask(*_: Any) -> None:
        if asked.is_set() or not polled.is_set():  # before the first step there is nothing to save
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
