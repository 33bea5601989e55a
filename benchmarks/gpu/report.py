"""Where results go: each line to the terminal and to the file at once, tables at the end."""

from __future__ import annotations

import os
import platform
import subprocess
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import torch

from striate.core.runtime import processor_name, usable_cores, version_of

_LINES = 15


class CheckFailedError(Exception):
    """A check came to its end and found something wrong; its text is the figure."""


@dataclass
class Place:
    """Where everything is tried: the device, whether it is a card, and a folder for runs."""

    device: str
    folder: Path = field(default_factory=Path)

    @property
    def card(self) -> bool:
        return self.device == "cuda"

    def wait(self) -> None:
        """Until the card has done what it was given."""
        if self.card:
            torch.cuda.synchronize()

    def fresh_memory(self) -> None:
        """Give back what is not in use, and count the peak anew."""
        if self.card:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> str:
        """The most memory that tensors had at once, in megabytes."""
        return f"{torch.cuda.max_memory_allocated() / 2**20:,.0f}" if self.card else "–"


class Report:
    """What was said, what failed, and how much time is left."""

    def __init__(self, path: Path, minutes: float) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._began, self._end = time.monotonic(), time.monotonic() + 60 * minutes
        self._failed: list[str] = []
        self._left_out: list[str] = []
        self._lines: list[str] = []
        self._passed = 0
        self._tables: list[tuple[str, list[tuple[str, ...]]]] = []

    def say(self, text: str = "") -> None:
        """To the terminal and the file, at once."""
        print(text, flush=True)
        self._file.write(text + "\n")
        self._file.flush()

    def left(self) -> float:
        """Seconds until the time that was given is over."""
        return self._end - time.monotonic()

    def check(self, name: str, work: Callable[[], str], seconds: float = 10.0) -> None:
        """Do some work that returns its figure; whatever it raises is said, and the rest goes on.

        It is left out, and named at the end, where fewer than `seconds` are left.
        """
        if self.left() < seconds:
            self._left_out.append(name)
            self.say(f"{name}: left out, for want of time")
            return
        began, trace = time.monotonic(), ""
        try:
            verdict, figure = "ok", work()
        except CheckFailedError as error:
            verdict, figure = "FAILED", str(error)
        except Exception as error:
            verdict, figure = "FAILED", f"{type(error).__name__}: {str(error)[:300]}"
            trace = "\n".join(traceback.format_exc().splitlines()[-_LINES:])
        self.say(f"{name}: {verdict}  {figure}  ({time.monotonic() - began:.1f} s)")
        if trace:
            self.say(trace)
        self._lines.append(f"{verdict:<6} {name}: {figure.splitlines()[0] if figure else ''}")
        if verdict == "ok":
            self._passed += 1
        else:
            self._failed.append(name)

    def table(self, title: str, rows: list[tuple[str, ...]]) -> None:
        """Keep a table, whose first row is its head, for the end."""
        self._tables.append((title, rows))

    def end(self) -> int:
        """Say everything once more, narrow; 1 if a check failed."""
        self.say("\n== summary ==")
        for line in self._lines:
            self.say(line[:110])
        for title, rows in self._tables:
            self.say(f"\n{title}")
            widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
            for row in rows:
                cells = [row[0].ljust(widths[0])]
                cells += [cell.rjust(wide) for cell, wide in zip(row[1:], widths[1:], strict=True)]
                self.say("  ".join(cells).rstrip())
        seconds = time.monotonic() - self._began
        counts = f"{self._passed} ok, {len(self._failed)} failed, {len(self._left_out)} left out"
        self.say(f"\n{counts}, {seconds:.0f} s")
        for name in self._failed:
            self.say(f"FAILED: {name}")
        return 1 if self._failed else 0

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, SystemExit):
            self._file.write(traceback.format_exc())
        self._file.close()


def place_of(report: Report) -> Place:
    """The card if there is one, with what figures depend on said first."""
    card = torch.cuda.is_available()
    if card:
        facts = torch.cuda.get_device_properties(0)
        report.say(f"card: {facts.name}, {facts.total_memory / 2**30:.0f} GB, "
                   f"driver {_driver()}, CUDA {torch.version.cuda}, "
                   f"cuDNN {torch.backends.cudnn.version()}")  # fmt: skip
    else:
        report.say("no card: the small form on the CPU")
    report.say(f"torch {version_of('torch')}, torchvision {version_of('torchvision')}, "
               f"Python {platform.python_version()}")  # fmt: skip
    report.say(f"{processor_name()}, {usable_cores()} usable of {os.cpu_count()} cores\n")
    return Place("cuda" if card else "cpu")


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"
