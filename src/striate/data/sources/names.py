"""Names that people and systems write in several forms: of classes, files and split folders."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable

from striate.core.errors import counted, listing
from striate.core.findings import Finding

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folder and column words that name a split."""
GENERIC = frozenset({
    "images", "image", "imgs", "img", "pictures", "pics", "photos", "jpg", "jpeg", "jpegs",
    "png", "data", "all", "unknown", "unlabelled", "unlabeled", *SPLIT_NAMES,
})  # fmt: skip
"""Folders that hold images of no class in particular."""


def generic(name: str) -> bool:
    """Whether a folder's name says nothing of a class: `images`, `train_images`, `Test`."""
    words = [word for word in re.split(r"[\W_\d]+", name.lower()) if word]
    return bool(words) and all(word in GENERIC for word in words)


def canonical(name: str) -> str:
    """One form for names that are one: macOS writes é as two characters, others as one (NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def natural_order(name: str) -> tuple[tuple[tuple[int, int | str], ...], str]:
    """Sort key under which class "2" comes before "10", and no two names are equal."""
    pieces = re.split(r"(\d+)", name)
    return tuple((0, int(p)) if p.isdecimal() else (1, p) for p in pieces if p), name


def alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that differ only in case, blanks, dashes, or zeros before a number."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names), key=natural_order):
        groups[_rough(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def _rough(name: str) -> str:
    text = unicodedata.normalize("NFKC", name).casefold()
    text = re.sub(r"[\s_-]+", " ", text).strip()
    return re.sub(r"\d+", lambda m: str(int(m[0])), text)


def alike_findings(names: Iterable[str]) -> list[Finding]:
    """A warning where classes are perhaps one class in two spellings."""
    groups = alike(names)
    if not groups:
        return []
    lines = [" and ".join(f"'{name}'" for name in group) for group in groups]
    text = (
        f"{counted(len(groups), 'group')} of classes with nearly the same name:\n{listing(lines)}"
    )
    remedy = "If they are one class, rename or merge them; otherwise nothing need be done."
    return [Finding("similar class names", "warn", text, {"groups": groups}, remedy)]


def readable(names: Iterable[str], where: str, refuse: Callable[[str, str], None]) -> list[str]:
    """The names that are valid text. `refuse(message, hint)` is called with all others."""
    names = list(names)
    good = [name for name in names if _printable(name)]
    if len(good) < len(names):
        bad = [repr(name) for name in names if not _printable(name)]
        refuse(
            f"{where}: {counted(len(bad), 'file name')} not valid UTF-8:\n{listing(bad)}",
            "Rename them (`convmv -f latin1 -t utf8 --notest` does it), or leave them out with "
            "--skip-bad.",
        )
    return good


def _printable(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
