"""What benchmarks share: the data, the machine's line, and a verb in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from striate.core.runtime import processor_name, usable_cores, version_of

DATA = Path(os.environ.get("STRIATE_DATA", Path(__file__).parents[2] / "shared" / "data"))


def machine() -> str:
    """What figures depend on."""
    return (
        f"{processor_name()}, {usable_cores()} cores, torch {version_of('torch')}, "
        f"Python {platform.python_version()}"
    )


def verb(*arguments: object, ok: tuple[int, ...] = (0,)) -> tuple[dict[str, Any], float, float]:
    """(the JSON line, wall seconds from process start, peak megabytes) of `striate … --json`.

    Ends the benchmark on any exit code that is not `ok`.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", "striate", *map(str, arguments), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ok:
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
    return json.loads(out.splitlines()[-1]), time.perf_counter() - began, usage.ru_maxrss / 1024


def judge(text: str, value: float, limit: float, *, most: bool = False) -> bool:
    """Print a figure beside its limit; whether it is kept."""
    good = value <= limit if most else value >= limit
    sign = "≤" if most else "≥"
    print(f"  {text}: {value:.4g} ({sign} {limit:g}: {'met' if good else 'MISSED'})", flush=True)
    return good
