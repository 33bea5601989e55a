"""Images without labels, for prediction: files, folders, archives, arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from striate.core.errors import DataError, listing, perhaps
from striate.data.decode import UndecodableError
from striate.data.formats import UNREAD, ending_of, is_image_name
from striate.data.images import ArrayImages, EncodedImages, FolderSource, Images, Indices
from striate.data.images import sample_pixels as _sample_pixels
from striate.data.sources.scan import scan_archive, scan_folder, visible_pictures
from striate.data.sources.tree import nothing_found
from striate.data.strings import Strings


class Chained:
    """Several collections as one."""

    def __init__(self, members: Sequence[Images]) -> None:
        self.members = members
        self.places = [(m, i) for m, images in enumerate(members) for i in range(len(images))]

    def __len__(self) -> int:
        return len(self.places)

    def name(self, index: int) -> str:
        member, i = self.places[index]
        return self.members[member].name(i)

    def key(self, index: int) -> str:
        return self.name(index)

    def raw(self, index: int) -> bytes:
        member, i = self.places[index]
        return self.members[member].raw(i)

    def header(self, index: int, max_megapixels: float) -> Any:
        member, i = self.places[index]
        return self.members[member].header(i, max_megapixels)

    def pixels(self, index: int, max_megapixels: float, wanted: int = 0) -> Any:
        member, i = self.places[index]
        return self.members[member].pixels(i, max_megapixels, wanted)

    def examine(self, index: int, max_megapixels: float, wanted: int = 0) -> Any:
        member, i = self.places[index]
        return self.members[member].examine(i, max_megapixels, wanted)

    def take(self, indices: Indices) -> Chained:
        chosen = Chained(self.members)
        chosen.places = [self.places[int(i)] for i in indices]
        return chosen


def open_pictures(things: Sequence[Any]) -> Images:
    """All images in files, folders and archives (`zip#folder` for a part), or arrays.

    Raises DataError for a missing path, a file that is no image, a folder without images.
    """
    missing = [str(thing) for thing in things if _is_missing(thing)]
    if len(missing) > 1:
        raise DataError(f"{len(missing)} of {len(things)} paths do not exist:\n{listing(missing)}")
    members = [_open_one(thing, position) for position, thing in enumerate(things)]
    if not members:
        raise DataError("no images given", "Name files, folders or archives.")
    return members[0] if len(members) == 1 else Chained(members)


def _is_missing(thing: Any) -> bool:
    if not isinstance(thing, str | Path):
        return False
    outer = str(thing).rpartition("#")[0]
    return not Path(thing).exists() and not (outer and Path(outer).exists())


def _open_one(thing: Any, position: int) -> Images:
    if not isinstance(thing, str | Path):
        return _array(thing, position)
    path, inside = Path(thing), ""
    if not path.exists() and "#" in str(thing):
        outer, _, inside = str(thing).rpartition("#")
        path = Path(outer)
    if not path.exists():
        beside = [c.name for c in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"no image at {thing}", perhaps(path.name, beside) if beside else "")
    if path.is_file() and ending_of(path.name) in UNREAD:
        kind, remedy = UNREAD[ending_of(path.name)]
        raise DataError(f"{thing} is not read ({kind})", remedy)
    if path.is_file() and is_image_name(path.name):
        return EncodedImages(
            FolderSource(path.parent), Strings.of([path.name]), _shown(path.parent)
        )
    tree = scan_folder(path / inside) if path.is_dir() else scan_archive(path, inside)
    pictures = visible_pictures(tree)
    if not pictures:
        raise DataError(f"{thing}: no images found", nothing_found(list(tree.files)))
    return EncodedImages(tree.reader, Strings.of(pictures), tree.shown)


def _shown(folder: Path) -> str:
    return "" if folder == Path() else f"{folder}/"


def _array(value: Any, position: int) -> Images:
    try:
        return ArrayImages(_sample_pixels(value)[None], f"image {position}, ")
    except UndecodableError as error:
        raise DataError(f"image {position}: {error}") from None
    except (TypeError, ValueError):
        raise DataError(
            f"image {position} is a {type(value).__name__}",
            "Expected a path, or an array (H, W) or (H, W, 3) of bytes.",
        ) from None
