"""A certificate of a run: what it was made of, which promises hold, and a repetition that tries it.

Two processes with the same data, recipe, versions, kind of processor and number of threads compute
the same bits; where one of these differs, rounding does, and losses drift apart within a few steps.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from striate.api.stream import stream
from striate.core import recipe_io
from striate.core.errors import RunError, counted
from striate.core.files import sha256, write_json
from striate.core.findings import Finding
from striate.core.records import Finished, Step
from striate.core.run import RunDirectory
from striate.core.runtime import describe
from striate.plan.keep import WEIGHTS
from striate.plan.prepare import IN_MEMORY
from striate.plan.recall import settled_recipe
from striate.training import checkpoints

CERTIFICATE = "certificate.json"
FORMAT = 1
CLOSE = 0.02
"""Largest relative difference of the first losses that rounding explains."""
_SAME = ("versions", "python", "processor", "accelerators")


def certify(run: str | Path) -> dict[str, Any]:
    """Write `certificate.json` into a run and return it. Raises RunError if the run is damaged or
    has no checkpoint."""
    directory = RunDirectory(run)
    chosen, _ = checkpoints.best(directory.checkpoints)
    if chosen is None:
        raise RunError(f"{directory.path} has no sound checkpoint: nothing to certify")
    recipe, data = settled_recipe(directory), directory.read_json("dataset.json")
    environment = directory.read_json("environment.json")
    known = all(split["fingerprint"] for split in data["splits"].values())
    extended = "before" in directory.read_json("resolved.json").get("budget.epochs", {})
    repeatable = known and recipe.data.source != IN_MEMORY
    losses, sampler = _losses(directory), recipe.data.sampler
    sampled = "" if sampler == "uniform" else f" (the sampler is {sampler})"
    certificate = {
        "format": FORMAT,
        "run": directory.path.name,
        "data": {name: split["fingerprint"] for name, split in data["splits"].items()},
        "recipe": hashlib.sha256(recipe_io.to_yaml(recipe).encode()).hexdigest(),
        "seed": recipe.seed,
        "environment": {key: environment.get(key) for key in _SAME} | {
            "threads": recipe.device.threads, "precision": recipe.device.precision,
            "processes": environment.get("processes", 1),
        },
        "weights": {
            "checkpoint": chosen.path.name,
            "sha256": sha256(chosen.path / "model.safetensors"),
        },
        "losses": {"steps": len(losses), "sha256": _hash(losses)},
        "finished": any(isinstance(record, Finished) for record in directory.records()),
        "guarantees": {
            "same bits when repeated with these versions, processor, threads and processes":
                repeatable and not extended,
            "same bits when interrupted anywhere and resumed there": repeatable,
            "every training image once an epoch, for any number of processes" + sampled:
                sampler == "uniform",
            "the data can be compared: every image was hashed": known,
        },
    }  # fmt: skip
    if (directory.path / WEIGHTS).is_file():
        card = directory.read_json(WEIGHTS)
        certificate["started_from"] = {key: card[key] for key in ("name", "source", "sha256")}
    write_json(directory.path / CERTIFICATE, certificate)
    return certificate


def verify(run: str | Path, steps: int = 20) -> list[Finding]:
    """Compare a run with its certificate, and its first `steps` losses with a repetition.

    Raises RunError where there is no certificate, or no data to repeat it on.
    """
    directory = RunDirectory(run)
    certificate = directory.read_json(CERTIFICATE)
    if certificate.get("format") != FORMAT:
        raise RunError(
            f"{directory.path / CERTIFICATE} has format {certificate.get('format')!r}",
            f"This version reads format {FORMAT}: certify the run again.",
        )
    findings = [*_unchanged(directory, certificate), _environment(certificate)]
    same = findings[-1].verdict == "pass"
    return [*findings, *_repeated(directory, certificate, steps, same)]


def _unchanged(directory: RunDirectory, certificate: dict[str, Any]) -> list[Finding]:
    weights = directory.checkpoints / certificate["weights"]["checkpoint"] / "model.safetensors"
    kept = weights.is_file() and sha256(weights) == certificate["weights"]["sha256"]
    losses = _losses(directory)[: certificate["losses"]["steps"]]
    same = _hash(losses) == certificate["losses"]["sha256"]
    recipe = hashlib.sha256(recipe_io.to_yaml(settled_recipe(directory)).encode()).hexdigest()
    return [
        _finding(rule, good, "as certified", "not what was certified")
        for rule, good in (
            ("weights", kept), ("records", same), ("recipe", recipe == certificate["recipe"]),
        )
    ]  # fmt: skip


def _finding(rule: str, good: bool, yes: str, no: str) -> Finding:
    return Finding(rule, "pass" if good else "fail", f"{rule}: {yes if good else no}")


def _environment(certificate: dict[str, Any]) -> Finding:
    here = describe()
    differ = {
        key: [certificate["environment"][key], here[key]]
        for key in _SAME
        if certificate["environment"][key] != here[key]
    }
    if certificate["environment"]["processes"] != 1:
        differ["processes"] = [certificate["environment"]["processes"], 1]
    if not differ:
        return Finding("environment", "pass", "environment: the same versions and processor")
    text = f"environment: {', '.join(differ)} differ, so equal bits cannot be expected"
    return Finding("environment", "note", text, differ)


def _repeated(
    directory: RunDirectory, certificate: dict[str, Any], steps: int, same: bool
) -> list[Finding]:
    recipe, decided = settled_recipe(directory), directory.read_json("resolved.json")
    if recipe.data.source == IN_MEMORY:
        raise RunError(
            f"{directory.path} was trained on Python objects: it cannot be repeated from here"
        )
    first = decided.get("budget.epochs", {}).get("before")
    if first is not None:  # it was extended: the first steps are those of the first plan
        recipe = recipe_io.set_knob(recipe, "budget.epochs", first)
    with tempfile.TemporaryDirectory() as folder:
        losses: list[float] = []
        for record in stream(recipe=recipe, run=Path(folder) / "again"):
            if isinstance(record, Step):
                losses.append(record.loss)
                if len(losses) == steps:
                    break
        again = RunDirectory(Path(folder) / "again").read_json("dataset.json")["splits"]
    prints = {name: split["fingerprint"] for name, split in again.items()}
    data = _finding("data", prints == certificate["data"], "the same images", "other images")
    return [data, _compared(_losses(directory)[:steps], losses, same)]


def _compared(known: list[float], found: list[float], same: bool) -> Finding:
    count = min(len(known), len(found))
    pairs = list(zip(known, found, strict=False))
    evidence = {"known": known, "again": found}
    if known[:count] == found[:count]:
        text = f"repeated: {counted(count, 'step')}, the same losses to the last bit"
        return Finding("repeated", "pass", text, evidence)
    worst = max(abs(a - b) / max(abs(a), 1e-6) for a, b in pairs)
    at = next(i for i, (a, b) in enumerate(pairs, start=1) if a != b)
    text = f"repeated: losses differ from step {at} on, by up to {worst:.2g} of the loss"
    near = worst <= CLOSE and not same
    return Finding("repeated", "warn" if near else "fail", text, evidence)


def _losses(directory: RunDirectory) -> list[float]:
    return [record.loss for record in directory.records() if isinstance(record, Step)]


def _hash(losses: list[float]) -> str:
    return hashlib.sha256(json.dumps(losses).encode()).hexdigest()
