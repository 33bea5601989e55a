"""Class folders, on disk or inside a zip or tar, read in place and never extracted (F11, F20)."""

from __future__ import annotations

import copy
import lzma
import os
import posixpath
import tarfile
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from striate.core.errors import DataError, listing
from striate.data.decode import is_image_name
from striate.data.images import (
    BytesReader,
    EncodedImages,
    FolderReader,
    Reader,
    TarReader,
    ZipReader,
)
from striate.data.sources.listing import (
    SPLIT_NAMES,
    WHOLE,
    Listing,
    Part,
    natural_order,
    part_of,
)
from striate.data.strings import Strings

_JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Tree:
    """Relative file paths, relative folder paths, and a reader of the files."""

    files: tuple[str, ...]
    folders: tuple[str, ...]
    reader: Reader
    shown: str


def open_folder(root: Path, levels: tuple[str, ...] = ()) -> Listing:
    """A tree of class folders on disk."""
    return arrange(scan_folder(root), str(root), levels)


def open_archive(path: Path, inside: str = "", levels: tuple[str, ...] = ()) -> Listing:
    """A tree of class folders in an archive; `inside` names a folder of it."""
    source = f"{path}#{inside}" if inside else str(path)
    return arrange(scan_archive(path, inside), source, levels)


def scan_archive(path: Path, inside: str = "") -> Tree:
    """The paths in a zip or tar, or in a folder of it."""
    tree = _scan_zip(path) if zipfile.is_zipfile(path) else _scan_tar(path)
    return _subtree(tree, inside.strip("/")) if inside else tree


def visible_pictures(tree: Tree) -> list[str]:
    """Paths with an image ending that are not hidden."""
    return sorted(path for path in tree.files if not _hidden(path) and is_image_name(path))


def arrange(tree: Tree, source: str, levels: tuple[str, ...] = ()) -> Listing:
    """Find splits and classes in a tree of paths.

    `train/CLASS/…`, `val/CLASS/…`, `test/CLASS/…`, or `CLASS/…` alone. Raises DataError where the
    tree is something else.
    """
    ignored: Counter[str] = Counter()
    visible = [path for path in tree.files if not _hidden(path)]
    ignored["hidden files"] = len(tree.files) - len(visible)
    pictures = [path for path in visible if is_image_name(path)]
    ignored["files without an image ending"] = len(visible) - len(pictures)
    folders = [path for path in tree.folders if not _hidden(path)]
    if not pictures:
        raise DataError(f"{source}: no images found", _nothing_found(visible))
    prefix = _wrapper(pictures)
    relative = {path: path[len(prefix) :] for path in pictures if path.startswith(prefix)}
    tops = {path.partition("/")[0] for path in relative.values() if "/" in path}
    splits = {top: SPLIT_NAMES[top.lower()] for top in sorted(tops) if top.lower() in SPLIT_NAMES}
    parts = {}
    if splits:
        _check_split_names(splits, source)
        unused = sum(path.partition("/")[0] not in splits for path in relative.values())
        ignored["images outside the split folders"] = unused
        for top, split in splits.items():
            part = _part(tree, prefix + top + "/", pictures, folders, levels, ignored)
            if len(part):
                parts[split] = part
    else:
        _refuse_nested_splits(tops, relative.values(), source)
        parts[WHOLE] = _part(tree, prefix, pictures, folders, levels, ignored)
    if not any(len(part) for part in parts.values()):
        raise DataError(
            f"{source}: {len(pictures)} images, none in a folder that names its class",
            "Expected CLASS/image.jpg, train/CLASS/image.jpg, or a .csv of path,label.",
        )
    return Listing(source, parts, bool(levels), +ignored)


def _part(
    tree: Tree,
    prefix: str,
    pictures: list[str],
    folders: list[str],
    levels: tuple[str, ...],
    ignored: Counter[str],
) -> Part:
    """The images below `prefix`, sorted, with the labels that their folders give."""
    depth = max(1, len(levels))
    keys: list[str] = []
    labels: list[Any] = []
    for key in sorted(path for path in pictures if path.startswith(prefix)):
        above = key[len(prefix) :].split("/")[:-1]
        if len(above) < depth:
            ignored["images outside class folders"] += 1
            continue
        keys.append(key)
        named = zip(levels, above, strict=False)
        labels.append([f"{level}:{name}" for level, name in named] if levels else above[0])
    children = {p[len(prefix) :].partition("/")[0] for p in folders if p.startswith(prefix)} - {""}
    filled = {key[len(prefix) :].partition("/")[0] for key in keys}
    empty = () if levels else tuple(sorted(children - filled, key=natural_order))
    return part_of(EncodedImages(tree.reader, Strings.of(keys), tree.shown), labels, empty)


def _wrapper(pictures: list[str]) -> str:
    """The chain of single folders around everything, such as `dataset-master/images/`."""
    prefix = ""
    while True:
        rest = [path[len(prefix) :] for path in pictures]
        tops = {path.partition("/")[0] for path in rest}
        deep = all(path.count("/") >= 2 for path in rest)
        if len(tops) != 1 or not deep or next(iter(tops)).lower() in SPLIT_NAMES:
            return prefix
        prefix += next(iter(tops)) + "/"


def _check_split_names(splits: dict[str, str], source: str) -> None:
    for split in set(splits.values()):
        names = sorted(top for top, meaning in splits.items() if meaning == split)
        if len(names) > 1:
            raise DataError(
                f"{source}: the folders {' and '.join(names)} both mean the {split} split",
                "Rename or merge one of them.",
            )


def _refuse_nested_splits(tops: set[str], paths: object, source: str) -> None:
    """`DOMAIN/train/CLASS` is several data sets, not several classes."""
    nested = set()
    for path in paths:  # type: ignore[attr-defined]
        pieces = path.split("/")
        if len(pieces) >= 4 and pieces[1].lower() in SPLIT_NAMES:
            nested.add(pieces[0])
    if nested:
        first = min(nested)
        raise DataError(
            f"{source}: {', '.join(sorted(nested))} each hold their own train or test folders: "
            f"{len(nested)} data sets, not {len(tops)} classes",
            f"Open one of them: {source}#{first}",
        )


def _nothing_found(visible: list[str]) -> str:
    if visible:
        endings = Counter(PurePosixPath(p).suffix.lower() or "no ending" for p in visible)
        found = ", ".join(f"{count} × {ending}" for ending, count in endings.most_common(5))
        return f"It has only other files ({found}). Expected CLASS/image.jpg or train/CLASS/…"
    return "It is empty. Expected CLASS/image.jpg, or train/CLASS/… with val/ and test/."


def _hidden(path: str) -> bool:
    return any(piece.startswith(".") or piece in _JUNK for piece in path.split("/"))


def scan_folder(given: Path) -> Tree:
    """Walk a folder, following links, refusing loops and unreadable folders."""
    root = given.absolute()
    files: list[str] = []
    folders: list[str] = []
    ancestors: dict[str, frozenset[tuple[int, int]]] = {}

    def unreadable(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from None

    for folder, names, leaves in os.walk(root, followlinks=True, onerror=unreadable):
        status = Path(folder).stat()
        here = (status.st_dev, status.st_ino)
        parent = str(Path(folder).parent) if folder != str(root) else ""
        above = ancestors.get(parent, frozenset())
        if here in above:
            raise DataError(
                f"{folder} is a link to a folder that contains it: a loop", "Remove the link."
            )
        ancestors[folder] = above | {here}
        names[:] = sorted(name for name in names if not _hidden(name))
        relative = Path(folder).relative_to(root)
        folders += [(relative / name).as_posix() for name in names]
        files += [(relative / leaf).as_posix() for leaf in leaves]
    _check_names([*files, *folders], str(given))
    return Tree(
        tuple(sorted(files)),
        tuple(folders),
        FolderReader(root),
        "" if given == Path() else f"{given}/",
    )


def _scan_zip(path: Path) -> Tree:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} cannot be opened as a zip: {error}") from None
    if any(info.flag_bits & 1 for info in infos):
        raise DataError(f"{path} is encrypted", "Unpack it and give the folder.")
    names = [info.filename for info in infos]
    _check_members(names, path)
    files = tuple(sorted(name for name in names if not name.endswith("/")))
    folders = tuple(name.rstrip("/") for name in names if name.endswith("/"))
    return Tree(files, folders, ZipReader(path), f"{path}#")


def _scan_tar(path: Path) -> Tree:
    """Plain tars are read at offsets; compressed ones are read once into memory."""
    try:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            _check_members([member.name for member in members], path)
            named = {member.name.removeprefix("./"): member for member in members}
            plain = [
                _behind(named, m)
                for m in members
                if m.isfile() or m.islnk() or (m.issym() and is_image_name(m.name))
            ]
            reader = _tar_reader(archive, plain, path)
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(
            f"{path} cannot be opened: {error}", "Expected a folder, a .zip or a .tar."
        ) from None
    files = tuple(sorted(member.name.removeprefix("./") for member in plain))
    folders = tuple(member.name.removeprefix("./") for member in members if member.isdir())
    return Tree(files, folders, reader, f"{path}#")


def _behind(named: dict[str, tarfile.TarInfo], member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The member; of a link, under its own name, what it stands for."""
    if member.isfile():
        return member
    base = posixpath.dirname(member.name) if member.issym() else ""
    target = named.get(posixpath.normpath(posixpath.join(base, member.linkname)))
    if not target or not target.isfile():
        raise tarfile.TarError(f"{member.name} links to {member.linkname}: no file in it")
    linked = copy.copy(target)
    linked.name = member.name
    return linked


def _tar_reader(
    archive: tarfile.TarFile, members: list[tarfile.TarInfo], path: Path
) -> TarReader | BytesReader:
    with path.open("rb") as file:
        compressed = file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ"))
    if not compressed:
        places = {m.name.removeprefix("./"): (m.offset_data, m.size) for m in members}
        return TarReader(path, places)
    contents = {}
    for member in members:
        file_object = archive.extractfile(member)
        contents[member.name.removeprefix("./")] = file_object.read() if file_object else b""
    return BytesReader(contents)


def _check_members(names: list[str], path: Path) -> None:
    """Members that point outside are refused, although nothing is ever extracted."""
    bad = [n for n in names if n.startswith(("/", "\\")) or ".." in n.replace("\\", "/").split("/")]
    if bad:
        raise DataError(
            f"{path}: {len(bad)} member names point outside the archive:\n{listing(bad)}",
            "Such an archive is damaged or hostile; nothing was read from it.",
        )
    _check_names(names, str(path))


def _check_names(names: list[str], where: str) -> None:
    bad = [repr(name) for name in names if not _printable(name)]
    if bad:
        raise DataError(
            f"{where}: {len(bad)} file names are not valid UTF-8:\n{listing(bad)}", "Rename them."
        )


def _printable(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _subtree(tree: Tree, inside: str) -> Tree:
    prefix = inside + "/"
    files = tuple(path for path in tree.files if path.startswith(prefix))
    if not files:
        tops = sorted({path.partition("/")[0] for path in tree.files if "/" in path})
        raise DataError(
            f"{tree.shown}{inside}: no such folder in the archive", f"It has: {', '.join(tops)}."
        )
    folders = tuple(path for path in tree.folders if path.startswith(prefix))
    return Tree(files, folders, tree.reader, tree.shown)
