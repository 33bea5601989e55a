"""The audit of a data set, from files to labels: what `striate data check` prints (D3, F7–F13)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.audit.alike import alike_images
from striate.audit.crossfit import SIDE, Judged, crossfit, crossfit_features
from striate.audit.labels import doubtful_labels
from striate.core.arrays import Ids
from striate.core.errors import MissingExtraError, RunError, counted, listing
from striate.core.findings import Finding
from striate.core.recipe import Recipe
from striate.core.records import Note
from striate.core.run import RunDirectory
from striate.core.runtime import free_memory, keep_pages
from striate.data.cache import open_cache
from striate.data.check.changes import changes, read_registered
from striate.data.check.copies import all_copies, copy_findings, split_by_origin
from striate.data.check.duplicates import Copy
from striate.data.check.exclude import Row
from striate.data.check.findings import survey_findings
from striate.data.check.survey import Survey
from striate.data.dataset import Dataset, Split
from striate.data.decode import Unified
from striate.data.loader import FileStore, loaded
from striate.data.read import SplitDecoder, name_faults, positions_without
from striate.data.sheet import Row as SheetRow
from striate.data.sheet import tiles_of
from striate.data.sources import open_source
from striate.data.targets import class_numbers
from striate.metrics.difference import told_apart
from striate.plan.data import open_as, options_of
from striate.plan.extract import Extractor, open_extractor
from striate.plan.recall import settled_recipe
from striate.plan.settled import or_else

UNLIKE = 0.55
"""Splits whose area under the curve is surely above this are a warning."""
LEAST, MOST = 40, 500_000
"""With fewer or more images no network is asked about labels."""
COMPETENT = 0.75
"""A network with fewer right answers doubts more labels out of ignorance than with reason."""
_ORDER = ("fail", "warn", "undetermined", "note", "pass")
_TILES = 10


@dataclass(frozen=True)
class Checked:
    """What was found: findings (the worst first), and the questionable images for the CSV."""

    dataset: Dataset | None
    findings: tuple[Finding, ...]
    rows: tuple[Row, ...] = ()
    places: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """For each rule, (split, position) of images that show it."""

    @property
    def verdict(self) -> str:
        """The worst of all verdicts."""
        return min((f.verdict for f in self.findings), key=_ORDER.index, default="pass")

    def sheet_rows(self) -> list[SheetRow]:
        """A row of pictures for each rule that can be seen."""
        if self.dataset is None:
            return []
        splits = self.dataset.splits
        return [
            SheetRow(
                rule,
                counted(len(places), "image"),
                [t for split, i in places[:_TILES] for t in tiles_of(splits[split], [i])],
            )
            for rule, places in self.places.items()
            if places
        ]


def check(
    source: Any,
    recipe: Recipe | None = None,
    *,
    turned: bool = False,
    models: bool = True,
    weights: str = "",
) -> Generator[Note, None, Checked]:
    """Audit a data set as a training with this recipe would use it; returns all findings.

    turned: also look for mirrored and rotated copies. models: also ask quick networks about labels
    and about the difference between splits. weights: ask linear classifiers on the features of
    these trained weights instead, and look for images that are alike to them. Raises DataError
    where there is nothing to open.
    """
    recipe = recipe or Recipe()
    extractor = open_extractor(weights, recipe.data.max_megapixels) if weights else None
    keep_pages()
    data = recipe.data
    dataset = open_as(recipe, source, strict=False)
    total = sum(len(split) for split in dataset.splits.values())
    yield Note("info", f"{dataset.source}: decoding {total:,} images")
    channels = 3
    small = Unified(SIDE, channels, "squash", data.max_megapixels)
    in_memory = total * SIDE**2 * channels < free_memory() // 4
    cache = open_cache(or_else(data.cache_mb, None))
    decoder = SplitDecoder(
        small, cache, in_memory, data.check, data.allow, total * SIDE**2 * channels
    )
    read = {name: decoder.read(split.images) for name, split in dataset.splits.items()}
    surveys = {name: found for name, (found, _) in read.items()}
    yield Note("info", "looking for copies")
    copies = all_copies(dataset, surveys, data.max_megapixels, turned=turned)
    ours, judged = split_by_origin(copies, dataset.splits_from)
    single = class_numbers(dataset.splits["train"].targets) is not None
    ask_networks = models and single and data.check == "full" and total <= MOST
    findings = [
        *dataset.findings,
        *_faults(dataset, surveys),
        *copy_findings(dataset, judged),
        *_left_out(ours),
        *survey_findings(dataset, surveys),
    ]
    rows = [*_fault_rows(dataset, surveys), *_copy_rows(dataset, copies)]
    places = _odd_places(surveys) | _copy_places(copies)
    if ask_networks:
        judge = "network" if extractor is None else f"classifier on the features of {weights}"
        yield Note("info", f"asking a cross-validated {judge}")
        if extractor is None:
            seen = {
                name: np.concatenate(list(loaded(
                    decoder.store(
                        dataset.splits[name].images, found, np.arange(len(found[0])), again=False
                    ),
                    np.array_split(np.arange(len(found[0])), -(-len(found[0]) // 1000)), 2,
                )))
                for name, found in read.items()
            }  # fmt: skip
        else:
            seen = {n: _features(extractor, s, surveys[n]) for n, s in dataset.splits.items()}
        judging = crossfit if extractor is None else crossfit_features
        more, doubtful = _model_findings(dataset, surveys, seen, judging, recipe.seed)
        findings += more
        rows += doubtful[0]
        places |= doubtful[1]
        if extractor is not None:
            alike, near = alike_images(dataset, surveys, seen, places)
            findings += alike
            places |= near
    ordered = sorted(findings, key=lambda f: _ORDER.index(f.verdict))
    return Checked(dataset, tuple(ordered), tuple(rows), places)


def check_run(run: str | Path) -> Checked:
    """Compare a run's data with what the run registered. Raises RunError, DataError."""
    directory = RunDirectory(run)
    source = directory.read_json("dataset.json")["source_path"]
    path = directory.path / "images.csv.gz"
    try:
        registered = read_registered(path.read_bytes(), str(path))
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    parts = open_source(source, options_of(settled_recipe(directory))).parts
    now = {name: part.images for name, part in parts.items()}
    return Checked(None, tuple(changes(registered, now)))


def _left_out(ours: list[Copy]) -> list[Finding]:
    across = [copy for copy in ours if copy.first[0] != copy.second[0]]
    if not across:
        return []
    text = (
        f"{counted(len(across), 'held-out image')} pixel-identical to others: training leaves "
        "them out"
    )
    return [Finding("held-out copies", "note", text)]


def _faults(dataset: Dataset, surveys: dict[str, Survey]) -> list[Finding]:
    named = name_faults(dataset, {name: found.faults for name, found in surveys.items()})
    if not named:
        seen = sum(int(found.seen.sum()) for found in surveys.values())
        return [Finding("bad images", "pass", f"{seen:,} images decode")]
    return [
        Finding(
            "bad images",
            "fail",
            f"{counted(len(named), 'image')} cannot be used:\n{listing(named, 50)}",
            {"images": named},
            "Repair or remove them, or train with --skip-bad.",
        )
    ]


def _fault_rows(dataset: Dataset, surveys: dict[str, Survey]) -> list[Row]:
    return [
        _row(dataset, split, index, "bad image", why, exclude=True)
        for split, found in surveys.items()
        for index, why in found.faults.items()
    ]


def _copy_rows(dataset: Dataset, copies: Iterable[Copy]) -> list[Row]:
    """Of a pixel-identical pair the second is proposed for exclusion, if the labels agree."""
    rows = []
    for copy in copies:
        splits = dataset.splits
        (one, i), (other, j) = copy.first, copy.second
        same = splits[one].targets.digest(i) == splits[other].targets.digest(j)
        detail = f"copy of {splits[one].images.key(i)} in {one}" + ("" if same else ", other label")
        finding = f"{copy.kind} copy"
        exclude = copy.kind == "exact" and same
        rows.append(_row(dataset, other, j, finding, detail, exclude=exclude))
    return rows


def _odd_places(surveys: dict[str, Survey]) -> dict[str, list[tuple[str, int]]]:
    bad = [(name, index) for name, found in surveys.items() for index in found.faults]
    plain = [
        (name, int(index))
        for name, found in surveys.items()
        for index in np.flatnonzero(found.good & (found.spread == 0))
    ]
    return {"bad images": bad, "constant images": plain}


def _copy_places(copies: Iterable[Copy]) -> dict[str, list[tuple[str, int]]]:
    places: dict[str, list[tuple[str, int]]] = {}
    for copy in copies:
        where = "across splits" if copy.first[0] != copy.second[0] else "in one split"
        places.setdefault(f"{copy.kind} copies {where}", []).extend([copy.first, copy.second])
    return places


def _row(
    dataset: Dataset, split: str, index: int, finding: str, detail: str, *, exclude: bool = False
) -> Row:
    label = ";".join(dataset.classes[n] for n in dataset.splits[split].targets.of(index))
    key = dataset.splits[split].images.key(index)
    return Row(exclude, dataset.own_names[split], key, label, finding, detail)


Doubtful = tuple[list[Row], dict[str, list[tuple[str, int]]]]


def _model_findings(
    dataset: Dataset,
    surveys: dict[str, Survey],
    seen: dict[str, Any],
    judging: Callable[..., dict[str, Judged]],
    seed: int,
) -> tuple[list[Finding], Doubtful]:
    """seen: of each split what `judging` judges by, pixels or features."""
    kept = {n: positions_without(len(s), s.faults) for n, s in surveys.items()}
    kept = {n: ids for n, ids in kept.items() if len(ids)}
    if len(kept.get("train", ())) < LEAST:
        text = f"fewer than {LEAST} training images: labels and splits were not judged"
        return [Finding("labels", "undetermined", text)], ([], {})
    known = {n: (seen[n][ids], _numbers(dataset, n)[ids]) for n, ids in kept.items()}
    judged = judging(known, len(dataset.classes), seed)
    findings = _differences(judged)
    try:
        more, doubtful = _doubts(dataset, kept, judged)
    except MissingExtraError as error:
        text = f"labels were not checked: {error.message}"
        return [*findings, Finding("labels", "undetermined", text, {}, error.hint)], ([], {})
    return [*findings, *more], doubtful


def _features(extractor: Extractor, split: Split, found: Survey) -> NDArray[np.float32]:
    """What the weights make of each image (N, D); zeros for those that cannot be read."""
    sound = positions_without(len(found), found.faults)
    store = FileStore(split.images, extractor.shape)
    parts = np.array_split(sound, max(1, -(-len(sound) // 200)))
    rows = [extractor.features(pixels) for pixels in loaded(store, parts, 2)]
    joined = np.concatenate(rows)
    whole = np.zeros((len(found), joined.shape[1]), dtype=np.float32)
    whole[sound] = joined
    return whole


def _numbers(dataset: Dataset, split: str) -> Ids:
    """The class of each image; only data sets with one label an image are asked."""
    numbers = class_numbers(dataset.splits[split].targets)
    assert numbers is not None
    return numbers


def _doubts(
    dataset: Dataset, kept: dict[str, Any], judged: dict[str, Judged]
) -> tuple[list[Finding], Doubtful]:
    findings, rows, places = [], [], []
    agrees = [
        judged[n].probabilities.argmax(axis=1) == _numbers(dataset, n)[i] for n, i in kept.items()
    ]
    right = float(np.concatenate(agrees).mean())
    for split, ids in kept.items():
        targets, said = _numbers(dataset, split)[ids], judged[split].probabilities
        chance = float(np.bincount(targets).max() / len(targets))
        if right < chance + 0.2 * (1 - chance):
            text = f"{split}: labels could not be judged (a quick network gets {right:.0%} right)"
            findings.append(Finding("labels", "undetermined", text))
            continue
        worst = doubtful_labels(targets, said)
        sure = right >= COMPETENT
        lines = []
        for position in worst.tolist():
            index, likely = int(ids[position]), int(said[position].argmax())
            detail = (
                f"looks like {dataset.classes[likely]} ({said[position, likely]:.0%}; the label "
                f"has {said[position, targets[position]]:.1%})"
            )
            rows.append(_row(dataset, split, index, "doubtful label", detail))
            places.append((split, index))
            name = dataset.splits[split].images.name(index)
            lines.append(f"{name}: {dataset.classes[targets[position]]}, {detail}")
        if lines:
            but = "" if sure else ", too weak to be trusted"
            text = (
                f"{split}: {len(lines):,} of {len(ids):,} labels look wrong to a cross-validated "
                f"network ({right:.0%} right{but}); the worst:\n{listing(lines, 5)}"
            )
            remedy = "Look at them in the order of --csv; correct or exclude what is wrong."
            evidence = {"split": split, "accuracy": right, "images": lines}
            verdict = "warn" if sure else "undetermined"
            findings.append(Finding("doubtful labels", verdict, text, evidence, remedy))  # type: ignore[arg-type]
    return findings, (rows, {"doubtful labels": places})


def _differences(judged: dict[str, Judged]) -> list[Finding]:
    """Training images are compared by the one network that saw neither them nor the others."""
    train = judged["train"]
    findings = []
    for name, other in judged.items():
        if name == "train" or min((train.by == 0).sum(), len(other.by)) < 30:
            continue
        found = told_apart(train.features[train.by == 0], other.features)
        verdict = "warn" if found.low > UNLIKE else "pass"
        how = "can be" if verdict == "warn" else "can hardly be" if found.low > 0.5 else "are not"
        text = (
            f"train and {name} {how} told apart: area under the curve {found.area:.3f} "
            f"({found.low:.3f} to {found.high:.3f}; 0.5 or less: not at all)"
        )
        findings.append(
            Finding(
                "split difference", verdict, text,  # type: ignore[arg-type]
                {"split": name, **found._asdict()},
                "They come from different sources: scores there say little of this data, or much "
                "of how a network bears the change." if verdict == "warn" else "",
            )
        )  # fmt: skip
    return findings
