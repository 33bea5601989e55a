"""Writing a data set as plain tar shards, readable by any tool, with an index for random access."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from striate.core.errors import DataError, counted, listing
from striate.core.files import disk_faults_explained, write_atomically, write_json
from striate.core.randomness import permutation
from striate.data.augment.common import picture
from striate.data.check.survey import survey
from striate.data.decode import Unified
from striate.data.formats import is_image_name
from striate.data.images import Images, content_hash
from striate.data.sources.listing import Listing, Part, natural_order
from striate.data.sources.sharded import ENTRY, FORMAT, INDEX, stored_labels
from striate.data.strings import Strings
from striate.data.targets import Targets

_SHAPE_OF_CHECK = Unified(32, 3, "squash", 100.0)


def write_shards(
    found: Listing, out: Path, *, size: int, seed: int = 0, skip_bad: bool = False
) -> Iterator[str]:
    """Write all splits below `out`, at most about `size` bytes a shard; yields each file's name.

    Files are copied byte for byte, arrays become PNGs. Images are shuffled once, so that a part of
    the shards is a sample of the whole. The index is written last: without it nothing is complete.
    Raises DataError for images that do not decode (unless skip_bad), for a folder that is not empty
    and for targets that are no labels.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            f"{out} is not empty, or no folder", "Give a folder that does not exist yet."
        )
    for part in found.parts.values():
        stored_labels(part.targets.take(np.arange(0)))  # refused before anything is written
    kept = {name: _sound(part, skip_bad=skip_bad) for name, part in found.parts.items()}
    classes = sorted({n for part in found.parts.values() for n in part.names}, key=natural_order)
    with disk_faults_explained(out):
        out.mkdir(parents=True, exist_ok=True)
    columns = sorted({name for part in found.parts.values() for name in part.columns})
    splits: dict[str, list[str]] = {}
    for name, part in kept.items():
        order = permutation(seed, 0, f"shards {name}", len(part))
        splits[name] = []
        for shard in _write_split(part.take(order), name, classes, columns, out, size):
            splits[name].append(shard)
            yield shard
    index = {
        "format": FORMAT, "source": found.source, "classes": classes, "splits": splits,
        **_facts(found), "images": {n: len(p) for n, p in kept.items()},
        "columns": columns,
    }  # fmt: skip
    write_json(out / INDEX, index)
    yield INDEX


def _facts(found: Listing) -> dict[str, Any]:
    """What the index says of the targets' kind; parts without images say nothing."""
    parts = [part for part in found.parts.values() if len(part)] or [*found.parts.values()]
    return parts[0].targets.facts()


def _sound(part: Part, *, skip_bad: bool) -> Part:
    faults = survey(part.images, _SHAPE_OF_CHECK, allow=("wrong-extension",)).faults
    if faults and not skip_bad:
        lines = [f"{part.images.name(i)}: {why}" for i, why in faults.items()]
        raise DataError(
            f"{counted(len(lines), 'image')} cannot be used:\n{listing(lines)}",
            "Repair or remove them, or add --skip-bad to leave them out.",
        )
    return part.take(np.setdiff1d(np.arange(len(part)), list(faults))) if faults else part


def _write_split(
    part: Part, split: str, classes: Sequence[str], columns: Sequence[str], out: Path, size: int
) -> Iterator[str]:
    entries = np.zeros(len(part), dtype=ENTRY)
    number = np.array([classes.index(name) for name in part.names], dtype=np.int64)
    targets = part.targets.renumbered(number, len(classes))
    position, shard = 0, 0
    while position < len(part):
        name = f"{split}-{shard:06d}.tar"
        with disk_faults_explained(out / name), (out / f".{name}.tmp").open("wb") as file:
            position = _fill(file, part.images, entries, targets, (position, shard), size)
        (out / f".{name}.tmp").replace(out / name)
        shard += 1
        yield name
    arrays: dict[str, Any] = {"entries": entries, "labels": stored_labels(targets)}
    texts = {"names": Strings.of(part.images.key(i) for i in range(len(part)))}
    for i, name in enumerate(columns):
        texts[f"column{i}"] = Strings.of(part.columns.get(name, [""] * len(part)))
    for kind, strings in texts.items():
        arrays |= {kind: strings.text, f"{kind}-ends": strings.ends}
    for kind, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        write_atomically(out / f"{split}.{kind}.npy", buffer.getvalue())


def _fill(
    file: Any,
    images: Images,
    entries: np.ndarray,
    targets: Targets,
    start: tuple[int, int],
    size: int,
) -> int:
    """Add images until the shard has its size; returns the position after the last."""
    position, shard = start
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        while position < len(images) and (file.tell() < size or position == start[0]):
            data, ending = _encoded(images, position)
            key = f"{position:09d}"
            row = entries[position]
            row["shard"], row["size"] = shard, len(data)
            row["offset"] = _add(tar, file, key + ending, data)
            row["content"] = np.frombuffer(content_hash(data), np.uint8)
            marks = " ".join(map(str, targets.of(position)))
            _add(tar, file, key + ".cls", marks.encode())
            position += 1
    return position


def _add(tar: tarfile.TarFile, file: Any, name: str, data: bytes) -> int:
    """Add a member; returns where its bytes begin."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    offset: int = file.tell() + tarfile.BLOCKSIZE
    tar.addfile(info, io.BytesIO(data))
    return offset


def _encoded(images: Images, index: int) -> tuple[bytes, str]:
    """The stored file with its ending; pixels without a file as PNG."""
    ending = PurePosixPath(images.key(index)).suffix.lower()
    if is_image_name(f"x{ending}"):
        return images.raw(index), ending
    buffer = io.BytesIO()
    image: Image.Image = picture(images.pixels(index, float("inf")))
    image.save(buffer, "PNG")
    return buffer.getvalue(), ".png"


def parse_size(text: str) -> int:
    """`256MB`, `1GB`, `500000` → bytes. Raises DataError."""
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20,
             "GIB": 2**30}  # fmt: skip
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = text.strip()[len(number) :].strip().upper()
    try:
        size = int(float(number) * units[unit])
    except (ValueError, KeyError, OverflowError):
        raise DataError(f"size '{text}'", "Expected such as 256MB or 1GB.") from None
    if size < 1:
        raise DataError(f"size '{text}' is not above 0")
    return size
