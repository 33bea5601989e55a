"""Images that no folder labels: a table beside them, or names that begin with the class."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from striate.core.errors import DataError, counted, listing
from striate.core.findings import Finding
from striate.data.images import EncodedImages
from striate.data.sources.columns import Finder
from striate.data.sources.listing import WHOLE, Listing, Part, part_of
from striate.data.sources.names import SPLIT_NAMES, natural_order
from striate.data.sources.options import SourceOptions
from striate.data.sources.scan import Tree, hidden
from striate.data.sources.table import TABLE_ENDINGS, listing_of, looks_like_table
from striate.data.strings import Strings

_PATTERNS = (
    r"^([A-Za-z]+)[._ -]?\d",
    r"^([^\d._-]+(?:[_ -][^\d._-]+)*)[._ -]+\d",
    r"_([A-Za-z]+)\.",
)
"""Ways in which file names tell the class, tried in turn: `cat.0.jpg`, `great_dane_12.jpg`,
`0012_cat.jpg`."""
_FEWEST, _MOST_CLASSES = 2, 1000


def labelled_by_name(
    tree: Tree, source: str, pictures: list[str], options: SourceOptions, remarks: list[Finding]
) -> Listing:
    """Classes by the first group of data.label_pattern in each image's path or name; folders train,
    val and test are splits. Raises DataError that lists paths without a match."""
    try:
        pattern = re.compile(options.label_pattern)
    except re.error as error:
        raise DataError(
            f"data.label_pattern: '{options.label_pattern}' is no regular expression: {error}",
            r"Expected such as '^([a-z]+)\.'.",
        ) from None
    labels, lost = {}, []
    for path in pictures:
        label = label_in(pattern, path)
        if label:
            labels[path] = label
        else:
            lost.append(path)
    if lost:
        raise DataError(
            f"data.label_pattern: '{options.label_pattern}' finds no class in {len(lost)} of "
            f"{len(pictures)} names:\n{listing(lost)}",
            "Every image's name needs a match; its first group is the class.",
        )
    by_split: dict[str, list[str]] = defaultdict(list)
    tops = {path.partition("/")[0].lower() for path in pictures if "/" in path}
    split_by_folder = len(tops) > 1 and tops <= SPLIT_NAMES.keys()
    for path in pictures:
        top = path.partition("/")[0].lower()
        by_split[SPLIT_NAMES[top] if split_by_folder else WHOLE].append(path)
    return Listing(source, labelled_parts(tree, by_split, labels), remarks=tuple(remarks))


def labelled_parts(
    tree: Tree, by_split: Mapping[str, list[str]], labels: Mapping[str, str]
) -> dict[str, Part]:
    """The images of each split with the label of each path."""
    return {
        split: part_of(
            EncodedImages(tree.reader, Strings.of(paths), tree.shown), [labels[p] for p in paths]
        )
        for split, paths in by_split.items()
    }


def label_in(pattern: re.Pattern[str], path: str) -> str:
    """The first group (or the whole match) in the file's name, else in its path; "" if none."""
    match = pattern.search(PurePosixPath(path).name) or pattern.search(path)
    if not match:
        return ""
    return next((group for group in match.groups() if group is not None), match[0])


def proposed_pattern(pictures: Iterable[str]) -> tuple[str, Counter[str]] | None:
    """(expression, images of each class that it gives) if names seem to tell classes."""
    names = [PurePosixPath(path).name for path in pictures]
    for text in _PATTERNS:
        found = [re.search(text, name) for name in names]
        labels = Counter(m[1] for m in found if m)
        enough = sum(labels.values()) >= 0.95 * len(names)
        if enough and 2 <= len(labels) <= _MOST_CLASSES and min(labels.values()) >= _FEWEST:
            ordered = sorted(labels.items(), key=lambda item: (-item[1], natural_order(item[0])))
            return text, Counter(dict(ordered))
    return None


def with_tables(
    tree: Tree,
    source: str,
    pictures: list[str],
    options: SourceOptions,
    remarks: list[Finding],
    *,
    below: str = "",
) -> Listing | None:
    """Images that tables in the tree name: of `train.csv` and `val.csv` each is a split. None where
    no table names them. `below`: only tables in this folder; one that cannot be read is none."""
    finder = Finder(frozenset(pictures).__contains__, pictures)
    found: dict[str, Listing] = {}
    for path in sorted(p for p in tree.files if not hidden(p)):
        ending = PurePosixPath(path).suffix.lower()
        if ending not in TABLE_ENDINGS or not path.startswith(below):
            continue
        content = tree.text(path)
        if not looks_like_table(content, finder):
            continue
        try:
            table = listing_of(content, tree.shown + path, finder, options)
        except DataError:
            if below:
                continue
            raise
        found[path] = table.over(tree.reader, tree.shown, source)
    if not found:
        return None
    if len(found) == 1:
        only = next(iter(found.values()))
        return replace(only, remarks=(*remarks, *only.remarks, _named(found)))
    return _joined(found, source, remarks)


def _named(found: dict[str, Listing]) -> Finding:
    return Finding("table", "note", f"labels are read from {', '.join(found)}")


def _joined(found: dict[str, Listing], source: str, remarks: list[Finding]) -> Listing:
    """Several tables: each a split by its name."""
    parts: dict[str, Part] = {}
    more: list[Finding] = []
    for path, table in found.items():
        stem = PurePosixPath(path).stem.lower()
        split = next(
            (s for word, s in SPLIT_NAMES.items() if word in re.split(r"[\W_]+", stem)), ""
        )
        if set(table.parts) != {WHOLE} or not split or split in parts:
            raise DataError(
                f"{source}: several tables name its images: {', '.join(found)}",
                "Give the one that is meant instead of the folder.",
            )
        parts[split] = table.parts[WHOLE]
        more += table.remarks
    if len({table.kind for table in found.values()}) > 1:
        raise DataError(
            f"{source}: some of {', '.join(found)} have several labels an image, some have one",
            "Give the table that is meant instead of the folder.",
        )
    return Listing(source, parts, remarks=(*remarks, *more, _named(found)))


def unmatched(count: int, where: str) -> Finding:
    """A remark on images that no table names."""
    text = f"{counted(count, 'image')} that {where} does not name: not used"
    return Finding("images without a row", "note", text)
