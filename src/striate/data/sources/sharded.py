"""Tar shards with an index, on disk or behind a URL: any image by a read of its bytes alone.

    striate-shards.json   format, classes, splits, and each split's shards
    train-000000.tar      plain POSIX tars: 000000000.jpg, 000000000.cls, …
    train.entries.npy     for each image its shard, offset, size and content hash
    train.labels.npy      for each image its class, or with several labels a row of 0 and 1
    train.names.npy, train.names-ends.npy   where it came from, as flat text
    train.column0.npy, …  what else a table said of it, likewise; the index names the columns

The arrays are mapped from the files, so ten million entries open at once and cost no memory until
they are used. Behind a URL (`http://`, `s3://`, whatever fsspec knows) images are byte ranges.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Pixels
from striate.core.errors import DataError, MissingExtraError, StriateError
from striate.data.decode import Header, UndecodableError, decode, examine, read_header
from striate.data.images import Examined, Indices, content_hash
from striate.data.sources.listing import SPLIT_NAMES, WHOLE, Listing, Part
from striate.data.strings import Strings
from striate.data.targets import Labels, LabelSets, Targets, of_array

FORMAT = 1
_SHARD = re.compile(r"[\w.-]+\.tar")
INDEX = "striate-shards.json"
ENTRY = np.dtype([("shard", "<u4"), ("offset", "<u8"), ("size", "<u4"), ("content", "u1", 16)])


def _missing(said: str, root: str) -> StriateError:
    """What fsspec lacks, from its own words: 'Install s3fs to access S3', or
    'HTTPFileSystem requires "requests" and "aiohttp" to be installed'."""
    found = re.search(r"[Ii]nstall (?:the )?'?([\w.-]+)", said) or re.search(r'.*"([\w.-]+)"', said)
    package = found[1] if found else said
    if root.startswith("http"):
        return MissingExtraError(package, "remote", f"to read {root}")
    return DataError(
        f"{package} is not installed; it is needed to read {root}",
        f"python -m pip install {package}",
    )


@dataclass(frozen=True)
class Place:
    """A folder, local or behind a URL."""

    root: str

    @cached_property
    def _remote(self) -> tuple[Any, str] | None:
        if "://" not in self.root:
            return None
        import fsspec

        try:
            return fsspec.core.url_to_fs(self.root)
        except ImportError as error:
            raise _missing(str(error), self.root) from None
        except ValueError as error:
            raise DataError(f"{self.root}: {error}") from None

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        """A file, or `size` bytes of it. Raises OSError."""
        if self._remote:
            files, root = self._remote
            end = None if size is None else start + size
            data: bytes = files.cat_file(f"{root.rstrip('/')}/{name}", start=start, end=end)
            return data
        with (Path(self.root) / name).open("rb") as file:
            file.seek(start)
            return file.read(-1 if size is None else size)

    def array(self, name: str) -> NDArray[Any]:
        """An array, mapped where it is local."""
        if self._remote:
            stored: NDArray[Any] = np.load(io.BytesIO(self.read(name)))
            return stored
        return np.load(Path(self.root) / name, mmap_mode="r")


@dataclass(frozen=True)
class ShardImages:
    """The images of a split: entries (N,) of ENTRY, of which those at `chosen` count."""

    place: Place
    shards: tuple[str, ...]
    entries: NDArray[Any]
    names: Strings
    chosen: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.entries) if self.chosen is None else len(self.chosen)

    def name(self, index: int) -> str:
        at = self._at(index)
        return f"{self.place.root}/{self.shards[self.entries[at]['shard']]}#{self.names[at]}"

    def key(self, index: int) -> str:
        return self.names[self._at(index)]

    def raw(self, index: int) -> bytes:
        """The bytes; an image that is not what the index says is refused (F8)."""
        entry = self.entries[self._at(index)]
        try:
            shard, size = self.shards[entry["shard"]], int(entry["size"])
            data = self.place.read(shard, int(entry["offset"]), size)
        except Exception as error:  # file systems raise what they like
            raise UndecodableError(f"cannot be read: {error}") from None
        if content_hash(data) != entry["content"].tobytes():
            raise UndecodableError(f"differs from the index: {shard} was changed or cut short")
        return data

    def header(self, index: int, max_megapixels: float) -> Header:
        return read_header(self.raw(index), max_megapixels)

    def pixels(self, index: int, max_megapixels: float, wanted: int = 0) -> Pixels:
        return decode(self.raw(index), max_megapixels, wanted)

    def examine(self, index: int, max_megapixels: float, wanted: int = 0) -> Examined:
        data = self.raw(index)
        return Examined(content_hash(data), *examine(data, max_megapixels, wanted))

    def take(self, indices: Indices) -> ShardImages:
        wanted = np.asarray(indices, dtype=np.int64)
        chosen = wanted if self.chosen is None else self.chosen[wanted]
        return ShardImages(self.place, self.shards, self.entries, self.names, chosen)

    def _at(self, index: int) -> int:
        return index if self.chosen is None else int(self.chosen[index])


def is_sharded(source: str) -> bool:
    """Whether this is a URL, or a folder with an index of shards."""
    return "://" in source or (Path(source) / INDEX).is_file()


def open_shards(source: str) -> Listing:
    """The splits of a folder or URL of shards. Raises DataError."""
    place = Place(source.rstrip("/"))
    try:
        index = json.loads(place.read(INDEX))
        if index["format"] != FORMAT:
            raise DataError(
                f"{source}: shards of format {index['format']}; this version reads {FORMAT}"
            )
        parts = {name: _part(place, name, index) for name in index["splits"]}
    except (DataError, MissingExtraError):
        raise
    except Exception as error:  # file systems raise what they like
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{source}: no shards can be opened there: {reason}",
            f"Expected a folder or URL with {INDEX}, as `striate data shard` writes it.",
        ) from None
    return Listing(source, parts)


def _part(place: Place, split: str, index: dict[str, Any]) -> Part:
    """The arrays of a split, after a look at what they promise: the index may be damaged, or
    hostile. Entries are looked at when they are used: ten million would have to be read."""
    shards, classes = tuple(index["splits"][split]), tuple(index["classes"])
    if split not in (*SPLIT_NAMES.values(), WHOLE) or not all(map(_SHARD.fullmatch, shards)):
        raise DataError(f"{place.root}/{INDEX}: '{split}' and {shards[:3]} are no names of ours")
    entries, labels = (place.array(f"{split}.{kind}.npy") for kind in ("entries", "labels"))
    kinds = {name: f"column{number}" for number, name in enumerate(index["columns"])}
    columns = {name: _strings(place, split, kind) for name, kind in kinds.items()}
    names = _strings(place, split, "names")
    texts = (names, *columns.values())
    same = {len(labels), *map(len, texts)} == {len(entries)}
    known = not len(labels) or 0 <= labels.min() <= labels.max() < max(2, len(classes))
    ended = all(not len(t) or t.ends[-1] <= len(t.text) for t in texts)
    if entries.dtype != ENTRY or not (same and known and ended):
        raise DataError(
            f"{place.root}: the arrays of the {split} split do not fit together",
            "Write the shards anew, or copy them once more.",
        )
    targets = of_array(labels if index["multi_label"] else labels.astype(np.int64))
    return Part(ShardImages(place, shards, entries, names), classes, targets, (), columns)


def stored_labels(targets: Targets) -> NDArray[Any]:
    """The array that shards keep: class numbers int32 (N,), or a 0/1 table float32 (N, classes).
    Raises DataError for targets that are no labels."""
    if isinstance(targets, Labels):
        return targets.array.astype(np.int32)
    if isinstance(targets, LabelSets):
        return targets.array
    raise DataError(f"shards keep labels, not {targets.described}")


def _strings(place: Place, split: str, kind: str) -> Strings:
    return Strings(*(place.array(f"{split}.{name}.npy") for name in (kind, f"{kind}-ends")))
