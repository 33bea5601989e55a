"""Does the remedy that the doctor names first help? The sick cases once more, with it.

    python benchmarks/doctor/remedies.py [PART OF]     train what is missing in remedies/PART.csv
    python benchmarks/doctor/remedies.py table         what came out

A remedy helps if the score on test images, which no fault touches, rises by more than a point.
The first remedy that can be carried out is tried: a recipe change, or for wrong labels the data
check, all of whose doubtful images are left out (a person would look at them first).
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from corpus import Case
from judge import Judged, hit, judged
from make import trained

from striate.audit.check import check
from striate.doctor.remedies import knobs_of
from striate.training.log import drained

HERE = Path(__file__).parent / "remedies"
GAIN = 0.01
CHECK = "striate data check"
COLUMNS = ("name", "fault", "rule", "remedy", "without", "with")


def main(arguments: list[str]) -> int:
    HERE.mkdir(exist_ok=True)
    if arguments == ["table"]:
        return table()
    part, of = map(int, arguments or ("0", "1"))
    known = {(row["name"], row["remedy"]) for row in rows()}
    path = HERE / f"{part}.csv"
    fresh = not path.exists()
    with path.open("a", encoding="utf-8", newline="", buffering=1) as file:
        writer = csv.DictWriter(file, COLUMNS)
        if fresh:
            writer.writeheader()
        for j in wanted()[part::of]:
            finding = j.diagnosis.findings[0]
            remedy = first_that_works(finding.remedies)
            if (j.case.name, remedy) in known:
                continue
            row = {"name": j.case.name, "fault": j.case.fault, "rule": finding.rule,
                   "remedy": remedy, "without": j.score, "with": ""}  # fmt: skip
            if remedy.startswith(CHECK):
                row["with"] = trained(checked(j.case))["score"]
            elif remedy:
                row["with"] = trained(j.case, knobs_of(remedy))["score"]
            writer.writerow(row)
            print(row, flush=True)
    return 0


def wanted() -> list[Judged]:
    """Sick cases of the reported half that were found, and whose score can show a cure."""
    return [
        j
        for j in judged()
        if j.half == "reported" and j.counts and j.case.rules and j.case.hurts and hit(j)
    ]


def first_that_works(remedies: Sequence[str]) -> str:
    """The first that can be typed; none: ''."""
    return next((r for r in remedies if r.startswith(("--", CHECK))), "")


def checked(case: Case) -> Case:
    """Without the images whose labels `striate data check` doubts; test is left as it is."""
    found = case.splits()
    doubtful = drained(check(found)).places.get("doubtful labels", [])
    kept = dict(found)
    for name in ("train", "val"):
        images, labels = found[name]
        bad = [i for split, i in doubtful if split == name]
        here = np.setdiff1d(np.arange(len(labels)), bad)
        kept[name] = (images[here], labels[here])
    return replace(case, change=lambda *_: kept)


def rows() -> list[dict[str, str]]:
    found = []
    for path in sorted(HERE.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found += list(csv.DictReader(file))
    return found


def table() -> int:
    now = {j.case.name: j.diagnosis.findings[0].remedies for j in wanted()}
    by_fault = defaultdict(list)
    for row in rows():
        if row["remedy"] == first_that_works(now.get(row["name"], ())):
            by_fault[row["fault"]].append(row)
    print("| fault | tried | helped | mean gain | only words |\n|---|---|---|---|---|")
    everything = [row for each in by_fault.values() for row in each]
    for fault, each in [*sorted(by_fault.items()), ("all", everything)]:
        gains = [float(r["with"]) - float(r["without"]) for r in each if r["with"]]
        none = sum(not r["with"] for r in each)
        helped = f"{sum(g > GAIN for g in gains) / len(gains):.0%}" if gains else "–"
        mean = f"{sum(gains) / len(gains):+.3f}" if gains else "–"
        print(f"| {fault} | {len(gains)} | {helped} | {mean} | {none} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
