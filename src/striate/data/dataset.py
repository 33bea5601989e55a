"""The Dataset: images with numbered targets in splits, the class map fixed by training (F11)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import DataError, counted, listing, perhaps
from striate.core.findings import Finding
from striate.data.images import Images, Indices
from striate.data.sources import open_source
from striate.data.sources.listing import WHOLE, Listing, Part, natural_order
from striate.data.sources.names import alike, alike_findings
from striate.data.sources.options import AS_FOUND, SourceOptions
from striate.data.splits import Splitting, fold_of, hold_out, usual_share, values_of
from striate.data.targets import KINDS, Targets, as_kind


@dataclass(frozen=True)
class Split:
    """Images and their targets."""

    images: Images
    targets: Targets
    weights: NDArray[np.float64] | None = None
    """Of a weighted sampler."""

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Indices) -> Split:
        positions = np.asarray(indices, dtype=np.int64)
        weights = None if self.weights is None else self.weights[positions]
        return Split(self.images.take(positions), self.targets.take(positions), weights)


@dataclass(frozen=True)
class Dataset:
    """What training reads. `splits_from` says for each split whether the source made it or we."""

    source: str
    classes: tuple[str, ...]
    kind: str
    """What kind of targets the images have (see targets.py)."""
    splits: dict[str, Split]
    splits_from: dict[str, str]
    findings: tuple[Finding, ...] = ()
    own_names: dict[str, str] = field(default_factory=dict)
    """What the source itself calls the part that each split is of: train, val, test or all."""

    def counts(self, split: str) -> list[int]:
        """Images of each class in a split."""
        return self.splits[split].targets.counts(len(self.classes)).tolist()


def open_dataset(
    source: Any,
    how: Splitting | None = None,
    *,
    options: SourceOptions = AS_FOUND,
    weight_by: str = "",
    exclude: Iterable[tuple[str, str]] = (),
    allow: Iterable[str] = (),
    strict: bool = True,
) -> Dataset:
    """Open a source for training, holding out the splits that it does not bring.

    weight_by: the table's column of sampling weights. exclude: (the source's own split or "", key)
    of images to leave out, after the splits are drawn: leaving one out moves no other. allow:
    "leakage" accepts groups in several given splits. Raises DataError for what cannot be trained
    on: one class, a class with too few images, a class in validation or test that training does
    not know, a group in two given splits; where not `strict` the last two are findings that fail.
    """
    how = how or Splitting()
    columns = tuple(name for name in (how.group_by, how.time_by, weight_by) if name)
    found = open_source(source, replace(options, columns=columns))
    parts, origin = dict(found.parts), dict.fromkeys(found.parts, "given")
    own = {name: name for name in parts}
    if WHOLE in parts:
        parts["train"] = parts.pop(WHOLE)
        origin, own = {"train": "given without splits; what is not held out"}, {"train": WHOLE}
    if "train" not in parts:
        raise DataError(
            f"{found.source} has {', '.join(sorted(parts))} images but none to train on",
            "Expected a train split (train/CLASS/image.jpg), or images without splits "
            "(CLASS/image.jpg). Such data can be evaluated and mapped.",
        )
    _refuse_small_classes(parts, found, how)
    findings = [*_ignored(found), *_across_groups(parts, how, found.source, set(allow))]
    _divide(parts, origin, how)
    own = {name: own.get(name, own["train"]) if origin[name] == "given" else own["train"]
           for name in parts}  # fmt: skip
    findings += _leave_out(parts, own, set(exclude))
    if "val" not in parts or not parts["val"].targets.labelled():
        raise DataError(
            f"{found.source}: no labelled validation images",
            "Leave data.val_fraction above 0, or add images.",
        )
    findings += _class_findings(parts, found.source)
    if strict:
        _refuse_failures(findings)
    counts = parts["train"].counts()
    others = set() if strict else {n for part in parts.values() for n in part.counts()}
    classes = tuple(sorted({*counts, *others}, key=natural_order))
    findings += alike_findings(classes)
    kind = found.kind
    splits = {
        name: _numbered(parts[name], classes, kind)
        for name in sorted(parts, key=["train", "val", "test"].index)
    }
    if weight_by:
        weights = _weights(parts["train"], weight_by, found.source)
        splits["train"] = replace(splits["train"], weights=weights)
    findings += _no_test(origin)
    return Dataset(found.source, classes, kind, splits, origin, tuple(findings), own)


def open_for_evaluation(
    source: Any,
    classes: tuple[str, ...],
    kind: str,
    options: SourceOptions = AS_FOUND,
) -> Dataset:
    """Open other data under a trained network's class map, with targets of the kind that it was
    trained on; nothing is held out.

    `options.columns` of a table are no labels. A class that the network does not know raises
    DataError; missing classes are a warning.
    """
    found = open_source(source, options)
    for part in found.parts.values():
        try:
            as_kind(part.targets, kind, len(part.names))
        except ValueError:
            wanted = KINDS[kind].described if kind in KINDS else kind
            raise DataError(
                f"{found.source} has {part.targets.described}; the run's network was trained on "
                f"{wanted}",
                f"Give data with {wanted}.",
            ) from None
    findings = [*_ignored(found)]
    for name, part in found.parts.items():
        findings += _check_against(part, classes, name, found.source, "the run's network")
    _refuse_failures(findings)
    splits = {n: _numbered(part, classes, kind) for n, part in found.parts.items()}
    origin = dict.fromkeys(splits, "given")
    return Dataset(found.source, classes, kind, splits, origin, tuple(findings))


def without(dataset: Dataset, drop: Mapping[str, Iterable[int]]) -> Dataset:
    """Leave out the images at these positions of each split (unreadable ones)."""
    splits = dict(dataset.splits)
    for name, positions in drop.items():
        keep = np.setdiff1d(np.arange(len(splits[name])), list(positions))
        splits[name] = splits[name].take(keep)
    return replace(dataset, splits=splits)


def _leave_out(
    parts: dict[str, Part], own: Mapping[str, str], exclude: set[tuple[str, str]]
) -> list[Finding]:
    """Drop the images that `exclude` names from the parts, in place; say how many."""
    if not exclude:
        return []
    dropped: list[tuple[str, str]] = []
    for name, part in parts.items():
        keys = [part.images.key(i) for i in range(len(part))]
        out = [
            i for i, key in enumerate(keys) if ("", key) in exclude or (own[name], key) in exclude
        ]
        dropped += [(own[name], keys[i]) for i in out]
        parts[name] = part.take(np.setdiff1d(np.arange(len(part)), out)) if out else part
    twice = sorted({key for _, key in dropped if len({o for o, k in dropped if k == key}) > 1}
                   & {key for split, key in exclude if not split})  # fmt: skip
    if twice:
        raise DataError(
            f"data.exclude: {counted(len(twice), 'name')} in several splits:\n{listing(twice)}",
            "Say in the column split which is meant: train, val, test or all.",
        )
    text = f"{counted(len(dropped), 'image')} left out (data.exclude)"
    findings = [Finding("excluded", "note", text, {"images": [key for _, key in dropped]})]
    unknown = len({key for _, key in exclude} - {key for _, key in dropped})
    if unknown:
        text = f"{counted(unknown, 'name')} of data.exclude not found among the images"
        findings.append(Finding("excluded", "warn", text))
    return findings


def _divide(parts: dict[str, Part], origin: dict[str, str], how: Splitting) -> None:
    """Hold out what the source does not bring; with folds the test part is one of them."""
    if how.folds:
        parts.pop("test", None)
        rest, fold = fold_of(parts["train"], how)
        parts["test"], parts["train"] = parts["train"].take(fold), parts["train"].take(rest)
        kind = f"grouped by {how.group_by}" if how.group_by else "stratified"
        origin["test"] = f"fold {how.fold} of {how.folds}, {kind}, seed {how.seed}"
    for split, wanted in (("test", how.test), ("val", how.val)):
        fraction = usual_share(parts["train"]) if wanted is None else wanted
        if split not in parts and fraction > 0:
            kept, held = hold_out(parts["train"], fraction, how, f"split {split}")
            parts["train"], parts[split] = parts["train"].take(kept), parts["train"].take(held)
            origin[split] = how.describe(fraction)


def _refuse_small_classes(parts: dict[str, Part], found: Listing, how: Splitting) -> None:
    train = parts["train"]
    counts = train.counts()
    if train.empty_classes:
        unread = [f"{f.text}. {f.remedy}" for f in found.remarks if f.rule == "unread format"]
        raise DataError(
            f"{found.source}: class folders without images: {', '.join(train.empty_classes)}",
            "\n".join(unread) or "Add images, or remove the folders.",
        )
    needed_classes = train.targets.fewest_classes
    if len(counts) < needed_classes == 2:
        only = next(iter(counts), "none")
        raise DataError(
            f"{found.source}: one class only ({only}, {counted(len(train.images), 'image')})",
            "Classification needs at least two class folders, such as cats/ and dogs/.",
        )
    if len(counts) < needed_classes:
        raise DataError(f"{found.source}: no image has a label")
    needed = max(2, how.folds, 1 + ("val" not in parts) + ("test" not in parts))
    small = [name for name, count in counts.items() if count < needed]
    if small:
        shown = [f"{n}: {counts[n]} ({train.first_with(n)})" for n in sorted(small)]
        raise DataError(
            f"{found.source}: classes with fewer than {needed} training images:\n{listing(shown)}",
            "Each needs images to train on and others to validate on: add some, or remove it.",
        )


def _across_groups(
    parts: dict[str, Part], how: Splitting, source: str, allow: set[str]
) -> list[Finding]:
    """A group (a patient, a video) in two given splits is leakage that no pixel shows."""
    if not how.group_by or len(parts) < 2:
        return []
    groups = {n: set(values_of(part, how.group_by, "group_by")) for n, part in parts.items()}
    names = list(groups)
    shared = sorted(
        {g for i, a in enumerate(names) for b in names[i + 1 :] for g in groups[a] & groups[b]},
        key=natural_order,
    )
    if not shared:
        return []
    return [
        Finding(
            "group leakage",
            "warn" if "leakage" in allow else "fail",
            f"{source}: {len(shared)} groups are in more than one given split:\n{listing(shared)}",
            {"groups": shared},
            "Divide the images by group, leave the splits to Striate, or accept it with --allow "
            "leakage.",
        )
    ]


def _weights(part: Part, column: str, source: str) -> NDArray[np.float64]:
    if column not in part.columns:
        raise DataError(
            f"{source} has no column '{column}' (data.weight_by)",
            perhaps(column, part.columns) if part.columns else "Weights need a CSV with them.",
        )
    values = np.empty(len(part))
    for i, text in enumerate(part.columns[column]):
        try:
            values[i] = float(text)
        except ValueError:
            values[i] = np.nan
        if not 0 <= values[i] < np.inf:
            raise DataError(f"{part.images.name(i)}: weight '{text}'", "Expected 0 or more.")
    if not values.any():
        raise DataError(f"{source}: all weights in '{column}' are 0")
    return values


def _refuse_failures(findings: Iterable[Finding]) -> None:
    for finding in findings:
        if finding.verdict == "fail":
            raise DataError(finding.text, finding.remedy)


def _class_findings(parts: dict[str, Part], source: str) -> list[Finding]:
    classes = tuple(sorted(parts["train"].counts(), key=natural_order))
    return [
        finding
        for name in ("val", "test")
        if name in parts
        for finding in _check_against(parts[name], classes, name, source, "the training split")
    ]


def _check_against(
    part: Part, classes: tuple[str, ...], split: str, source: str, authority: str
) -> list[Finding]:
    """Unknown classes fail, missing ones are counted."""
    counts, findings = part.counts(), []
    unknown = sorted(set(counts) - set(classes), key=natural_order)
    if unknown:
        shown = [f"{name}: {counts[name]} images ({part.first_with(name)})" for name in unknown]
        text = f"{source}: the {split} split has classes that {authority} does not know:\n"
        remedy = f"{authority.capitalize()} knows: {', '.join(classes[:20])}" + (
            ", …" if len(classes) > 20 else ""
        )
        same = [group for group in alike([*unknown, *classes]) if set(group) & set(unknown)]
        if same:
            pairs = "; ".join(" and ".join(f"'{name}'" for name in group) for group in same[:5])
            remedy += f". Perhaps these are one class each: {pairs}"
        findings.append(
            Finding(
                "unknown class",
                "fail",
                text + listing(shown),
                {"split": split, "classes": unknown},
                remedy + ". Add, rename or remove them.",
            )
        )
    missing = [name for name in classes if name not in counts]
    if missing:
        text = f"the {split} split has no images of {len(missing)} of {len(classes)} classes: "
        findings.append(
            Finding(
                "missing class",
                "warn",
                text + ", ".join(missing[:10]) + (", …" if len(missing) > 10 else ""),
                {"split": split, "classes": missing},
                "Scores of that split say nothing about these classes.",
            )
        )
    return findings


def _singular(what: str) -> str:
    return what.replace("files", "file", 1).replace("images", "image", 1)


def _ignored(found: Listing) -> list[Finding]:
    """What the source remarked, and what of it is not used."""
    findings = list(found.remarks)
    for what, count in found.ignored.items():
        if count:
            text = f"{count:,} {what if count > 1 else _singular(what)} ignored"
            findings.append(Finding("ignored", "note", text, {"count": count}))
    for name, part in found.parts.items():
        if part.empty_classes and name not in ("train", WHOLE):
            text = f"empty class folders in {name}: {', '.join(part.empty_classes)}"
            findings.append(Finding("empty class", "warn", text))
    return findings


def _no_test(origin: dict[str, str]) -> list[Finding]:
    if origin.get("val") != "given" or origin.get("test", "given") == "given":
        return []
    text = f"the data brings no test split: {origin['test']} is kept apart as test"
    return [Finding("made test split", "note", text, {}, "data.test_fraction sets the share.")]


def _numbered(part: Part, classes: tuple[str, ...], kind: str) -> Split:
    """The part under the class map."""
    number = {name: i for i, name in enumerate(classes)}
    places = np.array([number.get(name, -1) for name in part.names], dtype=np.int64)
    targets = as_kind(part.targets, kind, len(part.names))
    return Split(part.images, targets.renumbered(places, len(classes)))
