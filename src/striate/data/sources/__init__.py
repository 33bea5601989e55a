"""Open anything that people have: one function, `open_source`, and the map of named sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from striate.core.errors import DataError, perhaps
from striate.data.sources.builtin import open_digits, open_object, open_torchvision
from striate.data.sources.fake import open_fake
from striate.data.sources.idx import is_idx_folder, open_idx
from striate.data.sources.listing import Listing
from striate.data.sources.sharded import is_sharded, open_shards
from striate.data.sources.table import open_csv
from striate.data.sources.tree import open_archive, open_folder

SOURCES: dict[str, Callable[[], Listing]] = {"digits": open_digits}
"""Built-in names; `torchvision:NAME` opens torchvision's, `fake:1000x3x64x64x10` invents one."""

_ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def open_source(
    source: Any, levels: tuple[str, ...] = (), columns: tuple[str, ...] = ()
) -> Listing:
    """A folder, archive, IDX folder, CSV, built-in name or Python object → its Listing.

    `levels` names the folder levels that give one label each; `columns` what else to read from a
    table, where it has such columns. Raises DataError.
    """
    if levels and not _is_tree(source):
        raise DataError(
            f"data.label_levels: {source} is no tree of folders, so it has no levels",
            "Leave --data.label-levels out.",
        )
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
    return _open_path(path, inside, levels, columns)


def _is_tree(source: Any) -> bool:
    if not isinstance(source, str | Path):
        return False
    if is_sharded(str(source)):
        return False
    path, inside = _split_inside(str(source))
    if path.is_dir():
        return not ((path / inside).is_dir() and is_idx_folder(path / inside))
    if str(source) in SOURCES or str(source).startswith(("torchvision:", "fake:")):
        return False
    return not path.exists() or path.name.lower().endswith(_ARCHIVE_ENDINGS)


def lasting(source: str) -> str:
    """The source under its absolute path, so that a run finds its data from any folder."""
    if "://" in source:
        return source
    path, inside = _split_inside(source)
    if not path.exists() or (source in SOURCES and not Path(source).exists()):
        return source
    return str(path.absolute()) + (f"#{inside}" if inside else "")


def _open_path(
    path: Path, inside: str, levels: tuple[str, ...], columns: tuple[str, ...]
) -> Listing:
    if path.is_dir():
        folder = path / inside
        if not folder.is_dir():
            raise DataError(f"no folder {inside} in {path}")
        return open_idx(folder) if is_idx_folder(folder) else open_folder(folder, levels)
    if path.name.lower().endswith(_ARCHIVE_ENDINGS):
        return open_archive(path, inside, levels)
    if path.suffix.lower() == ".csv":
        return open_csv(path, columns)
    raise DataError(
        f"{path}: not a kind of data that Striate opens",
        "Expected a folder of class folders, a .zip or .tar of one, an IDX folder, or a .csv.",
    )


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
