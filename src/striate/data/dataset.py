"""The Dataset: images with numbered targets in splits, the class map fixed by training (F11)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import DataError, listing
from striate.core.findings import Finding
from striate.data.images import Images, Indices
from striate.data.sources import open_source
from striate.data.sources.listing import WHOLE, Listing, Part, natural_order
from striate.data.splits import stratified_holdout

Targets = NDArray[np.int64] | NDArray[np.float32]


@dataclass(frozen=True)
class Split:
    """Images and their targets: class numbers int64 (N,), or 0/1 float32 (N, classes)."""

    images: Images
    targets: Targets

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Indices) -> Split:
        positions = np.asarray(indices, dtype=np.int64)
        return Split(self.images.take(positions), self.targets[positions])


@dataclass(frozen=True)
class Dataset:
    """What training reads. `splits_from` says for each split whether the source made it or we."""

    source: str
    classes: tuple[str, ...]
    multi_label: bool
    splits: dict[str, Split]
    splits_from: dict[str, str]
    findings: tuple[Finding, ...] = ()

    def counts(self, split: str) -> list[int]:
        """Images of each class in a split."""
        targets = self.splits[split].targets
        if targets.ndim == 2:
            return [int(n) for n in targets.sum(axis=0)]
        return np.bincount(targets, minlength=len(self.classes)).tolist()


def open_dataset(
    source: Any,
    *,
    seed: int = 0,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    label_levels: tuple[str, ...] = (),
) -> Dataset:
    """Open a source for training, holding out the splits that it does not bring.

    Raises DataError for what cannot be trained on: one class, a class with too few images, a class
    in validation or test that training does not know.
    """
    found = open_source(source, label_levels)
    origin = dict.fromkeys(found.parts, "given")
    parts = dict(found.parts)
    if WHOLE in parts:
        parts["train"] = parts.pop(WHOLE)
        origin = {"train": "given whole"}
    if "train" not in parts:
        raise DataError(
            f"{found.source} has {', '.join(sorted(parts))} images but none to train on",
            "Expected a train split, or images without splits.",
        )
    _refuse_small_classes(parts, found)
    for split, fraction in (("test", test_fraction), ("val", val_fraction)):
        if split not in parts and fraction > 0:
            parts["train"], parts[split] = _hold_out(parts["train"], fraction, seed, split)
            origin[split] = f"{fraction:.0%} of training, stratified, seed {seed}"
    if "val" not in parts or not any(parts["val"].labels):
        raise DataError(
            f"{found.source}: no labelled validation images",
            "Leave data.val_fraction above 0, or add images.",
        )
    classes = _classes_of(parts["train"])
    findings = [*_ignored(found), *_class_findings(parts, classes, found.source)]
    splits = {
        name: _numbered(parts[name], classes, found.multi_label)
        for name in sorted(parts, key=["train", "val", "test"].index)
    }
    if any(why.startswith("given") for name, why in origin.items() if name == "val"):
        findings += _no_test(origin)
    return Dataset(found.source, classes, found.multi_label, splits, origin, tuple(findings))


def open_for_evaluation(
    source: Any, classes: tuple[str, ...], multi_label: bool, label_levels: tuple[str, ...] = ()
) -> Dataset:
    """Open other data under a trained network's class map; nothing is held out.

    A class that the network does not know raises DataError; missing classes are a warning.
    """
    found = open_source(source, label_levels)
    if found.multi_label and not multi_label:
        raise DataError(
            f"{found.source} has several labels an image; the run's network gives one",
            "Give data with one label an image.",
        )
    findings = [*_ignored(found)]
    for name, part in found.parts.items():
        findings += _check_against(part, classes, name, found.source, "the run's network")
    splits = {n: _numbered(part, classes, multi_label) for n, part in found.parts.items()}
    origin = dict.fromkeys(splits, "given")
    return Dataset(found.source, classes, multi_label, splits, origin, tuple(findings))


def without(dataset: Dataset, drop: dict[str, list[int]]) -> Dataset:
    """Leave out the images at these positions of each split (unreadable ones)."""
    splits = dict(dataset.splits)
    for name, positions in drop.items():
        keep = np.setdiff1d(np.arange(len(splits[name])), positions)
        splits[name] = splits[name].take(keep)
    return replace(dataset, splits=splits)


def _refuse_small_classes(parts: dict[str, Part], found: Listing) -> None:
    train = parts["train"]
    counts = Counter(label for labels in train.labels for label in labels)
    if train.empty_classes:
        raise DataError(
            f"{found.source}: class folders without images: {', '.join(train.empty_classes)}",
            "Add images, or remove the folders.",
        )
    if len(counts) < 2 and not found.multi_label:
        only = next(iter(counts), "none")
        raise DataError(
            f"{found.source}: one class only ({only}, {len(train.images)} images)",
            "Classification needs at least two class folders, such as cats/ and dogs/.",
        )
    if found.multi_label and not counts:
        raise DataError(f"{found.source}: no image has a label")
    needed = 1 + ("val" not in parts) + ("test" not in parts)
    small = [name for name, count in counts.items() if count < max(2, needed)]
    if small:
        shown = [f"{n}: {counts[n]} ({_first_with(train, n)})" for n in sorted(small)]
        raise DataError(
            f"{found.source}: classes with fewer than {max(2, needed)} training images:\n"
            f"{listing(shown)}",
            "Each needs images to train on and others to validate on: add some, or remove it.",
        )


def _first_with(part: Part, label: str) -> str:
    return part.images.name(next(i for i, labels in enumerate(part.labels) if label in labels))


def _hold_out(part: Part, fraction: float, seed: int, split: str) -> tuple[Part, Part]:
    kept, held = stratified_holdout(_strata(part), fraction, seed, f"split {split}")

    def of(positions: NDArray[np.int64]) -> Part:
        return Part(part.images.take(positions), tuple(part.labels[i] for i in positions))

    return of(kept), of(held)


def _strata(part: Part) -> list[str]:
    """Each image's rarest label: with several labels, whole combinations are mostly unique."""
    counts = Counter(label for labels in part.labels for label in labels)
    return [min(labels, key=lambda n: (counts[n], n), default="") for labels in part.labels]


def _classes_of(part: Part) -> tuple[str, ...]:
    return tuple(sorted({n for labels in part.labels for n in labels}, key=natural_order))


def _class_findings(parts: dict[str, Part], classes: tuple[str, ...], source: str) -> list[Finding]:
    findings = []
    for name in ("val", "test"):
        if name in parts:
            findings += _check_against(parts[name], classes, name, source, "the training split")
    return findings


def _check_against(
    part: Part, classes: tuple[str, ...], split: str, source: str, authority: str
) -> list[Finding]:
    """Unknown classes stop, missing ones are counted."""
    counts = Counter(label for labels in part.labels for label in labels)
    unknown = sorted(set(counts) - set(classes), key=natural_order)
    if unknown:
        shown = [f"{name}: {counts[name]} images ({_first_with(part, name)})" for name in unknown]
        raise DataError(
            f"{source}: the {split} split has classes that {authority} does not know:\n"
            f"{listing(shown)}",
            f"{authority.capitalize()} knows: {', '.join(classes[:20])}"
            + (", …" if len(classes) > 20 else "")
            + ". Add, rename or remove them.",
        )
    missing = [name for name in classes if name not in counts]
    if not missing:
        return []
    text = f"the {split} split has no images of {len(missing)} of {len(classes)} classes: "
    return [
        Finding(
            "missing class",
            "warn",
            text + ", ".join(missing[:10]) + (", …" if len(missing) > 10 else ""),
            {"split": split, "classes": missing},
            "Scores of that split say nothing about these classes.",
        )
    ]


def _singular(what: str) -> str:
    return what.replace("files", "file", 1).replace("images", "image", 1)


def _ignored(found: Listing) -> list[Finding]:
    findings = [
        Finding(
            "ignored",
            "note",
            f"{count:,} {what if count > 1 else _singular(what)} ignored",
            {"count": count},
        )
        for what, count in found.ignored.items()
    ]
    for name, part in found.parts.items():
        if part.empty_classes and name not in ("train", WHOLE):
            text = f"empty class folders in {name}: {', '.join(part.empty_classes)}"
            findings.append(Finding("empty class", "warn", text))
    return findings


def _no_test(origin: dict[str, str]) -> list[Finding]:
    if origin.get("test", "given") == "given":
        return []
    text = f"the data brings no test split: {origin['test']} is kept apart as test"
    return [Finding("made test split", "note", text, {}, "data.test_fraction sets the share.")]


def _numbered(part: Part, classes: tuple[str, ...], multi_label: bool) -> Split:
    number = {name: i for i, name in enumerate(classes)}
    if not multi_label:
        single = np.array([number[labels[0]] for labels in part.labels], dtype=np.int64)
        return Split(part.images, single)
    table = np.zeros((len(part.labels), len(classes)), dtype=np.float32)
    for row, labels in enumerate(part.labels):
        table[row, [number[name] for name in labels]] = 1
    return Split(part.images, table)
