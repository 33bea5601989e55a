"""What a survey says of a data set, as findings: sizes, modes, balance, odd images, metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import counted, listing
from striate.core.findings import Finding
from striate.data.boxes import Boxes
from striate.data.check.boxes import box_findings
from striate.data.check.survey import FORMATS, Survey
from striate.data.dataset import Dataset
from striate.data.decode import ANIMATED, DEEP, ROTATED, TRANSPARENT
from striate.data.targets import class_numbers

IMBALANCE = 10
"""Classes that differ by more than this factor are a warning."""
SKILL = 0.3
"""Share of the way from chance to certainty at which metadata is said to give the class away."""
_SMALL = 8
_FLAGS = {
    ROTATED: ("rotated", "stored on the side with an EXIF orientation, which is applied"),
    TRANSPARENT: ("transparent", "with transparency, laid over white"),
    DEEP: ("deep", "of 16 or more bits a channel, scaled to 8"),
    ANIMATED: ("animated", "with several frames, of which the first is used"),
}

Surveys = Mapping[str, Survey]


def survey_findings(dataset: Dataset, surveys: Surveys) -> list[Finding]:
    """All judgements that need no pixels beyond those that the survey saw."""
    return [
        *_sizes(surveys),
        *_balance(dataset),
        *_shares(dataset),
        *_flags(dataset, surveys),
        *_colours(dataset, surveys),
        *_odd(dataset, surveys),
        *_metadata(dataset, surveys),
        *_boxes(dataset, surveys),
    ]


def _sizes(surveys: Surveys) -> Iterator[Finding]:
    for split, found in surveys.items():
        sides = found.sides[found.good]
        if not len(sides):
            continue
        low, median, high = sides.min(axis=0), np.median(sides, axis=0), sides.max(axis=0)
        shapes, counts = np.unique(sides, axis=0, return_counts=True)
        formats = Counter(FORMATS[i] or "other" for i in found.formats[found.good].tolist())
        text = (
            f"{split}: {low[1]}×{low[0]} pixels"
            if len(shapes) == 1
            else f"{split}: width {low[1]} to {high[1]} (median {median[1]:g}), height {low[0]} to "
            f"{high[0]} (median {median[0]:g}), {len(shapes)} sizes"
        )
        kinds = ", ".join(f"{n:,} {name}" for name, n in formats.most_common())
        yield Finding(
            "sizes",
            "note",
            f"{text}; {kinds}",
            {
                "split": split,
                "sizes": len(shapes),
                "commonest": [int(v) for v in shapes[counts.argmax()]],
                "median": [float(v) for v in median],
                "formats": dict(formats),
            },
        )


def _balance(dataset: Dataset) -> Iterator[Finding]:
    counts = dict(zip(dataset.classes, dataset.counts("train"), strict=True))
    most, least = max(counts, key=lambda n: counts[n]), min(counts, key=lambda n: counts[n])
    factor = counts[most] / max(1, counts[least])
    text = f"train: {counts[least]:,} ({least}) to {counts[most]:,} ({most}) images a class"
    remedy = "--data.sampler balanced shows classes equally often." if factor > IMBALANCE else ""
    verdict = "warn" if factor > IMBALANCE else "pass"
    yield Finding("class balance", verdict, text, {"counts": counts}, remedy)  # type: ignore[arg-type]


def _shares(dataset: Dataset) -> Iterator[Finding]:
    """Classes whose share of another split is not that of training (a χ² test)."""
    from scipy.stats import chi2_contingency

    train = np.array(dataset.counts("train"))
    for name in dataset.splits:
        other = np.array(dataset.counts(name))
        both = (train + other) > 0
        if name == "train" or not other.any() or both.sum() < 2:
            continue
        p = chi2_contingency(np.stack([train[both], other[both]])).pvalue
        gap = other / other.sum() - train / train.sum()
        worst = int(np.abs(gap).argmax())
        if p < 1e-4 and abs(gap[worst]) > 0.02:
            text = (
                f"classes have other shares in {name} than in train: {dataset.classes[worst]} "
                f"{train[worst] / train.sum():.1%} → {other[worst] / other.sum():.1%}"
            )
            yield Finding(
                "class shares", "warn", text, {"split": name, "p": float(p)},
                "Scores of that split weigh the classes differently.",
            )  # fmt: skip


def _flags(dataset: Dataset, surveys: Surveys) -> Iterator[Finding]:
    for flag, (rule, what) in _FLAGS.items():
        names = _named(dataset, {n: np.flatnonzero(s.flags & flag) for n, s in surveys.items()})
        if names:
            verdict = "warn" if flag == ANIMATED else "note"
            text = f"{counted(len(names), 'image')} {what}"
            yield Finding(rule, verdict, text, {"images": names})  # type: ignore[arg-type]


def _colours(dataset: Dataset, surveys: Surveys) -> Iterator[Finding]:
    """A few grey images among colour ones, whatever they are stored as."""
    grey = {n: np.flatnonzero(s.good & ~s.coloured) for n, s in surveys.items()}
    total = sum(int(s.good.sum()) for s in surveys.values())
    names = _named(dataset, grey)
    if names and len(names) < 0.5 * total:
        text = f"{counted(len(names), 'image')} without colour, of {total:,}"
        yield Finding("grey images", "note", text, {"images": names})


def _odd(dataset: Dataset, surveys: Surveys) -> Iterator[Finding]:
    constant = {n: np.flatnonzero(s.good & (s.spread == 0)) for n, s in surveys.items()}
    names = _named(dataset, constant)
    if names:
        text = f"{counted(len(names), 'image')} of one colour:\n{listing(names)}"
        remedy = "Nothing can be learned from them: look at them, or exclude them."
        yield Finding("constant images", "warn", text, {"images": names}, remedy)
    small = {n: np.flatnonzero(s.good & (s.sides.min(axis=1) < _SMALL)) for n, s in surveys.items()}
    names = _named(dataset, small)
    if names:
        text = (
            f"{counted(len(names), 'image')} with a side below {_SMALL} pixels:\n{listing(names)}"
        )
        yield Finding("tiny images", "warn", text, {"images": names})


def _metadata(dataset: Dataset, surveys: Surveys) -> Iterator[Finding]:
    """Does the class show in size, format and mode alone? A network may learn that instead.

    Each image's class is guessed as the commonest among the others of its size, format and mode.
    """
    found, labels = surveys["train"], class_numbers(dataset.splits["train"].targets)
    if labels is None:
        return
    good = found.good
    if not good.any():
        return
    columns: list[NDArray[Any]] = [
        found.sides,
        found.channels[:, None],
        found.formats[:, None],
        found.flags[:, None],
    ]
    table = np.concatenate([c.astype(np.int64) for c in columns], axis=1)[good]
    labels = labels[good]
    _, kind = np.unique(table, axis=0, return_inverse=True)
    counts = np.zeros((kind.max() + 1, len(dataset.classes)))
    np.add.at(counts, (kind, labels), 1)
    others = counts[kind]
    others[np.arange(len(labels)), labels] -= 1
    alone = others.sum(axis=1) == 0
    overall = np.bincount(labels, minlength=len(dataset.classes))
    guess = np.where(alone, overall.argmax(), others.argmax(axis=1))
    right = guess == labels
    chance = overall.max() / len(labels)
    skill = (right.mean() - chance) / max(1 - chance, 1e-9)
    if skill > SKILL and len(labels) >= 20:
        known = np.bincount(labels[right], minlength=len(overall)) / np.maximum(overall, 1)
        clear = [dataset.classes[i] for i in np.flatnonzero((known > 0.8) & (overall >= 5))]
        text = (
            f"size, format and mode alone tell the class of {right.mean():.0%} of the training "
            f"images (chance {chance:.0%}): {', '.join(clear[:10]) or 'several classes'}"
        )
        yield Finding(
            "telling metadata", "warn", text,
            {"accuracy": float(right.mean()), "chance": float(chance), "classes": clear},
            "The classes come from different sources: a network may learn the source. Bring all "
            "images to one size and format first, or collect anew.",
        )  # fmt: skip


def _boxes(dataset: Dataset, surveys: Surveys) -> Iterator[Finding]:
    if dataset.kind == Boxes.kind:
        yield from box_findings(dataset, {n: s.sides.astype(float) for n, s in surveys.items()})


def _named(dataset: Dataset, positions: Mapping[str, NDArray[np.int64]]) -> list[str]:
    return [
        dataset.splits[split].images.name(int(i))
        for split, places in positions.items()
        for i in places
    ]
