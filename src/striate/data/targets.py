"""Targets: what is known of each image of a split, one row an image.

`Labels` (one class an image) and `LabelSets` (any number of classes an image) are here, `Boxes` in
boxes.py; points and masks are further classes with the same methods. Targets travel with their
images from the source to the metric. Only these modules, the sources and the tasks ask which kind
they are; everybody else uses the methods below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats, Ids
from striate.data.boxes import Boxes

T = TypeVar("T", bound="Targets")


@runtime_checkable
class Targets(Protocol):
    """The targets of N images. A law test (`striate.testing.check_targets`) says what must hold."""

    kind: ClassVar[str]
    """The kind's name, by which a run remembers it and a task says that it takes it."""
    described: ClassVar[str]
    """What an image has, in words: "one label an image"."""
    fewest_classes: ClassVar[int]
    """A training needs at least this many classes; 0: the kind has none."""
    placed: ClassVar[bool]
    """Whether they have places in the image, which move with the pixels."""

    def __len__(self) -> int: ...

    def take(self, ids: Ids) -> Self:
        """Those of the images at these positions."""

    def moved(self, matrices: Floats, size: int) -> Self:
        """As they are on pixels that were moved by `matrices` (N, 2, 3) to `size`×`size`."""

    def with_more(self, others: Sequence[Self]) -> Self:
        """These and the targets of further images, one after the other."""

    def renumbered(self, numbers: Ids, classes: int) -> Self:
        """Under another class map of `classes`: class c becomes numbers[c], −1 drops it."""

    def of(self, index: int) -> tuple[int, ...]:
        """The classes of one image, ascending."""

    def having(self, number: int) -> NDArray[np.bool_]:
        """Which images have this class (N,)."""

    def counts(self, classes: int) -> Ids:
        """Images of each class (classes,)."""

    def labelled(self) -> int:
        """Images of which something is known."""

    def strata(self) -> Ids:
        """What a stratified split keeps even: one number for each image (N,)."""

    def balanced(self) -> Floats:
        """Sampling weights (N,) under which every class is drawn equally often."""

    def digest(self, index: int) -> bytes:
        """Equal for equal targets, for fingerprints."""

    def facts(self) -> dict[str, Any]:
        """What dataset.json keeps of the kind; `kind_in` reads it."""


@dataclass(frozen=True)
class Labels:
    """One class an image: numbers int64 (N,)."""

    kind: ClassVar[str] = "labels"
    described: ClassVar[str] = "one label an image"
    fewest_classes: ClassVar[int] = 2
    placed: ClassVar[bool] = False

    array: Ids

    def __len__(self) -> int:
        return len(self.array)

    def take(self, ids: Ids) -> Labels:
        return Labels(self.array[ids])

    def moved(self, matrices: Floats, size: int) -> Labels:
        return self

    def with_more(self, others: Sequence[Labels]) -> Labels:
        return Labels(np.concatenate([self.array, *(other.array for other in others)]))

    def renumbered(self, numbers: Ids, classes: int) -> Labels:
        return Labels(numbers[self.array])

    def of(self, index: int) -> tuple[int, ...]:
        return (int(self.array[index]),)

    def having(self, number: int) -> NDArray[np.bool_]:
        return np.asarray(self.array == number)

    def counts(self, classes: int) -> Ids:
        return np.bincount(self.array, minlength=classes)

    def labelled(self) -> int:
        return len(self.array)

    def strata(self) -> Ids:
        return self.array.astype(np.int64)

    def balanced(self) -> Floats:
        return np.asarray(1 / np.bincount(self.array)[self.array])

    def digest(self, index: int) -> bytes:
        return self.array[index].tobytes()

    def facts(self) -> dict[str, Any]:
        return {"multi_label": False}


@dataclass(frozen=True)
class LabelSets:
    """Any number of classes an image: a table of 0 and 1, float32 (N, classes)."""

    kind: ClassVar[str] = "label_sets"
    described: ClassVar[str] = "several labels an image"
    fewest_classes: ClassVar[int] = 1
    placed: ClassVar[bool] = False

    array: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.array)

    def take(self, ids: Ids) -> LabelSets:
        return LabelSets(self.array[ids])

    def moved(self, matrices: Floats, size: int) -> LabelSets:
        return self

    def with_more(self, others: Sequence[LabelSets]) -> LabelSets:
        return LabelSets(np.concatenate([self.array, *(other.array for other in others)]))

    def renumbered(self, numbers: Ids, classes: int) -> LabelSets:
        table = np.zeros((len(self), classes), dtype=np.float32)
        table[:, numbers[numbers >= 0]] = self.array[:, numbers >= 0]
        return LabelSets(table)

    def of(self, index: int) -> tuple[int, ...]:
        return tuple(np.flatnonzero(self.array[index]).tolist())

    def having(self, number: int) -> NDArray[np.bool_]:
        return np.asarray(self.array[:, number] > 0)

    def counts(self, classes: int) -> Ids:
        return self.array.sum(axis=0).astype(np.int64)

    def labelled(self) -> int:
        return int(self.array.any(axis=1).sum())

    def strata(self) -> Ids:
        """An image's rarest label: whole combinations are mostly unique. Without a label −1."""
        ranked = np.where(self.array > 0, self.array.sum(axis=0), np.inf).argmin(axis=1)
        return np.where(self.array.any(axis=1), ranked, -1)

    def balanced(self) -> Floats:
        """By each image's rarest label."""
        counts = np.maximum(self.array.sum(axis=0), 1)
        rarest = np.where(self.array > 0, counts, np.inf).min(axis=1)
        return np.asarray(1 / np.where(np.isfinite(rarest), rarest, len(self)))

    def digest(self, index: int) -> bytes:
        return self.array[index].tobytes()

    def facts(self) -> dict[str, Any]:
        return {"multi_label": True}


KINDS: dict[str, type[Targets]] = {"labels": Labels, "label_sets": LabelSets, "boxes": Boxes}
"""The built-in kinds; a task of a user may bring another."""


def kind_in(facts: Mapping[str, Any]) -> str:
    """The kind of a run's targets, from its dataset.json."""
    return str(facts.get("targets") or (LabelSets if facts.get("multi_label") else Labels).kind)


def joinable(targets: Targets) -> bool:
    """Whether several images with such targets may be put together into one."""
    return isinstance(targets, Boxes)


def facts_kept(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's dataset.json says of the kind of its targets, for the report."""
    return {name: facts[name] for name in ("multi_label", "targets") if name in facts}


def blank(count: int) -> Labels:
    """Targets of images of which nothing is known."""
    return Labels(np.zeros(count, dtype=np.int64))


def of_array(table: NDArray[Any]) -> Labels | LabelSets:
    """Targets of class numbers (N,) or a 0/1 table (N, classes)."""
    return LabelSets(table) if table.ndim == 2 else Labels(table)


def of_names(
    rows: Sequence[str] | Sequence[Sequence[str]], names: Sequence[str]
) -> Labels | LabelSets:
    """Targets of label names: one text an image, or a sequence of texts."""
    number = {name: i for i, name in enumerate(names)}
    if not len(rows) or isinstance(rows[0], str):
        return Labels(np.array([number[name] for name in rows], dtype=np.int64))  # type: ignore[index]
    table = np.zeros((len(rows), len(names)), dtype=np.float32)
    for i, row in enumerate(rows):
        table[i, [number[name] for name in row]] = 1
    return LabelSets(table)


def as_kind(targets: T, kind: str, classes: int) -> T | LabelSets:
    """The same targets as another kind: one label an image is also a set of labels. Raises
    ValueError where the other kind would lose something."""
    if targets.kind == kind:
        return targets
    if isinstance(targets, Labels) and kind == LabelSets.kind:
        table = np.zeros((len(targets), classes), dtype=np.float32)
        table[np.arange(len(targets)), targets.array] = 1
        return LabelSets(table)
    raise ValueError(f"{targets.kind} cannot be read as {kind}")


def concatenated(parts: Sequence[T]) -> T:
    """The targets of several sets of images, one after the other."""
    return parts[0].with_more(parts[1:])


def class_numbers(targets: Targets) -> Ids | None:
    """The class of each image (N,), None where an image may have none or several."""
    return targets.array if isinstance(targets, Labels) else None


def joint_kind(each: Iterable[Targets]) -> str:
    """The kind of all parts of a source; parts without images do not count."""
    kinds = {targets.kind for targets in each if len(targets)}
    return LabelSets.kind if LabelSets.kind in kinds else next(iter(kinds), Labels.kind)


def single_where_one_hot(each: Mapping[str, T]) -> dict[str, Labels] | None:
    """Label sets of which every image has exactly one, as labels; None where that is not so."""
    tables = {name: t.array for name, t in each.items() if isinstance(t, LabelSets)}
    if len(tables) < len(each) or not tables:
        return None
    if not all(len(t) and (t.sum(axis=1) == 1).all() for t in tables.values()):
        return None
    return {name: Labels(t.argmax(axis=1).astype(np.int64)) for name, t in tables.items()}
