"""What changed in a data set since a run registered it: every image's hash is in the run (F8)."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from striate.core.errors import RunError, counted, listing
from striate.core.findings import Finding
from striate.data.check.survey import in_threads, threads_for
from striate.data.decode import UndecodableError
from striate.data.images import Images, content_hash


@dataclass(frozen=True)
class Registered:
    """An image as a run knew it; `part` is its split in the source: train, val, test or all."""

    split: str
    part: str
    key: str
    content: str


def read_registered(packed: bytes, where: str) -> list[Registered]:
    """The rows of a run's images.csv.gz. Raises RunError if it is damaged."""
    try:
        rows = list(csv.DictReader(io.StringIO(gzip.decompress(packed).decode("utf-8"))))
        return [Registered(row["split"], row["part"], row["image"], row["blake2b"]) for row in rows]
    except (OSError, EOFError, KeyError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise RunError(f"{where} is damaged: {error}", "Copy the whole run once more.") from None


def changes(registered: Iterable[Registered], parts: Mapping[str, Images]) -> list[Finding]:
    """Findings for changed, missing and unreadable images (fail), and new ones (note)."""
    known = list(registered)
    divided_otherwise = {r.part for r in known} != parts.keys()  # then names alone must do

    def identity(part: str, key: str) -> tuple[str, str]:
        return ("" if divided_otherwise else part, key)

    now: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name, images in parts.items():
        hashes = in_threads(partial(_hash, images), range(len(images)), threads_for(images))
        for index, content in enumerate(hashes):
            now[identity(name, images.key(index))].add(content)
    there = {r: now.get(identity(r.part, r.key), set()) for r in known}
    changed = [
        f"{r.split} {r.key}"
        for r, found in there.items()
        if found and r.content not in ("", *found)
    ]
    missing = [f"{r.split} {r.key}" for r, found in there.items() if not found]
    new = sorted(key for _, key in now.keys() - {identity(r.part, r.key) for r in known})
    findings = [
        Finding(
            rule,
            "fail",
            f"{counted(len(names), 'image')} {text}:\n{listing(names)}",
            {"images": names},
            remedy,
        )
        for rule, names, text, remedy in (
            ("changed images", changed, "changed since the run began", "Restore them."),
            ("missing images", missing, "missing", "Restore them."),
        )
        if names
    ]
    if new:
        text = f"{counted(len(new), 'image')} there that the run did not use"
        findings.append(Finding("other images", "note", text, {"images": new}))
    if not changed and not missing:
        text = f"all {len(known):,} images are what they were"
        findings.append(Finding("changed images", "pass", text))
    return findings


def _hash(images: Images, index: int) -> str:
    try:
        return content_hash(images.raw(index)).hex()
    except UndecodableError:
        return "unreadable"
