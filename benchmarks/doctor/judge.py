"""What the doctor says of the corpus, beside a naive baseline.

    python benchmarks/doctor/judge.py             tables for both halves, confusion.csv
    python benchmarks/doctor/judge.py third       the third part: other data, other networks
    python benchmarks/doctor/judge.py list        each case that is judged wrongly
    python benchmarks/doctor/judge.py tables      the same trainings as a table of losses,
                                                  accuracies and rates by epoch: anybody's curves

Thresholds were chosen on one half of the (data set, network) pairs; the other half is reported.
The fault of a case is found if one of its rules is among the findings. Cases whose fault did not
hurt (test score within three points of the healthy training beside it) are left out.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import third
from corpus import DATASETS, NETS, Case, healthy, sick
from make import rows

from striate.core.records import KINDS, Finished, Record, Step, from_json
from striate.doctor.diagnosis import Diagnosis, diagnose
from striate.doctor.history import History, of_records
from striate.doctor.table import of_rows

HERE = Path(__file__).parent
HURTS = 0.03
CHOSEN = {(d, n) for i, d in enumerate(DATASETS) for j, n in enumerate(NETS) if (i + j) % 2 == 0}
"""The (data set, network) pairs on which thresholds were chosen."""


@dataclass(frozen=True)
class Judged:
    case: Case
    score: float
    healthy_score: float
    history: History
    diagnosis: Diagnosis

    @property
    def half(self) -> str:
        return "chosen on" if (self.case.data, self.case.net) in CHOSEN else "reported"

    @property
    def counts(self) -> bool:
        """Whether the fault did harm."""
        case = self.case
        return not (case.rules and case.hurts) or self.score < self.healthy_score - HURTS

    @property
    def names(self) -> set[str]:
        return {f.rule for f in self.diagnosis.findings if f.verdict == "sick"}


def main(arguments: list[str]) -> int:
    if "third" in arguments:
        found = judged_third()
        show("third part", [j for j in found if j.counts])
        if "list" in arguments:
            listing(found)
        return 0
    found = judged(as_table if "tables" in arguments else as_run)
    for half in ("chosen on", "reported"):
        show(half, [j for j in found if j.half == half and j.counts])
    if "tables" not in arguments:
        matrix([j for j in found if j.counts])
    if "list" in arguments:
        listing(found)
    return 0


def as_run(row: dict[str, Any]) -> History:
    """All that a run of ours tells."""
    return of_records(records_of(row), row["knobs"])


def as_table(row: dict[str, Any]) -> History | None:
    """What anybody's training tells; None without an epoch. Ours measures the accuracy on training
    images in some epochs only."""
    run = as_run(row)
    if not len(run.epochs):
        return None
    e = run.epochs
    columns = {"epoch": e.epoch, "train_loss": e.train_loss, "val_loss": e.val_loss,
               "train_acc": e.train_score, "val_acc": e.val_score, "lr": e.lr}  # fmt: skip
    return of_rows(columns)


def judged(read: Callable[[dict[str, Any]], History | None] = as_run) -> list[Judged]:
    cases = {c.name: c for c in (*sick(), *healthy())}
    kept = {row["name"]: row for row in rows() if row["name"] in cases}
    usual = {
        (c.data, c.net): kept[c.name]["score"]
        for c in cases.values()
        if c.fault == "healthy" and c.variant == "as it is" and c.name in kept
    }
    found = []
    for name, row in kept.items():
        case, history = cases[name], read(row)
        if history is None:
            continue
        healthy_score = usual.get((case.data, case.net), 1.0)
        found.append(Judged(case, row["score"], healthy_score, history, diagnose(history)))
    return found


def judged_third() -> list[Judged]:
    """The cases of third.py that count. Healthy is what nearly reaches the best of its kind."""
    cases = {c.name: c for c in (*third.sick(), *third.healthy())}
    kept = {row["name"]: row for row in rows() if row["name"] in cases}
    best: dict[tuple[str, str], float] = defaultdict(float)
    for case in cases.values():
        if case.fault == "healthy" and case.name in kept:
            key = (case.data, case.net)
            best[key] = max(best[key], kept[case.name]["score"])
    of_data = {data: max(s for (d, _), s in best.items() if d == data) for data, _ in best}
    found = []
    for name, row in kept.items():
        case, history = cases[name], as_run(row)
        usual = best.get((case.data, case.net), of_data[case.data])
        well = row["score"] >= 0.9 * usual >= 0.9 * 0.75 * of_data[case.data]
        if case.rules or well:
            found.append(Judged(case, row["score"], usual, history, diagnose(history)))
    return found


def records_of(row: dict[str, Any]) -> Iterable[Record]:
    told = [from_json(json.dumps(r)) for r in row["records"]]
    yield from (r for r in told if isinstance(r, KINDS["planned"]))
    plan = next((r for r in told if isinstance(r, KINDS["planned"])), None)
    each = plan.steps // plan.epochs if plan else 1  # type: ignore[attr-defined]
    columns = zip(*(row["steps"][k] for k in ("loss", "lr", "gradient_norm")), strict=True)
    for number, (loss, lr, norm) in enumerate(columns):
        yield Step(number + 1, number // each, loss, lr, norm, 0.0)
    yield from (r for r in told if not isinstance(r, KINDS["planned"]))
    if row["finished"]:
        yield Finished("", plan.epochs if plan else 0, 0.0, "planned", {}, {}, {})  # type: ignore[attr-defined]


def naive(h: History) -> set[str]:
    """Fixed thresholds on the final losses, as a checklist would have them."""
    train, val = h.epochs.train_loss, h.epochs.val_loss
    if h.failed is not None or not len(train):
        return {"not_finite", "learning_rate_too_high"}
    if train[-1] > h.chance:
        return {"learning_rate_too_high"}
    if train[-1] > 0.5 * h.chance:
        return {"underfitting", "learning_rate_too_low"}
    if val[-1] > 1.5 * train[-1]:
        return {"overfitting"}
    return {"bad_split"} if train[-1] > 1.5 * val[-1] else set()


def show(half: str, found: list[Judged]) -> None:
    print(f"\n## {half}: {sum(bool(j.case.rules) for j in found)} sick, "
          f"{sum(not j.case.rules for j in found)} healthy\n")  # fmt: skip
    print("| fault | cases | found | named first | naive |\n|---|---|---|---|---|")
    faults = defaultdict(list)
    for j in found:
        if j.case.rules:
            faults[j.case.fault].append(j)
    for fault, cases in sorted(faults.items()):
        print(f"| {fault} | {len(cases)} | {share(cases, hit)} | {share(cases, first)} "
              f"| {share(cases, by_naive)} |")  # fmt: skip
    ill = [j for j in found if j.case.rules]
    print(
        f"| all | {len(ill)} | {share(ill, hit)} | {share(ill, first)} | {share(ill, by_naive)} |"
    )
    well = [j for j in found if not j.case.rules]
    alarms = Counter(name for j in well for name in j.names)
    print(f"\nfalse alarms on healthy: {share(well, lambda j: bool(j.names))} "
          f"({', '.join(f'{n} {k}' for k, n in alarms.most_common()) or 'none'}); "
          f"naive {share(well, lambda j: bool(naive(j.history)))}")  # fmt: skip


def hit(j: Judged) -> bool:
    return bool(j.names & set(j.case.rules))


def first(j: Judged) -> bool:
    return bool(j.diagnosis.findings) and j.diagnosis.findings[0].rule in j.case.rules


def by_naive(j: Judged) -> bool:
    return bool(naive(j.history) & set(j.case.rules))


def share(found: list[Judged], asked: Callable[[Judged], bool]) -> str:
    return f"{sum(map(asked, found)) / len(found):.1%}" if found else "–"


def matrix(found: list[Judged]) -> None:
    """confusion.csv: a row for each fault, a column for each rule that was named, in cases."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for j in found:
        table[j.case.fault].update(j.names or {"nothing"})
        table[j.case.fault]["cases"] += 1
    rules = sorted({r for row in table.values() for r in row} - {"cases"})
    with (HERE / "confusion.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fault", "cases", *rules])
        for fault, row in sorted(table.items()):
            writer.writerow([fault, row["cases"], *(row[r] for r in rules)])


def listing(found: list[Judged]) -> None:
    for j in sorted(found, key=lambda j: (j.case.fault, j.case.name)):
        wrong = not hit(j) if j.case.rules else bool(j.names)
        if wrong:
            said = ", ".join(f"{f.rule} {f.confidence}" for f in j.diagnosis.findings)
            harm = "" if j.counts else "  (no harm)"
            print(f"{j.case.name}: {j.score:.3f} of {j.healthy_score:.3f}: {said or '–'}{harm}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
