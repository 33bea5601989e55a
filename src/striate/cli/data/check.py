"""`striate data check DATA|RUN`: what is wrong with a data set, before it costs a training."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import tyro

from striate.cli.flags import parse
from striate.cli.view import print_findings
from striate.core.records import Note, Record
from striate.core.strict_json import one_line


def check(argv: Sequence[str]) -> int:
    """Exit code 1 if a finding fails."""
    return int(parse(_check, "data check", argv))


def _check(
    source: Annotated[str, tyro.conf.Positional],
    csv: Path | None = None,
    png: Path | None = None,
    turned: bool = False,
    quick: bool = False,
    weights: str = "",
    check: Literal["full", "sample"] = "full",
    group_by: str = "",
    time_by: str = "",
    exclude: str = "",
    seed: int = 0,
    allow: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    label_levels: tuple[str, ...] = (),
    class_level: int | None = None,
    label_column: str = "",
    label_pattern: str = "",
    skip_bad: bool = False,
    json: bool = False,
) -> int:
    """Check a data set: bad files, copies within and across splits, classes, odd images, doubtful
    labels, unlike splits. Of a run: what changed in its data since it was trained.

    Exit code 1 if something would stop a training.

    Args:
        source: what `striate train` takes, or a run directory
        csv: write the questionable images here; edit it and train with --exclude FILE
        png: write a contact sheet of what was found
        turned: also look for mirrored and rotated copies
        quick: leave out the checks that train a small network (labels, unlike splits)
        weights: judge labels by the features of trained weights (imagenet, or as `striate zoo`
            lists them) instead of small networks, and look for images that are alike
        check: sample looks at 2,000 images of each split only
        group_by: as in training: no group may be in two given splits
        time_by: as in training: what the latest images are
        exclude: the edited CSV of an earlier check: its images are left out
        seed: of the splits that Striate makes
        allow: faults to accept: wrong-extension, leakage
        label_levels: a name for each folder level that is a label
        class_level: the folder level that names the class: 1 is the first below the split's folder
        label_column: the column of a table that names the class
        label_pattern: a regular expression whose first group in a file's name is its class
        skip_bad: leave out files whose names cannot be read
        json: print one JSON object as the last line
    """
    from dataclasses import replace

    from striate.audit import check as auditing
    from striate.core.errors import RunError
    from striate.core.recipe import Data, Recipe
    from striate.data.check.exclude import write_questionable
    from striate.data.sheet import write_sheet
    from striate.training.log import drained, seen_by

    for path in (csv, png):  # before minutes are spent
        if path and not path.absolute().parent.is_dir():
            raise RunError(f"cannot write {path}: no folder {path.parent}", "Make it first.")
    if (Path(source) / "environment.json").is_file():
        found = auditing.check_run(source)
    else:
        data = Data(group_by=group_by, time_by=time_by, exclude=exclude, allow=allow,
                    label_levels=label_levels, check=check, skip_bad=skip_bad,
                    class_level="auto" if class_level is None else class_level,
                    label_column=label_column, label_pattern=label_pattern)  # fmt: skip
        steps = auditing.check(
            source,
            Recipe(data=data, seed=seed),
            turned=turned,
            models=not quick,
            weights=weights,
        )
        found = drained(seen_by(_say, steps))
    if "leakage" in allow:
        kept = [replace(f, verdict="warn") if "copies" in f.rule and f.verdict == "fail" else f
                for f in found.findings]  # fmt: skip
        found = replace(found, findings=tuple(kept))
    print_findings(found.findings)
    if csv:
        write_questionable(csv, found.rows)
        print(f"{len(found.rows):,} questionable images: {csv}")
    if png:
        write_sheet(png, found.sheet_rows())
        print(f"contact sheet: {png}")
    if json:
        splits = {n: len(s) for n, s in found.dataset.splits.items()} if found.dataset else {}
        findings = [asdict(f) for f in found.findings]
        print(
            one_line(
                {"source": source, "verdict": found.verdict, "splits": splits, "findings": findings}
            )
        )
    return 1 if found.verdict == "fail" else 0


def _say(note: Record) -> None:
    """Each stage on standard error."""
    if isinstance(note, Note):
        print(note.text, file=sys.stderr)
