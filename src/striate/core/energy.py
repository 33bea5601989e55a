"""Energy that the processor counts itself (RAPL), where the system lets it be read."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path("/sys/class/powercap")
Counters = dict[str, tuple[int, int]]
"""Package → (microjoules so far, where the counter starts again at 0)."""


def counters(root: Path = ROOT) -> Counters:
    """Of each processor package; empty where there are none or they may not be read."""
    found: Counters = {}
    try:
        for package in sorted(root.iterdir()):
            if re.fullmatch(r"intel-rapl:\d+", package.name):  # AMD's processors too
                used, most = (
                    int((package / name).read_text())
                    for name in ("energy_uj", "max_energy_range_uj")
                )
                found[package.name] = used, most
    except (OSError, ValueError):
        return {}
    return found


def joules_between(before: Counters, after: Counters) -> float | None:
    """What all packages used; None where it was not counted. A counter that ran over more than once
    cannot be seen: then it is too little."""
    if not before or before.keys() != after.keys():
        return None
    used = ((after[k][0] - before[k][0]) % max(1, after[k][1]) for k in before)
    return sum(used) / 1e6
