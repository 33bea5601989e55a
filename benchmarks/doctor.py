"""How good is the doctor? The corpus of sick and healthy trainings, in one command.

    python benchmarks/doctor.py                    tables of both halves, from the recorded curves
    python benchmarks/doctor.py list               and each case that is judged wrongly
    python benchmarks/doctor.py tables             from anybody's curves: losses, accuracies, rates
    python benchmarks/doctor.py remedies           what the first remedies did
    python benchmarks/doctor.py make               train what is missing (resumable; hours)
    python benchmarks/doctor.py try                train the first remedies that are missing

The parts are in benchmarks/doctor/: corpus.py (the cases), make.py, judge.py, remedies.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "doctor"))

import judge
import make
import remedies


def main(arguments: list[str]) -> int:
    first, rest = (arguments or [""])[0], arguments[1:]
    if first == "make":
        return make.main(rest)
    if first in ("try", "remedies"):
        return remedies.main(rest if first == "try" else ["table"])
    return judge.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
