"""What annotations of boxes say, in one form, and what can be wrong with them (F12)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from striate.core.errors import counted, listing
from striate.core.findings import Finding
from striate.data.sources.names import SPLIT_NAMES, canonical
from striate.data.sources.scan import Tree

Place = tuple[float, float, float, float]
"""(left, top, right, bottom) as in `striate.core.boxes`."""
SHOWN = 10


class Object(NamedTuple):
    """A box as a file has it. flags: bits as in `striate.data.boxes`."""

    place: Place
    name: str
    flags: int = 0


class Fault(NamedTuple):
    """What is wrong with an object of a file, numbered from 1, or with the whole file (0).

    kind: one of FAULTS.
    """

    kind: str
    where: str
    number: int
    what: str

    def line(self) -> str:
        of = f", object {self.number}" if self.number else ""
        return f"{self.where}{of}: {self.what}"


@dataclass(frozen=True)
class Annotated:
    """The objects of one image. image: its path in the tree; where: the file that says so; width,
    height: of the image as that file has them, 0 where it does not say; split: "" for none;
    in_shares: places are shares of the image's width and height."""

    image: str
    objects: tuple[Object, ...]
    where: str
    width: int = 0
    height: int = 0
    split: str = ""
    in_shares: bool = False


@dataclass
class Annotations:
    """What was read. classes: as the format declares them, () where it declares none; an object of
    another class is then a fault. unused: reason → how many images."""

    form: str
    images: list[Annotated] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    unused: dict[str, int] = field(default_factory=dict)
    remarks: list[Finding] = field(default_factory=list)


class Kind(NamedTuple):
    """A kind of fault: in words; whether such an object is left out or cut with a warning; what to
    do about it."""

    words: str
    mended: bool
    remedy: str


_REPAIR = "Repair them, or leave them out with --skip-bad."
FAULTS = {
    "unreadable": Kind("files of annotations that cannot be read", False, _REPAIR),
    "no number": Kind("boxes with a coordinate that is no number", False, _REPAIR),
    "swapped corners": Kind(
        "boxes whose right or lower side comes before the left or upper one", False, _REPAIR
    ),
    "no area": Kind("boxes at most one pixel wide or high", True, "They are left out."),
    "outside": Kind("boxes that lie outside their image", False, _REPAIR),
    "partly outside": Kind("boxes that reach over the border", True, "They are cut there."),
    "unknown class": Kind("objects of a class that is not declared", False, _REPAIR),
    "duplicate box": Kind("boxes that are there twice", True, "One of each is kept."),
    "no image": Kind("annotations without an image", False, _REPAIR),
    "other size": Kind("images of another size than their annotation says", False, _REPAIR),
}
"""The faults by kind."""


def checked(
    found: Annotated, size: tuple[int, int], classes: Sequence[str]
) -> tuple[list[Object], list[Fault]]:
    """(the objects that can be used, cut at the border; the faults). size: (width, height)."""
    known, seen = set(classes), set()
    good: list[Object] = []
    faults: list[Fault] = []

    def say(kind: str, number: int, what: str) -> None:
        faults.append(Fault(kind, found.where, number, what))

    for number, item in enumerate(found.objects, start=1):
        kind, what = _fault_of(item, size)
        if not kind and (not item.name or (known and item.name not in known)):
            kind, what = "unknown class", f"class '{item.name}'"
        if not kind and (item.place, item.name) in seen:
            kind, what = "duplicate box", f"{item.name} at {_shown(item.place)} again"
        if kind:
            say(kind, number, what)
            continue
        seen.add((item.place, item.name))
        place = _cut(item.place, size)
        if place != item.place and _far(item.place, place):
            say("partly outside", number, f"{_shown(item.place)} in an image of {_size(size)}")
        good.append(item._replace(place=place))
    return good, faults


def _fault_of(item: Object, size: tuple[int, int]) -> tuple[str, str]:
    """(kind of fault, in words) of a box alone, ("", "") if there is none."""
    left, top, right, bottom = item.place
    if not all(math.isfinite(side) for side in item.place):
        return "no number", f"{_shown(item.place)}"
    if left > right or top > bottom:
        return "swapped corners", f"{item.name} at {_shown(item.place)}"
    if right - left <= 1 or bottom - top <= 1:
        return "no area", f"{item.name} at {_shown(item.place)}"
    if left >= size[0] or top >= size[1] or right <= 0 or bottom <= 0:
        return "outside", f"{item.name} at {_shown(item.place)} in an image of {_size(size)}"
    return "", ""


def _cut(place: Place, size: tuple[int, int]) -> Place:
    left, top, right, bottom = place
    return max(0.0, left), max(0.0, top), min(float(size[0]), right), min(float(size[1]), bottom)


def _far(one: Place, other: Place) -> bool:
    """Whether more than rounding is between them."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) > 1e-3


def _shown(place: Place) -> str:
    return "(" + ", ".join(f"{side:g}" for side in place) + ")"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def findings_of(faults: Iterable[Fault], *, skip_bad: bool) -> list[Finding]:
    """A finding for each kind of fault: it fails where objects would be lost, unless they may."""
    by_kind: dict[str, list[Fault]] = {}
    for fault in faults:
        by_kind.setdefault(fault.kind, []).append(fault)
    found = []
    for name, kind in FAULTS.items():
        some = by_kind.get(name, [])
        if not some:
            continue
        lines = [fault.line() for fault in some]
        lost = not kind.mended
        verdict = "warn" if kind.mended or skip_bad else "fail"
        remedy = "They are left out (--skip-bad)." if lost and skip_bad else kind.remedy
        text = f"{kind.words} ({len(some):,}):\n{listing(lines, SHOWN)}"
        found.append(Finding(f"box: {name}", verdict, text, {"faults": lines}, remedy))  # type: ignore[arg-type]
    return found


def number_in(text: object) -> float:
    """A coordinate; NaN where the text is none."""
    try:
        return float(str(text).strip())
    except ValueError:
        return math.nan


def split_in(path: str) -> str:
    """The split that a folder or the words of a file's name say, "" if none."""
    for piece in path.split("/")[:-1]:
        if piece.lower() in SPLIT_NAMES:
            return SPLIT_NAMES[piece.lower()]
    name = path.rpartition("/")[2].rpartition(".")[0].lower()
    words = "".join(c if c.isalpha() else " " for c in name).split()
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "")


def by_stem(pictures: Iterable[str]) -> dict[str, list[str]]:
    """Paths of images by their name without folder and ending."""
    found: dict[str, list[str]] = {}
    for path in pictures:
        found.setdefault(canonical(stem_of(path)), []).append(path)
    return found


def stem_of(path: str) -> str:
    """A file's name without folder and ending."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def nearest(candidates: Sequence[str], path: str) -> str:
    """The candidate that shares most of its folders with a path; "" if several do, or none is
    there."""
    if len(candidates) <= 1:
        return candidates[0] if candidates else ""

    def shared(candidate: str) -> int:
        own, other = candidate.split("/")[:-1], path.split("/")[:-1]
        return len(set(own) & set(other))

    ranked = sorted(candidates, key=shared, reverse=True)
    return ranked[0] if shared(ranked[0]) > shared(ranked[1]) else ""


def text_of(tree: Tree, path: str) -> str:
    """A file's text: UTF-8, UTF-16 with its mark, else Windows' western letters."""
    data = tree.text(path)
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that say something."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()


Reader = Callable[[Tree, Sequence[str]], "Annotations | None"]
"""(tree, paths of its images) → what it says; None where the tree is not of that form."""


def places_of(objects: Sequence[Object]) -> np.ndarray:
    """float64 (K, 4)."""
    return np.array([item.place for item in objects], dtype=np.float64).reshape(-1, 4)


def unused_in_words(unused: dict[str, int]) -> list[Finding]:
    """A note for each reason why images are not used."""
    return [
        Finding("ignored", "note", f"{counted(count, 'image')} {reason}", {"count": count})
        for reason, count in unused.items()
        if count
    ]
