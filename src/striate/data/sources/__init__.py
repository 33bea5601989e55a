"""Open anything that people have: one function, `open_source`, and the map of named sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from striate.core.errors import DataError, perhaps
from striate.data.formats import UNREAD, is_image_name
from striate.data.sources import boxed
from striate.data.sources.builtin import open_digits, open_object, open_torchvision
from striate.data.sources.fake import open_fake
from striate.data.sources.idx import has_idx, open_idx
from striate.data.sources.listing import Listing, single_if_one_hot
from striate.data.sources.options import AS_FOUND, SourceOptions
from striate.data.sources.scan import Tree, scan_archive, scan_folder
from striate.data.sources.sharded import is_sharded, open_shards
from striate.data.sources.table import TABLE_ENDINGS, open_table
from striate.data.sources.tree import arrange
from striate.data.sources.webdataset import open_webdataset, scan_shards, tar_shards

SOURCES: dict[str, Callable[[], Listing]] = {"digits": open_digits}
"""Built-in names; `torchvision:NAME` opens torchvision's, `fake:1000x3x64x64x10` invents one."""

_ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def open_source(source: Any, options: SourceOptions = AS_FOUND) -> Listing:
    """A folder, archive, IDX folder, table, built-in name or Python object → its Listing.

    Raises DataError.
    """
    if options.levels and not _is_tree(source):
        raise DataError(
            f"data.label_levels: {source} is no tree of folders, so it has no levels",
            "Leave --data.label-levels out.",
        )
    return single_if_one_hot(_opened(source, options))


def _opened(source: Any, options: SourceOptions) -> Listing:
    if not isinstance(source, str | Path):
        return open_object(source)
    text = str(source)
    if text.startswith("torchvision:"):
        return open_torchvision(text.partition(":")[2])
    if text.startswith("fake:"):
        return open_fake(text)
    if is_sharded(text):
        return open_shards(text)
    path, inside = _split_inside(text)
    if text in SOURCES and not path.exists():
        return SOURCES[text]()
    if not path.exists():
        raise DataError(f"no data at {path}", _what_else(path))
    return _open_path(path, inside, options)


def _is_tree(source: Any) -> bool:
    if not isinstance(source, str | Path):
        return False
    if is_sharded(str(source)):
        return False
    path, inside = _split_inside(str(source))
    if path.is_dir():
        return not ((path / inside).is_dir() and has_idx(scan_folder(path / inside, skip_bad=True)))
    if str(source) in SOURCES or str(source).startswith(("torchvision:", "fake:")):
        return False
    return not path.exists() or path.name.lower().endswith(_ARCHIVE_ENDINGS)


def is_there(source: str) -> bool:
    """Whether there is something to open: a built-in name, a URL, or a path that exists."""
    named = source in SOURCES or source.startswith(("torchvision:", "fake:")) or "://" in source
    return named or _split_inside(source)[0].exists()


def lasting(source: str) -> str:
    """The source under its absolute path, so that a run finds its data from any folder."""
    if "://" in source:
        return source
    path, inside = _split_inside(source)
    if not path.exists() or (source in SOURCES and not Path(source).exists()):
        return source
    return str(path.absolute()) + (f"#{inside}" if inside else "")


def _open_path(path: Path, inside: str, options: SourceOptions) -> Listing:
    if path.is_dir():
        folder = path / inside
        if not folder.is_dir():
            raise DataError(f"no folder {inside} in {path}")
        shards = tar_shards(folder)
        if shards:
            tree = scan_shards(folder, shards)
            return open_webdataset(tree, str(folder))
        tree = scan_folder(folder, skip_bad=options.skip_bad)
        return _open_tree(tree, str(folder), options)
    if path.name.lower().endswith(_ARCHIVE_ENDINGS):
        tree = scan_archive(path, inside, skip_bad=options.skip_bad)
        source = f"{path}#{inside}" if inside else str(path)
        return _open_tree(tree, source, options)
    if path.suffix.lower() in TABLE_ENDINGS:
        if found := boxed.annotations_of_table(path):
            return boxed.listing_of(*found, str(path), options)
        return open_table(path, options)
    if path.suffix.lower() in UNREAD or is_image_name(path.name):
        raise DataError(
            f"{path} is one picture, not a data set",
            f"Give its folder: {path.parent}",
        )
    raise DataError(
        f"{path}: not a kind of data that Striate opens",
        "Expected a folder of class folders, a .zip or .tar of one, an IDX folder, or a .csv.",
    )


def _open_tree(tree: Tree, source: str, options: SourceOptions) -> Listing:
    """IDX files, images with boxes, or images with labels."""
    if has_idx(tree):
        return open_idx(tree, source)
    labelled = options.levels or options.class_level is not None or options.label_column
    if not labelled and not options.label_pattern and (found := boxed.annotations_in(tree)):
        return boxed.listing_of(found, tree, source, options)
    return arrange(tree, source, options)


def _split_inside(text: str) -> tuple[Path, str]:
    """`archive.zip#photo` → the archive and its folder; a path that exists as written wins."""
    if Path(text).exists() or "#" not in text:
        return Path(text).expanduser(), ""
    outer, _, inside = text.rpartition("#")
    return Path(outer).expanduser(), inside


def _what_else(path: Path) -> str:
    beside = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    return (
        f"{perhaps(path.name, [*beside, *SOURCES])}\n"
        "Data is a folder of class folders, a .zip or .tar of one, an IDX folder, a .csv, "
        "shards or their URL, 'digits', 'torchvision:NAME', or 'fake:1000x3x64x64x10'."
    )
