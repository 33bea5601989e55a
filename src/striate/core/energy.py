"""Energy that the processor counts itself (RAPL), where the system lets it be read."""

from __future__ import annotations

import re
import time
from pathlib import Path

ROOT = Path("/sys/class/powercap")
_EVERY = 30.0
"""Seconds between readings: a counter starts again at 0 after some minutes at full power."""


class Meter:
    """Joules that all processor packages have used since it was made; None where they are not
    counted, or may not be read."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root, self._used = root, 0.0
        self._last, self._at = _counters(root), time.monotonic()

    def read(self, *, now: bool = False) -> float | None:
        """What was used so far; looks only now and then, so it may be asked at every step."""
        if self._last and (now or time.monotonic() - self._at > _EVERY):
            after = _counters(self._root)
            if after.keys() != self._last.keys():
                self._last = {}
                return None
            for package, (count, most) in after.items():
                self._used += (count - self._last[package][0]) % max(1, most) / 1e6
            self._last, self._at = after, time.monotonic()
        return self._used if self._last else None


def _counters(root: Path) -> dict[str, tuple[int, int]]:
    """Package → (microjoules so far, where the counter starts again)."""
    found = {}
    try:
        for zone in sorted(root.iterdir()):
            if not re.fullmatch(r"intel-rapl:\d+", zone.name):  # AMD's processors too
                continue
            if (zone / "name").read_text().startswith("package"):  # psys holds the packages
                used, most = (
                    int((zone / name).read_text()) for name in ("energy_uj", "max_energy_range_uj")
                )
                found[zone.name] = used, most
    except (OSError, ValueError):
        return {}
    return found
