"""Class folders, on disk or inside a zip or tar, read in place (F11): where are splits, classes?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from striate.core.errors import DataError, counted
from striate.core.findings import Finding
from striate.data.formats import UNREAD, ending_of, is_image_name
from striate.data.images import EncodedImages
from striate.data.sources.flat import labelled_by_name, proposed_pattern, with_tables
from striate.data.sources.listing import WHOLE, Listing, Part, part_of
from striate.data.sources.names import SPLIT_NAMES, generic, natural_order
from striate.data.sources.options import SourceOptions
from striate.data.sources.scan import Tree, hidden
from striate.data.sources.webdataset import is_webdataset, open_webdataset
from striate.data.strings import Strings

_SHOWN = 4


def arrange(tree: Tree, source: str, options: SourceOptions) -> Listing:
    """Find splits and classes in a tree of paths.

    `train/CLASS/…`, `val/CLASS/…`, `test/CLASS/…`, or `CLASS/…` alone, below single folders; a
    table beside images; labels in names of files where a pattern is given; tar shards with labels
    beside the images. Raises DataError where the tree is something else, or could be two things.
    """
    ignored: Counter[str] = Counter()
    visible = [path for path in tree.files if not hidden(path)]
    ignored["hidden files"] = len(tree.files) - len(visible)
    pictures = sorted(path for path in visible if is_image_name(path))
    remarks = [*tree.remarks, *_unread(visible)]
    unread = sum(ending_of(path) in UNREAD for path in visible)
    ignored["files without an image ending"] = len(visible) - len(pictures) - unread
    if is_webdataset(tree, pictures):
        return open_webdataset(tree, source)
    if not pictures:
        raise DataError(f"{source}: no images found", nothing_found(visible))
    if options.label_pattern:
        return labelled_by_name(tree, source, pictures, options, remarks)
    if options.label_column:  # who names a column means a table
        found = with_tables(tree, source, pictures, options, remarks)
        if found:
            return found
    prefix = common_folder(pictures)
    parts = _parts(tree, source, prefix, pictures, options, ignored, remarks)
    if not any(len(part) for part in parts.values()):
        found = with_tables(tree, source, pictures, options, remarks)
        if found:
            return found
        raise DataError(
            f"{source}: {counted(len(pictures), 'image')}, none in a folder that names its class",
            _how_to_label(pictures),
        )
    return Listing(source, parts, +ignored, tuple(remarks))


def _parts(
    tree: Tree,
    source: str,
    prefix: str,
    pictures: list[str],
    options: SourceOptions,
    ignored: Counter[str],
    remarks: list[Finding],
) -> dict[str, Part]:
    here = [path for path in pictures if path.startswith(prefix)]
    ignored["images outside class folders"] += len(pictures) - len(here)
    tops = _tops(here, prefix)
    splits = _split_folders(tops, source, prefix, options)
    if not splits:
        _refuse_nested_splits(tops, here, prefix, source)
        return {WHOLE: _part(tree, source, prefix, here, options, ignored)}
    outside = sum(path[len(prefix) :].partition("/")[0] not in splits for path in here)
    ignored["images outside the split folders"] = outside
    parts = {}
    for top, split in splits.items():
        below = f"{prefix}{top}/"
        inside = [path for path in here if path.startswith(below)]
        deeper = common_folder(inside, below)
        part = _part(tree, source, deeper, inside, options, ignored)
        if not len(part) and inside:
            annotated = with_tables(tree, source, inside, options, [], below=below)
            part = next(iter(annotated.parts.values())) if annotated else part
        if len(part):
            parts[split] = part
        elif inside:
            text = f"{counted(len(inside), 'image')} in {below} without a class: not used"
            remarks.append(Finding("unlabelled", "note", text))
    return parts


def _part(
    tree: Tree,
    source: str,
    prefix: str,
    pictures: list[str],
    options: SourceOptions,
    ignored: Counter[str],
) -> Part:
    """The images below `prefix`, sorted, with the labels that their folders give."""
    levels = options.levels
    level = 0 if options.class_level == 0 else (options.class_level or 1)
    depth = max(1, len(levels) or level)
    if not levels and options.class_level is None:
        _ask_about_levels(_tops(pictures, prefix), pictures, prefix, source)
    keys: list[str] = []
    labels: list[Any] = []
    loose = 0
    for key in pictures:
        above = key[len(prefix) :].split("/")[:-1]
        if len(above) < depth:
            loose += 1
            continue
        keys.append(key)
        named = zip(levels, above, strict=False)
        labels.append([f"{level}:{name}" for level, name in named] if levels else above[level - 1])
    if not levels and options.class_level is None and all(map(generic, labels)):
        return part_of(EncodedImages(tree.reader, Strings.of(()), tree.shown), [])
    if keys:
        ignored["images outside class folders"] += loose
    empty = () if levels or options.class_level is not None else _empty(tree, prefix, keys)
    return part_of(EncodedImages(tree.reader, Strings.of(keys), tree.shown), labels, empty)


def _empty(tree: Tree, prefix: str, keys: list[str]) -> tuple[str, ...]:
    """Folders beside the classes in which there is nothing, or only pictures that are not read. One
    that holds other files is no class."""
    children = {p[len(prefix) :].partition("/")[0] for p in tree.folders if p.startswith(prefix)}
    filled = {key[len(prefix) :].partition("/")[0] for key in keys}
    holding = {
        path[len(prefix) :].partition("/")[0]
        for path in tree.files
        if path.startswith(prefix) and not hidden(path) and ending_of(path) not in UNREAD
    }
    empty = children - filled - holding - {""}
    return tuple(sorted((c for c in empty if not hidden(c)), key=natural_order))


Tops = Mapping[str, "Counter[str]"]
"""Folder → how many images lie in it ("") and below each of its folders."""


def _tops(pictures: Iterable[str], prefix: str) -> Tops:
    found: dict[str, Counter[str]] = {}
    for path in pictures:
        pieces = path[len(prefix) :].split("/")
        if len(pieces) > 1:
            inner = pieces[1] if len(pieces) > 2 else ""
            found.setdefault(pieces[0], Counter())[inner] += 1
    return found


def _split_folders(tops: Tops, source: str, prefix: str, options: SourceOptions) -> dict[str, str]:
    """The folders that are splits, with the split that each names. A folder with a split's name is
    a class if images lie in it and classes lie beside it: a train is also a vehicle."""
    named = {top: SPLIT_NAMES[top.lower()] for top in sorted(tops) if top.lower() in SPLIT_NAMES}
    others = [top for top in tops if top not in named]
    deep = [top for top in named if any(tops[top])]
    if not named or (not deep and others):
        return {}
    if others and len(named) == 1 and not options.levels and options.class_level is None:
        rivals = [top for top in others if len([inner for inner in tops[top] if inner]) > 1]
        if rivals:
            one = next(iter(named))
            raise DataError(
                f"{source}: '{one}' is the name of a split, and "
                f"{', '.join(sorted(rivals)[:_SHOWN])} beside it "
                f"{'have' if len(rivals) > 1 else 'has'} folders of images too: is '{one}' a "
                "split, or a class?",
                f"If it is a split, open it alone: {source}#{prefix}{one}. If these folders are "
                "classes, say which level names the class: --data.class-level 1 for the upper "
                "folders, 2 for the lower ones.",
            )
    if options.class_level is not None and others and len(named) == 1:
        return {}
    for split in dict.fromkeys(named.values()):
        names = [top for top, meaning in named.items() if meaning == split]
        if len(names) > 1:
            raise DataError(
                f"{source}: the folders {' and '.join(names)} both mean the {split} split",
                "Rename or merge one of them.",
            )
    return named


def _ask_about_levels(tops: Tops, pictures: list[str], prefix: str, source: str) -> None:
    """A folder that holds only folders of images may be a class, or hold classes: ask. One folder
    in it (CLASS/images/…) is no question."""
    unclear: dict[str, list[str]] = {}
    for top, inside in tops.items():
        if inside[""]:
            continue
        own = [path for path in pictures if path.startswith(f"{prefix}{top}/")]
        deeper = _tops(own, common_folder(own, f"{prefix}{top}/"))
        if len(deeper) > 1:
            unclear[top] = list(deeper)
    if not unclear:
        return
    top = min(unclear, key=natural_order)
    inner = sorted(unclear[top], key=natural_order)
    shown = ", ".join(inner[:_SHOWN]) + (", …" if len(inner) > _SHOWN else "")
    also = f" ({counted(len(unclear), 'folder')} are like this)" if len(unclear) > 1 else ""
    raise DataError(
        f"{source}: the folder {prefix}{top} holds no images, only {len(inner)} folders of them: "
        f"{shown}{also}. Which level names the class?",
        f"Open the part that is meant: {source}#{prefix}{top}. Or say --data.class-level 1 if "
        f"'{top}' is a class, --data.class-level 0 if '{inner[0]}' is one.",
    )


def common_folder(pictures: Iterable[str], prefix: str = "") -> str:
    """The chain of single folders around all images that lie in folders, such as
    `dataset-master/images/`."""
    in_a_split = bool(prefix)
    while True:
        rest = [path[len(prefix) :] for path in pictures if path.startswith(prefix)]
        inside = [path for path in rest if "/" in path]
        tops = {path.partition("/")[0] for path in inside}
        deep = [path for path in inside if path.count("/") >= 2]
        several = len({path.split("/")[1] for path in deep}) > 1
        if len(tops) != 1 or not (len(deep) == len(inside) or (several and not in_a_split)):
            return prefix
        top = next(iter(tops))
        if not prefix and top.lower() in SPLIT_NAMES and not _again(inside):
            return prefix
        prefix += top + "/"


def _again(paths: list[str]) -> bool:
    """Whether a folder with a split's name only wraps the splits, as Kaggle's archives do."""
    inner = {path.split("/")[1].lower() for path in paths}
    return inner <= SPLIT_NAMES.keys() and len(inner) > 1


def _refuse_nested_splits(tops: Tops, here: list[str], prefix: str, source: str) -> None:
    """`DOMAIN/train/CLASS` is several data sets, not several classes."""
    nested = set()
    for path in here:
        pieces = path[len(prefix) :].split("/")
        if len(pieces) >= 4 and pieces[1].lower() in SPLIT_NAMES:
            nested.add(pieces[0])
    if nested:
        first = min(nested)
        raise DataError(
            f"{source}: {', '.join(sorted(nested))} each hold their own train or test folders: "
            f"{len(nested)} data sets, not {len(tops)} classes",
            f"Open one of them: {source}#{prefix}{first}",
        )


def _unread(visible: list[str]) -> list[Finding]:
    """Pictures in formats that are not read, counted, with the command that converts them."""
    found = Counter(ending_of(path) for path in visible if ending_of(path) in UNREAD)
    findings = []
    for ending, count in sorted(found.items()):
        kind, remedy = UNREAD[ending]
        where = sorted({path.rpartition("/")[0] or "." for path in visible
                        if ending_of(path) == ending})  # fmt: skip
        more = ", …" if len(where) > _SHOWN else ""
        text = (
            f"{counted(count, ending + ' file')} not read ({kind}), in "
            f"{', '.join(where[:_SHOWN])}{more}"
        )
        findings.append(Finding("unread format", "warn", text, {"folders": where}, remedy))
    return findings


def _how_to_label(pictures: list[str]) -> str:
    proposal = proposed_pattern(pictures)
    usual = (
        "Expected CLASS/image.jpg, train/CLASS/image.jpg, or a table (.csv) of path,label beside "
        "the images."
    )
    if not proposal:
        return usual
    pattern, counts = proposal
    shown = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:_SHOWN])
    more = ", …" if len(counts) > _SHOWN else ""
    return (
        f"The names of the files seem to begin with the class ({shown}{more}). If that is so, add "
        f"--data.label-pattern '{pattern}'\n{usual}"
    )


def nothing_found(visible: list[str]) -> str:
    """What there is instead of images, and what to do."""
    if not visible:
        return "It is empty. Expected CLASS/image.jpg, or train/CLASS/… with val/ and test/."
    unread = _unread(visible)
    if unread:
        return "\n".join(f"{f.text}. {f.remedy}" for f in unread)
    endings = Counter(ending_of(p) or "no ending" for p in visible)
    found = ", ".join(f"{count} × {ending}" for ending, count in endings.most_common(5))
    return f"It has only other files ({found}). Expected CLASS/image.jpg or train/CLASS/…"
