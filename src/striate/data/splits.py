"""Splitting: stratified, grouped, temporal, in folds; seeded and recorded (D3)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.errors import DataError, listing, perhaps
from striate.core.randomness import permutation
from striate.data.sources.listing import Part, natural_order

Places = NDArray[np.int64]
Strata = NDArray[np.int64]


@dataclass(frozen=True)
class Splitting:
    """How images are divided that the data does not divide itself.

    group_by, time_by: a column of a table, or a regular expression whose first group (or whole
    match) in an image's path is the group or the time. folds, fold: `fold` of `folds` (from 1) is
    the test part; 0: no folds. val None: see `usual_share`.
    """

    seed: int = 0
    val: float | None = None
    test: float = 0.2
    group_by: str = ""
    time_by: str = ""
    folds: int = 0
    fold: int = 0

    def describe(self, share: float) -> str:
        """What is said of a split that was made."""
        if self.time_by:
            return f"{share:.0%}, the latest by {self.time_by}"
        kind = f"grouped by {self.group_by}" if self.group_by else "stratified"
        return f"{share:.0%} of training, {kind}, seed {self.seed}"


def usual_share(part: Part) -> float:
    """Of validation: a tenth, of large sets about 2,500 images, or ten of each class."""
    enough = max(2500, 10 * len(part.names))
    return min(0.1, enough / max(1, len(part)))


def hold_out(part: Part, fraction: float, how: Splitting, purpose: str) -> tuple[Places, Places]:
    """(kept, held) positions of a part. Raises DataError where groups or times cannot be read."""
    if how.time_by:
        return latest(values_of(part, how.time_by, "time_by"), fraction)
    if how.group_by:
        groups = values_of(part, how.group_by, "group_by")
        return grouped_holdout(strata_of(part), groups, fraction, how.seed, purpose)
    return stratified_holdout(strata_of(part), fraction, how.seed, purpose)


def fold_of(part: Part, how: Splitting) -> tuple[Places, Places]:
    """(the other folds, this fold) of a part: each image is in this fold for one value of it."""
    if how.group_by:
        groups = values_of(part, how.group_by, "group_by")
        numbers = dealt(strata_of(part), groups, [1 / how.folds] * how.folds, how.seed, "folds")
    else:
        numbers = stratified_folds(strata_of(part), how.folds, how.seed)
    return np.flatnonzero(numbers != how.fold - 1), np.flatnonzero(numbers == how.fold - 1)


def values_of(part: Part, by: str, knob: str) -> list[str]:
    """The group or time of each image. Raises DataError if an image has none."""
    if by in part.columns:
        values = list(part.columns[by])
        blank = [part.images.key(i) for i, value in enumerate(values) if not value.strip()]
        if blank:
            raise DataError(
                f"data.{knob}: {len(blank)} images have nothing in the column '{by}':\n"
                f"{listing(blank)}",
                "Fill it in: images without a group would count as one group.",
            )
        return values
    try:
        pattern = re.compile(by)
    except re.error as error:
        raise DataError(
            f"data.{knob}: '{by}' is no regular expression: {error}",
            perhaps(by, part.columns) if part.columns else "Expected such as '(patient\\d+)'.",
        ) from None
    keys = [part.images.key(i) for i in range(len(part))]
    found = [pattern.search(key) for key in keys]
    missing = [key for key, match in zip(keys, found, strict=True) if not match]
    if missing:
        raise DataError(
            f"data.{knob}: '{by}' is not found in {len(missing)} of {len(keys)} paths:\n"
            f"{listing(missing)}",
            "Give a regular expression that every path contains, or the name of a CSV column.",
        )
    return [first_group(match) for match in found if match]


def first_group(match: re.Match[str]) -> str:
    """The first group that took part in a match; the whole match where none did."""
    return next((group for group in match.groups() if group is not None), match[0])


def strata_of(part: Part) -> Strata:
    """What a stratified split of these images keeps even."""
    return part.targets.strata()


def stratified_holdout(
    strata: Sequence[int] | Strata, fraction: float, seed: int, purpose: str
) -> tuple[Places, Places]:
    """(kept, held) positions: `fraction` of each stratum is held out, at least one of two or more.

    Shares are rounded so that the total is right (largest remainder); a stratum of one is kept.
    """
    order = permutation(seed, 0, purpose, len(strata))
    values, first, numbers, sizes = np.unique(
        np.asarray(strata)[order], return_index=True, return_inverse=True, return_counts=True
    )
    by_appearance = np.argsort(first)
    quotas = np.zeros(len(values), dtype=np.int64)
    quotas[by_appearance] = _quotas(sizes[by_appearance].tolist(), fraction)
    held = order[_rank_within(numbers) < quotas[numbers]]
    mask = np.zeros(len(strata), dtype=np.bool_)
    mask[held] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def stratified_folds(strata: Sequence[int] | Strata, folds: int, seed: int) -> Places:
    """The fold 0 … folds − 1 of each image; sizes and each stratum's shares differ by one."""
    order = permutation(seed, 0, "folds", len(strata))
    grouped = order[np.argsort(np.asarray(strata)[order], kind="stable")]
    numbers = np.empty(len(strata), dtype=np.int64)
    numbers[grouped] = np.arange(len(strata)) % folds
    return numbers


def grouped_holdout(
    strata: Sequence[int] | Strata, groups: Sequence[str], fraction: float, seed: int, purpose: str
) -> tuple[Places, Places]:
    """(kept, held): whole groups are held out, such that the strata keep their shares."""
    numbers = dealt(strata, groups, [1 - fraction, fraction], seed, purpose)
    return np.flatnonzero(numbers == 0), np.flatnonzero(numbers == 1)


def dealt(
    strata: Sequence[int] | Strata,
    groups: Sequence[str],
    shares: Sequence[float],
    seed: int,
    purpose: str,
) -> Places:
    """Deal whole groups to bins of the given shares: the bin of each image, int64 (N,).

    Greedy, large groups first: each goes where the strata then are nearest to their shares. Every
    bin gets a group. Raises DataError if there are fewer groups than bins.
    """
    from scipy.sparse import csr_array

    names, group = np.unique(np.asarray(groups), return_inverse=True)
    _, stratum = np.unique(np.asarray(strata), return_inverse=True)
    if len(names) < len(shares):
        raise DataError(
            f"{len(names)} groups cannot fill {len(shares)} parts without cutting one",
            f"Groups found: {', '.join(names[:10].tolist())}. Is the expression too short?",
        )
    sizes = np.bincount(group)
    counts = csr_array((np.ones(len(group)), (group, stratum)))  # most groups have few strata
    wanted = np.outer(shares, np.bincount(stratum))
    filled = np.zeros_like(wanted)
    bins = np.zeros(len(names), dtype=np.int64)
    shuffled = permutation(seed, 0, purpose, len(names))
    ordered = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    empty = set(range(len(shares)))
    for done, number in enumerate(ordered):
        span = slice(counts.indptr[number], counts.indptr[number + 1])
        which, count = counts.indices[span], counts.data[span]
        options = sorted(empty) if len(empty) >= len(names) - done else range(len(shares))
        lack = (wanted - filled)[np.ix_(options, which)]
        misfit = (count * (count - 2 * lack)).sum(axis=1)  # (lack − count)² − lack²
        chosen = options[int(np.argmin(misfit))]
        filled[chosen, which] += count
        empty.discard(chosen)
        bins[number] = chosen
    return bins[group]


def latest(times: Sequence[str], fraction: float) -> tuple[Places, Places]:
    """(earlier, later) positions, in the order of time; images of one time stay together."""
    values = sorted(set(times), key=_order_of_time(times))
    rank = {value: i for i, value in enumerate(values)}
    when = np.array([rank[time] for time in times])
    if len(values) < 2:
        raise DataError(f"all images have one time, '{values[0]}': no part of them is later")
    wanted = max(1, round(fraction * len(when)))
    threshold = min(max(int(np.sort(when)[-wanted]), 1), len(values) - 1)
    return np.flatnonzero(when < threshold), np.flatnonzero(when >= threshold)


def _order_of_time(times: Sequence[str]) -> Callable[[str], Any]:
    """Numbers as numbers; else the natural order, which suits ISO dates and frame numbers.

    Raises DataError for dates such as 12/31/2023, whose order nobody can tell from the text.
    """
    with contextlib.suppress(ValueError):
        for time in times:
            float(time)
        return float
    odd = [time for time in times if re.match(r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}", time)]
    if odd:
        raise DataError(
            f"data.time_by: '{odd[0]}' is no time that can be put in order",
            "Expected numbers or ISO dates, such as 2023-12-31.",
        )
    return natural_order


def _rank_within(numbers: NDArray[np.integer]) -> Places:
    """How many equal numbers came before each."""
    order = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[order], numbers[order])
    rank = np.empty(len(numbers), dtype=np.int64)
    rank[order] = np.arange(len(numbers)) - starts
    return rank


def _quotas(sizes: list[int], fraction: float) -> list[int]:
    exact = [size * fraction for size in sizes]
    quotas = [int(share) for share in exact]
    missing = round(sum(exact)) - sum(quotas)
    by_remainder = sorted(range(len(sizes)), key=lambda i: quotas[i] - exact[i])
    for i in by_remainder[:missing]:
        quotas[i] += 1
    # a class of two or more is always represented on both sides
    return [
        min(max(quota, 1), size - 1) if size > 1 and fraction > 0 else 0
        for size, quota in zip(sizes, quotas, strict=True)
    ]
