"""The built-in digits, torchvision's data sets by name, arrays and torch data sets."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from striate.core.errors import DataError, perhaps
from striate.data.boxes import Boxes
from striate.data.decode import UndecodableError
from striate.data.images import ArrayImages, Images, TorchImages, as_uint8
from striate.data.sources.listing import WHOLE, Listing, Part, number_names, numbered_part, part_of
from striate.data.targets import Targets

DOWNLOADS = Path("~/.cache/striate/torchvision")
_OFFLINE_SECONDS = 10.0


def open_digits() -> Listing:
    """scikit-learn's 1,797 handwritten digits, 8×8 pixels with 17 grey levels."""
    rows = np.loadtxt(_digits_file(), dtype=np.int64, delimiter=",")
    grey = np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    return Listing("digits", {WHOLE: numbered_part(ArrayImages(grey, "digits[]"), rows[:, -1])})


def _digits_file() -> Path:
    """The table inside scikit-learn; importing that to read it would take longer than training."""
    package = find_spec("sklearn")
    assert package is not None  # this package requires it
    assert package.origin is not None
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def open_torchvision(name: str, root: Path = DOWNLOADS) -> Listing:
    """A torchvision classification data set: a local copy if there is one, else a download."""
    import torchvision.datasets as zoo

    known = [n for n in zoo.__all__ if isinstance(getattr(zoo, n), type)]
    found = {n.lower(): n for n in known}.get(name.lower())
    if not found:
        raise DataError(f"torchvision has no data set '{name}'", perhaps(name, known))
    factory, folder = getattr(zoo, found), root.expanduser()
    train, test = (_fetched(factory, folder, train=flag) for flag in (True, False))
    parts = {"train": torch_part(train), "test": torch_part(test)}
    return Listing(f"torchvision:{found}", parts)


def _fetched(factory: Any, folder: Path, *, train: bool) -> Any:
    before = socket.getdefaulttimeout()
    try:
        return factory(str(folder), train=train, download=False)
    except TypeError as error:
        raise DataError(
            f"torchvision's {factory.__name__} has no train/test switch: {error}",
            "Build it in Python and give it to striate.train.",
        ) from None
    except RuntimeError:
        pass  # not on disk: try the network, but never for long
    try:
        socket.setdefaulttimeout(_OFFLINE_SECONDS)
        return factory(str(folder), train=train, download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"torchvision's {factory.__name__} is not in {folder} and cannot be fetched: {reason}",
            f"Without a network, put its files into {folder} yourself.",
        ) from None
    finally:
        socket.setdefaulttimeout(before)


def open_object(data: Any) -> Listing:
    """(images, labels), {"train": (images, labels), …}, or map-style torch data sets likewise.
    Instead of labels there may be `Targets`: `Boxes`, or those that a task of your own takes.

    images: uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3), or floats from 0 to 1; labels: N integers
    or names, or a 0/1 table (N, classes) for several labels an image.
    """
    if isinstance(data, Mapping):
        unknown = set(data) - {"train", "val", "test"}
        if unknown or "train" not in data:
            raise DataError(
                f"splits {sorted(map(str, data))}: expected train, perhaps val and test"
            )
        parts = {name: _object_part(value) for name, value in data.items()}
    else:
        parts = {WHOLE: _object_part(data)}
    by_kind: dict[str, list[str]] = {}
    for name, part in parts.items():
        by_kind.setdefault(part.targets.described, []).append(name)
    if len(by_kind) > 1:
        (first, names), *rest = sorted(by_kind.items(), reverse=True)
        others = [
            f"{described.removesuffix(' label an image')} in {', '.join(sorted(of))}"
            for described, of in rest
        ]
        raise DataError(
            ", ".join([f"{first} in {', '.join(sorted(names))}", *others]),
            "Give every split a 0/1 table (N, classes), or every split one label an image.",
        )
    return Listing("arrays in memory", parts)


def _object_part(value: Any) -> Part:
    if isinstance(value, tuple) and len(value) == 2:
        return _array_part(*value)
    if hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, str):
        return torch_part(value)
    raise DataError(
        f"cannot train on a {type(value).__name__}",
        "Expected a path, (images, labels), a torch Dataset, or a dict of these by split.",
    )


def _array_part(images: Any, labels: Any) -> Part:
    array = np.asarray(images)
    known = isinstance(labels, Targets)
    table: Any = np.arange(len(labels)) if known else np.asarray(labels)
    if table.ndim == 2 and table.shape[1] == 1:
        table = table[:, 0]  # a column of labels, as table programs give it
    array = array[..., None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[3] not in (1, 3):
        raise DataError(
            f"images of shape {np.shape(images)}",
            "Expected (N, H, W), (N, H, W, 1) or (N, H, W, 3).",
        )
    if table.ndim not in (1, 2) or len(array) != len(table):
        raise DataError(
            f"{len(array)} images and labels of shape {table.shape}",
            "Expected N integers or names, or a 0/1 table (N, classes).",
        )
    try:
        pixels = as_uint8(array)
    except UndecodableError as error:
        raise DataError(f"images: {error}") from None
    if known:
        return Part(ArrayImages(pixels), _names_of(labels), labels)
    return part_of(ArrayImages(pixels), _label_names(table))


def _names_of(targets: Targets) -> tuple[str, ...]:
    """The names of the classes, where the targets have any; the classes of boxes are numbers."""
    if isinstance(targets, Boxes):
        return tuple(map(str, range(int(targets.numbers.max(initial=-1)) + 1)))
    return tuple(getattr(targets, "names", ()))


def _label_names(table: Any) -> Any:
    if table.ndim == 1:
        return number_names(table.tolist())
    if not np.isin(table, (0, 1)).all():
        raise DataError("the label table has values other than 0 and 1")
    return [[str(c) for c in np.flatnonzero(row)] for row in table]


def torch_part(dataset: Any) -> Part:
    """A map-style data set of (image, integer label); its `classes` and `targets` are used."""
    images: Images = TorchImages(dataset, np.arange(len(dataset)))
    targets = getattr(dataset, "targets", None)
    if targets is None:
        targets = [dataset[i][1] for i in range(len(dataset))]
    names = getattr(dataset, "classes", None)
    try:
        numbers = [int(t) for t in targets]
    except (TypeError, ValueError):
        raise DataError(
            f"{type(dataset).__name__} has targets such as {targets[0]!r}",
            "Expected one integer an image; for several labels give arrays (images, 0/1 table).",
        ) from None
    if names is not None and numbers and not 0 <= min(numbers) <= max(numbers) < len(names):
        raise DataError(
            f"labels from {min(numbers)} to {max(numbers)} for {len(names)} classes: out of range"
        )
    return part_of(images, [str(names[n]) if names else str(n) for n in numbers])
