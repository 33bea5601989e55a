"""Train the cases of the corpus and keep their records.

    python benchmarks/doctor/make.py [PART OF]          such as 0 2 and 1 2 in two processes
    python benchmarks/doctor/make.py third [PART OF]    the third part: other data, other networks

Resumable: cases that are in curves/ are left out. Each line of curves/PART.jsonl is one case.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import corpus
import third

import striate
from striate.core.errors import TrainingError
from striate.core.recipe_io import flat
from striate.core.records import (
    Epoch,
    Estimated,
    Failed,
    Finished,
    Measured,
    Planned,
    Record,
    Step,
    to_json,
)

HERE = Path(__file__).parent
CURVES = HERE / "curves"


def main(arguments: list[str]) -> int:
    which, prefix = (third, "third-") if arguments[:1] == ["third"] else (corpus, "")
    part, of = map(int, arguments[bool(prefix) :] or ("0", "1"))
    CURVES.mkdir(exist_ok=True)
    done = {row["name"] for row in rows()}
    cases = [*which.sick(), *which.healthy()]
    cases = sorted(cases, key=lambda c: which.DATASETS.index(c.data))[part::of]
    cases = cases[:: int(os.environ.get("ORDER", "1"))]
    with (CURVES / f"{prefix}{part}.jsonl").open("a", encoding="utf-8", buffering=1) as file:
        for number, case in enumerate(cases, start=1):
            if case.name in done:
                continue
            began = time.perf_counter()
            row = trained(case)
            file.write(json.dumps(row) + "\n")
            print(f"{number}/{len(cases)} {case.name}: {row['score']} "
                  f"({time.perf_counter() - began:.1f} s)", flush=True)  # fmt: skip
    return 0


def rows() -> Iterator[dict[str, Any]]:
    """All cases that were trained."""
    for path in sorted(CURVES.glob("*.jsonl*")):
        raw = path.read_bytes()
        text = gzip.decompress(raw) if path.suffix == ".gz" else raw
        yield from map(json.loads, text.decode().splitlines())


def trained(case: corpus.Case | third.Case, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """A case's records and its score on test images, which no fault touches."""
    kept: list[Record] = []
    knobs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        settings = {**case.settings(), "device.threads": 1, **(extra or {})}
        try:
            for record in striate.stream(case.splits(), run=run, **settings):
                kept.append(record)
        except TrainingError:
            pass
        knobs = {k: v for k, v in flat(striate.Run(run).recipe).items() if told(k)}
    last = kept[-1]
    score = last.test["accuracy"] if isinstance(last, Finished) else 0.1
    return {
        "name": case.name,
        "score": score,
        "knobs": knobs,
        "steps": columns([r for r in kept if isinstance(r, Step)]),
        "records": [
            json.loads(to_json(r), parse_float=rounded)
            for r in kept
            if isinstance(r, Planned | Epoch | Measured | Estimated | Failed)
        ],
        "finished": isinstance(last, Finished),
    }


def told(knob: str) -> bool:
    """Whether rules and remedies may look at a knob."""
    return knob.partition(".")[0] not in ("data", "device", "checkpoints", "seed")


def columns(steps: list[Step]) -> dict[str, list[float]]:
    return {
        name: [rounded(getattr(s, name)) for s in steps] for name in ("loss", "lr", "gradient_norm")
    }


def rounded(value: float | str) -> float:
    return float(f"{float(value):.4g}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
