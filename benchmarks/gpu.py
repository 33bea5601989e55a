"""Striate on a graphics card: is it right there, and how fast is it? For the day one is at hand.

    python benchmarks/gpu.py                  checks and timings, also written to gpu.txt
    python benchmarks/gpu.py --out FILE       written there instead
    python benchmarks/gpu.py --data FOLDER    where cifar10-jpeg.zip is, else invented images, and
                                              sign-digits.zip, else no photographs
    python benchmarks/gpu.py --minutes 5      what does not fit is left out and named (default 7)
    python benchmarks/gpu.py --only checks    or weights or timings

Without a card the same functions run on the CPU in a small form, in about two minutes, so that
nothing here is untried but the card. Exit code 1 if a check failed.

The parts are in benchmarks/gpu/: report.py, checks.py, commands.py, weights.py, timings.py,
plain.py.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib.util
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "gpu"))

NEEDED = ("annotated_types", "fsspec", "jinja2", "markupsafe", "matplotlib", "numpy", "PIL",
          "pydantic", "rich", "safetensors", "scipy", "simplejpeg", "sklearn", "striate", "torch",
          "torchvision", "typing_inspection", "tyro", "yaml")  # fmt: skip


def main() -> int:
    """Run everything, part by part."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"missing packages: {', '.join(missing)} (striate: PYTHONPATH=src)")
        return 2
    from common import DATA

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu.txt"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--only", choices=("checks", "weights", "timings"))
    wanted = parser.parse_args()
    faulthandler.dump_traceback_later(60 * wanted.minutes + 45, exit=True)  # nothing may hang

    import checks
    import commands
    import timings
    import weights
    from report import Report, place_of

    with Report(wanted.out, wanted.minutes) as report:
        place = place_of(report)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            place.folder = Path(folder)
            if wanted.only in (None, "checks"):
                checks.run(report, place)
                commands.run(report, place)
            if wanted.only in (None, "weights"):
                weights.run(report, place, wanted.data)
            if wanted.only in (None, "timings"):
                timings.run(report, place, wanted.data)
        return report.end()


if __name__ == "__main__":
    sys.exit(main())
