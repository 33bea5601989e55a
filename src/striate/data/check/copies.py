"""Copies within and across splits, from what the survey saw (F13)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from striate.core.errors import DataError, counted, listing
from striate.core.findings import Finding
from striate.data.check.altered import (
    GLANCE,
    MOST,
    Side,
    altered_copies,
    limit_beside,
    usual_limit,
)
from striate.data.check.duplicates import (
    TURNS,
    Copy,
    candidates,
    confirmed,
    equal_contents,
    turned_looks,
)
from striate.data.check.survey import Survey
from striate.data.dataset import Dataset

LARGE = 200_000
"""Of more images than this, near copies are sought with faiss, or else among this many of them."""


def copies_across(
    dataset: Dataset, surveys: Mapping[str, Survey], max_megapixels: float, *, most: int = MOST
) -> list[Copy]:
    """Copies of which one is in one split and one in another, altered ones among the `most` pairs
    that look likeliest."""
    known = _known(dataset, surveys, max_megapixels)
    found: list[Copy] = []
    for one, other in combinations(dataset.splits, 2):
        found += _between(dataset, surveys, (one, other), max_megapixels, "")
        found += _altered(dataset, surveys, known, (one, other), max_megapixels, most)
    return _once(found)


def all_copies(
    dataset: Dataset, surveys: Mapping[str, Survey], max_megapixels: float, *, turned: bool = False
) -> list[Copy]:
    """Copies within and across splits, with `turned` also mirrored and rotated ones."""
    known = _known(dataset, surveys, max_megapixels)
    found: list[Copy] = []
    for name in dataset.splits:
        found += _within(dataset, surveys, name, max_megapixels)
        found += _altered(dataset, surveys, known, (name, name), max_megapixels, MOST)
    found += copies_across(dataset, surveys, max_megapixels)
    for turn in list(TURNS)[1:] if turned else []:
        names = list(dataset.splits)
        for i, one in enumerate(names):
            for other in names[i:]:
                found += _between(dataset, surveys, (one, other), max_megapixels, turn)
    return _once(found)


def copy_findings(dataset: Dataset, copies: Iterable[Copy]) -> list[Finding]:
    """Judged: equal pixels in two splits fail, all others are warnings."""
    copies = list(copies)
    across = [copy for copy in copies if copy.first[0] != copy.second[0]]
    within = [copy for copy in copies if copy.first[0] == copy.second[0]]
    findings = []
    for members, place, verdict in (
        (across, "across splits", "fail"),
        (within, "in one split", ""),
    ):
        for kind, what in (("exact", "pixel-identical"), ("near", "near-identical")):
            chosen = [copy for copy in members if copy.kind == kind]
            if not chosen:
                continue
            disputed = sum(labels_differ(dataset, copy) for copy in chosen)
            also = f", {disputed} with different labels" if disputed else ""
            lines = [line_of(dataset, copy) for copy in chosen]
            findings.append(
                Finding(
                    f"{kind} copies {place}",
                    "fail" if verdict and kind == "exact" else "warn",
                    f"{counted(len(chosen), 'pair')} of {what} images {place}{also}:"
                    f"\n{listing(lines)}",
                    {"pairs": lines, "different_labels": disputed},
                    _remedy(kind, across=bool(verdict)),
                )
            )
    return findings


def split_by_origin(
    copies: Iterable[Copy], origin: Mapping[str, str]
) -> tuple[list[Copy], list[Copy]]:
    """(pixel-identical pairs whose second image is in a split that we made, all others).

    The second split is always a held-out one; where we drew it, we leave its copy out instead of
    asking the user to repair what is not at fault.
    """
    made = {name for name, why in origin.items() if not why.startswith("given")}
    copies = list(copies)

    def is_ours(copy: Copy) -> bool:
        across = copy.first[0] != copy.second[0]
        return copy.kind == "exact" and across and copy.second[0] in made

    ours, rest = [c for c in copies if is_ours(c)], [c for c in copies if not is_ours(c)]
    return list({c.second: c for c in ours}.values()), rest


def accepted(findings: Iterable[Finding], leakage: bool) -> list[Finding]:
    """Failures raise DataError, or with --allow leakage become recorded warnings."""
    judged = []
    for finding in findings:
        if finding.verdict == "fail" and not leakage:
            raise DataError(finding.text, finding.remedy)
        allowed = replace(finding, verdict="warn", text=finding.text + " (allowed)")
        judged.append(allowed if finding.verdict == "fail" else finding)
    return judged


def _altered(
    dataset: Dataset,
    surveys: Mapping[str, Survey],
    known: tuple[Side, float],
    names: tuple[str, str],
    max_megapixels: float,
    most: int,
) -> list[Copy]:
    """Copies that were cropped, framed, brightened, marked or mirrored."""
    sides = [_side(dataset, surveys, name) for name in dict.fromkeys(names)]
    one, other = sides[0], sides[-1]
    reference, usual = known
    limit = limit_beside(usual, reference, other, max_megapixels)
    return [
        copy
        for turn in ("", "mirrored")
        for copy in altered_copies(one, other, limit, max_megapixels, turn, most)
    ]


def _known(
    dataset: Dataset, surveys: Mapping[str, Survey], max_megapixels: float
) -> tuple[Side, float]:
    """What different images of this kind look like: the largest split (validation may have few
    images) and its usual limit."""
    largest = max(surveys, key=lambda name: len(dataset.splits[name]))
    side = _side(dataset, surveys, largest)
    return side, usual_limit(side, max_megapixels)


def _side(dataset: Dataset, surveys: Mapping[str, Survey], name: str) -> Side:
    """The images of a split that are large enough and show something."""
    found = surveys[name]
    large = found.sides.min(axis=1) >= GLANCE
    places = _searched(np.flatnonzero(found.good & large & (found.spread > 0)))
    return Side(name, dataset.splits[name].images, places, found.thumbs[places])


def line_of(dataset: Dataset, copy: Copy) -> str:
    """Both images of a pair, with their splits and what tells them apart."""
    split, other = copy.first[0], copy.second[0]
    names = [dataset.splits[s].images.name(k) for s, k in (copy.first, copy.second)]
    turned = f", {copy.turned}" if copy.turned else ""
    rest = f"{copy.residual:.0%} differs" if copy.kind == "near" else "equal pixels"
    return f"{split} {names[0]} = {other} {names[1]} ({rest}{turned})"


def _remedy(kind: str, *, across: bool) -> str:
    if across and kind == "exact":
        return (
            "The score would be too good. Remove the copies from one split (striate data check "
            "--csv FILE lists them), or accept them with --allow leakage."
        )
    if across:
        return "Look at them: where they are the same picture, the score is too good."
    return "Copies count twice; with different labels one of the two is wrong."


def labels_differ(dataset: Dataset, copy: Copy) -> bool:
    """Whether two equal images have different labels."""
    one, other = (dataset.splits[split].targets.of(i) for split, i in (copy.first, copy.second))
    return one != other


def equal_within(
    dataset: Dataset, surveys: Mapping[str, Survey], name: str, max_megapixels: float
) -> Iterator[Copy]:
    """Images of a split that are equal in bytes, or in pixels however they are stored."""
    found, images = surveys[name], dataset.splits[name].images
    good = np.flatnonzero(found.good)
    double = set()
    for group in equal_contents([found.contents[i].tobytes() for i in good]):
        for other in group[1:]:
            double.add(int(good[other]))
            yield Copy((name, int(good[group[0]])), (name, int(good[other])), "exact")
    rest = np.array([i for i in good.tolist() if i not in double], dtype=np.int64)
    for group in equal_contents([found.sights[i].tobytes() for i in rest]):
        pairs = np.array([[rest[group[0]], rest[other]] for other in group[1:]])
        there = (name, images)
        yield from (
            copy for copy in confirmed(pairs, there, there, max_megapixels) if copy.kind == "exact"
        )


def _within(
    dataset: Dataset, surveys: Mapping[str, Survey], name: str, max_megapixels: float
) -> Iterator[Copy]:
    """Equal ones first: one of each group stands for it in the search by looks."""
    found, images = surveys[name], dataset.splits[name].images
    double = set()
    for copy in equal_within(dataset, surveys, name, max_megapixels):
        double.add(copy.second[1])
        yield copy
    good = np.flatnonzero(found.good).tolist()
    distinct = _searched(np.array([i for i in good if i not in double], dtype=np.int64))
    for pairs in _proposed(found.looks[distinct]):
        yield from confirmed(distinct[pairs], (name, images), (name, images), max_megapixels)


def disputed(dataset: Dataset, surveys: Mapping[str, Survey], max_megapixels: float) -> list[Copy]:
    """Equal training images with different labels."""
    found = equal_within(dataset, surveys, "train", max_megapixels)
    return [copy for copy in found if labels_differ(dataset, copy)]


def _between(
    dataset: Dataset,
    surveys: Mapping[str, Survey],
    names: tuple[str, str],
    max_megapixels: float,
    turn: str,
) -> Iterator[Copy]:
    one, other = names
    left, right = np.flatnonzero(surveys[one].good), np.flatnonzero(surveys[other].good)
    equal = set()
    if not turn:
        where: dict[bytes, int] = {}
        for i in left.tolist():
            where.setdefault(surveys[one].contents[i].tobytes(), i)
        for j in right.tolist():
            i = where.get(surveys[other].contents[j].tobytes(), -1)
            if i >= 0:
                equal.add(j)
                yield Copy((one, i), (other, j), "exact")
        seen: dict[bytes, int] = {}
        for i in left.tolist():
            seen.setdefault(surveys[one].sights[i].tobytes(), i)
        sights = ((seen.get(surveys[other].sights[j].tobytes(), -1), j) for j in right.tolist())
        alike = np.array([(i, j) for i, j in sights if i >= 0 and j not in equal], dtype=np.int64)
        both = [(name, dataset.splits[name].images) for name in names]
        for copy in confirmed(alike.reshape(-1, 2), both[0], both[1], max_megapixels):
            if copy.kind == "exact":
                equal.add(copy.second[1])
                yield copy
    left = _searched(left)
    right = _searched(np.array([j for j in right.tolist() if j not in equal], dtype=np.int64))
    looks = turned_looks(surveys[other].looks[right], turn)
    places = [(name, dataset.splits[name].images) for name in names]
    for pairs in _proposed(looks, surveys[one].looks[left]):
        ours = np.stack([left[pairs[:, 1]], right[pairs[:, 0]]], axis=1)
        if one == other:
            ours = ours[ours[:, 0] < ours[:, 1]]
        yield from confirmed(ours, places[0], places[1], max_megapixels, turn)


def _searched(positions: np.ndarray) -> np.ndarray:
    """All, or as many as a search by brute force can compare."""
    if len(positions) <= LARGE or _faiss() is not None:
        return positions
    return positions[np.linspace(0, len(positions) - 1, LARGE).astype(np.int64)]


def _proposed(looks: np.ndarray, others: np.ndarray | None = None) -> Iterator[np.ndarray]:
    large = max(len(looks), 0 if others is None else len(others)) > LARGE
    faiss = _faiss() if large else None
    if faiss is None:
        yield from candidates(looks, others)
        return
    from striate.data.check.duplicates import CANDIDATE

    base = (looks if others is None else others).astype(np.float32)
    index = faiss.index_factory(base.shape[1], "IVF4096,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(base[:: max(1, len(base) // 400_000)])
    index.add(base)
    index.nprobe = 8
    for start in range(0, len(looks), 4096):
        block = looks[start : start + 4096].astype(np.float32)
        cosines, partners = index.search(block, 17)
        rows, ranks = np.nonzero(cosines > CANDIDATE)
        pairs = np.stack([rows + start, partners[rows, ranks]], axis=1)
        yield pairs[pairs[:, 0] < pairs[:, 1]] if others is None else pairs


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        return None
    return faiss


def _once(copies: Iterable[Copy]) -> list[Copy]:
    """Each pair once, as first found: an image that is symmetric is its own mirror image."""
    unique: dict[tuple[tuple[str, int], tuple[str, int]], Copy] = {}
    for copy in copies:
        unique.setdefault((copy.first, copy.second), copy)
    return list(unique.values())
