"""The data of a training: opened, divided, checked, decoded and measured."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from striate.core.arrays import Ids, Pixels
from striate.core.errors import counted, listing
from striate.core.findings import Finding
from striate.core.recipe import Recipe
from striate.core.records import Note
from striate.data.augment import centre
from striate.data.cache import open_cache
from striate.data.check.copies import (
    accepted,
    copies_across,
    copy_findings,
    disputed,
    labels_differ,
    line_of,
    split_by_origin,
)
from striate.data.check.exclude import read_excluded
from striate.data.check.survey import Survey, fingerprint, sample_headers
from striate.data.dataset import Dataset, open_dataset
from striate.data.decode import Unified
from striate.data.loader import Store, loaded, spread
from striate.data.prepare import Statistics, measure
from striate.data.read import SplitDecoder, positions_without, refuse_emptied, refuse_or_drop
from striate.data.sources.options import SourceOptions
from striate.data.splits import Splitting
from striate.plan.auto import Headers, settle_memory
from striate.plan.decisions import Decisions
from striate.plan.settled import known, or_else, shape_of
from striate.tasks.task import Scored

_STATISTICS_IMAGES = 10_000
_LINES = 4
UNKNOWN = ""
"""The fingerprint of a split of which not all images were read (--data.check off or sample)."""
_LIKELIEST = 500
"""Pairs that are looked at for altered copies before a training; `striate data check` looks at more
and within splits too."""
_MUCH = 0.15
"""Share of the median image that the central crop may leave out without a word."""
HEADERS = 10_000
"""Images whose headers settle the input size and the number of channels."""


@dataclass(frozen=True)
class PreparedData:
    """The checked data set, ready to be read, and how it is read."""

    dataset: Dataset
    surveys: dict[str, Survey]
    stores: dict[str, Store]
    fingerprints: dict[str, str]
    statistics: Statistics
    findings: tuple[Finding, ...]
    whole: str = ""
    """Hash of all images of the source, those that are left out too; "" if not all were read."""

    def scored(self, split: str) -> Scored:
        """Which images an evaluation of a split is of."""
        images = self.dataset.splits[split].images
        names = tuple(images.name(i) for i in range(len(images)))
        return Scored(split, self.dataset.classes, names)


def open_data(decisions: Decisions, source: Any) -> Generator[Note, None, tuple[Dataset, Headers]]:
    """The data set of a recipe, with the headers of (a sample of) each split's images."""
    dataset = open_as(decisions.recipe, source)
    counts = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    yield Note("info", f"{dataset.source}: {counts} images of {len(dataset.classes)} classes")
    headers = {
        name: sample_headers(split.images, decisions.recipe.data.max_megapixels, HEADERS)
        for name, split in dataset.splits.items()
    }
    return dataset, headers


def read_data(
    decisions: Decisions, dataset: Dataset, headers: Headers
) -> Generator[Note, None, PreparedData]:
    """Survey, decode and measure data whose size and channels are settled.

    Raises DataError with all unusable images, and all images that are in two splits, before
    anything is trained.
    """
    decoder = _settle_decoder(decisions, dataset)
    if lost := _cut_away(decisions.recipe, headers["train"][0]):
        yield Note("info", lost)
    read = {name: decoder.read(split.images) for name, split in dataset.splits.items()}
    whole = whole_fingerprint(dataset, {n: found for n, (found, _) in read.items()})
    kept, surveys, findings = _checked(
        decisions.recipe, dataset, {n: found for n, (found, _) in read.items()}
    )
    stores = {
        name: decoder.store(dataset.splits[name].images, found, kept[name], again=name != "test")
        for name, found in read.items()
    }
    dataset = keep(dataset, kept)
    statistics = _measure(decisions, stores["train"])
    prints = {
        name: fingerprint(surveys[name].contents, split.targets, name)
        if surveys[name].seen.all()
        else UNKNOWN
        for name, split in dataset.splits.items()
    }
    for finding in findings:
        level = "warning" if finding.verdict == "warn" else "info"
        yield Note(level, _brief(finding.text))
    return PreparedData(dataset, surveys, stores, prints, statistics, tuple(findings), whole)


def whole_fingerprint(dataset: Dataset, surveys: dict[str, Survey]) -> str:
    """Hash of every image's place in the source and content, however they are divided."""
    if not all(found.seen.all() for found in surveys.values()):
        return UNKNOWN
    rows = sorted(
        f"{dataset.own_names[name]}\0{split.images.key(i)}".encode("utf-8", "surrogatepass")
        + surveys[name].contents[i].tobytes()
        for name, split in dataset.splits.items()
        for i in range(len(split))
    )
    digest = hashlib.sha256()
    for row in rows:
        digest.update(row)
    return digest.hexdigest()


def _brief(text: str) -> str:
    """The first lines of a long list; the whole is in dataset.json."""
    lines = text.splitlines()
    if len(lines) <= _LINES:
        return text
    return "\n".join([*lines[:_LINES], "  … (`striate data check` shows more)"])


def open_as(recipe: Recipe, source: Any, *, strict: bool = True) -> Dataset:
    """The data set as the recipe divides it, without the images that it excludes; where not
    `strict`, faults of classes and groups are findings."""
    data = recipe.data
    return open_dataset(
        source,
        Splitting(
            recipe.seed, or_else(data.val_fraction, None),
            data.test_fraction, data.group_by, data.time_by,
            data.folds, data.fold,
        ),
        options=options_of(recipe),
        weight_by=data.weight_by,
        exclude=read_excluded(data.exclude),
        allow=data.allow,
        strict=strict,
    )  # fmt: skip


def options_of(recipe: Recipe) -> SourceOptions:
    """How the recipe reads its source."""
    data = recipe.data
    return SourceOptions(
        levels=data.label_levels,
        columns=tuple(c for c in (data.group_by, data.time_by, data.weight_by) if c),
        class_level=or_else(data.class_level, None),
        label_column=data.label_column,
        label_pattern=data.label_pattern,
        skip_bad=data.skip_bad,
    )


def _settle_decoder(decisions: Decisions, dataset: Dataset) -> SplitDecoder:
    """What decodes the images, and where they are kept."""
    data = decisions.recipe.data
    readable = "auto" not in (decisions.recipe.data.image_size, decisions.recipe.data.channels)
    how = shape_of(decisions.recipe) if readable else Unified(8, 3, "crop", data.max_megapixels)
    count = sum(len(split) for split in dataset.splits.values())
    total = count * how.size**2 * how.channels
    in_memory = settle_memory(decisions, total)
    cache = open_cache(or_else(data.cache_mb, None))
    return SplitDecoder(how, cache, in_memory, data.check, data.allow, total)


def _cut_away(recipe: Recipe, sides: Any) -> str:
    """What the central crop leaves out of most images, if that is much. sides: (K, 2)."""
    if or_else(recipe.data.resize, "crop") != "crop" or not len(sides):
        return ""
    share = float(np.median(1 - sides.min(axis=1) / sides.max(axis=1)))
    if share < _MUCH:
        return ""
    return (
        f"the central crop leaves out {share:.0%} of the median image; --data.resize pad keeps all "
        "of it (with black borders), --data.resize squash stretches it"
    )


def _checked(
    recipe: Recipe, dataset: Dataset, surveys: dict[str, Survey]
) -> tuple[dict[str, Ids], dict[str, Survey], list[Finding]]:
    """Positions and surveys of the images to use; refuses bad images and leakage (F7, F13)."""
    data = recipe.data
    faults = {name: found.faults for name, found in surveys.items()}
    sound, bad = refuse_or_drop(dataset, faults, skip_bad=data.skip_bad)
    drop = {name: set(found.faults) for name, found in surveys.items()}
    findings = [*dataset.findings, *([bad] if bad else [])]
    copies = []
    if data.check != "off":
        copies = copies_across(dataset, surveys, data.max_megapixels, most=_LIKELIEST)
        copies += disputed(dataset, surveys, data.max_megapixels)
    ours, copies = split_by_origin(copies, dataset.splits_from)
    findings += accepted(copy_findings(dataset, copies), "leakage" in data.allow)
    for copy in ours:
        drop[copy.second[0]].add(copy.second[1])
    torn = [copy for copy in ours if labels_differ(dataset, copy)]
    if torn:
        lines = listing([line_of(dataset, copy) for copy in torn], 5)
        text = f"{counted(len(torn), 'pair')} of equal images with different labels:\n{lines}"
        findings.append(Finding("disputed copies", "warn", text))
    kept = {n: positions_without(len(s), drop[n]) for n, s in dataset.splits.items()}
    if ours:
        refuse_emptied(sound, keep(dataset, kept), "copies")
        text = f"{len(ours):,} held-out images are pixel-identical to others and were left out"
        findings.append(Finding("copies", "note", text))
    return kept, {name: found.take(kept[name]) for name, found in surveys.items()}, findings


def keep(dataset: Dataset, kept: dict[str, Ids]) -> Dataset:
    """The data set of the images at these positions only."""
    splits = {name: split.take(kept[name]) for name, split in dataset.splits.items()}
    return replace(dataset, splits=splits)


def _measure(decisions: Decisions, store: Store) -> Statistics:
    """Statistics of the training images, streaming, from a sample of at most 10,000 (D1)."""
    sample = spread(len(store), _STATISTICS_IMAGES)
    plan = np.array_split(sample, max(1, len(sample) // 500))
    size = known(decisions.recipe.data.image_size, "data.image_size")
    return measure(centre(batch, size) for batch in loaded(store, plan, 2))


def pictures(store: Store, ids: Ids, size: int) -> Pixels:
    """These images without augmentation, cut to the input size."""
    plan = np.array_split(ids, -(-len(ids) // 500))
    return centre(np.concatenate(list(loaded(store, plan, 2))), size)
