"""What is in a folder, zip or tar: paths and a reader, nothing extracted (F11, F20)."""

from __future__ import annotations

import copy
import io
import lzma
import os
import posixpath
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from striate.core.errors import DataError, counted, listing
from striate.core.findings import Finding
from striate.data.formats import is_image_name
from striate.data.images import ByteSource, FolderSource, MemorySource, TarSource, ZipSource
from striate.data.sources.names import readable

JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information"}
_UTF8, _UNICODE_PATH = 0x800, 0x7075


@dataclass(frozen=True)
class Tree:
    """Relative file paths, relative folder paths, a reader of the files, and what was remarked."""

    files: tuple[str, ...]
    folders: tuple[str, ...]
    reader: ByteSource
    shown: str
    remarks: tuple[Finding, ...] = ()

    def text(self, path: str) -> bytes:
        """The bytes of a file in it."""
        return self.reader.read(path)


def scan_archive(path: Path, inside: str = "", *, skip_bad: bool = False) -> Tree:
    """The paths in a zip or tar, or in a folder of it."""
    zipped = zipfile.is_zipfile(path)
    tree = _scan_zip(path, skip_bad=skip_bad) if zipped else _scan_tar(path, skip_bad=skip_bad)
    return _subtree(tree, inside.strip("/")) if inside else tree


def visible_pictures(tree: Tree) -> list[str]:
    """Paths with an image ending that are not hidden."""
    return sorted(path for path in tree.files if not hidden(path) and is_image_name(path))


def hidden(path: str) -> bool:
    """Whether a system put it there: names that begin with a dot, and others' litter."""
    return any(piece.startswith(".") or piece in JUNK for piece in path.split("/"))


def scan_folder(given: Path, *, skip_bad: bool = False) -> Tree:
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
        names[:] = sorted(name for name in names if not hidden(name))
        relative = Path(folder).relative_to(root)
        folders += [(relative / name).as_posix() for name in names]
        files += [(relative / leaf).as_posix() for leaf in leaves]
    tree = Tree((), (), FolderSource(root), "" if given == Path() else f"{given}/")
    return _named(tree, files, folders, str(given), skip_bad=skip_bad)


def _named(tree: Tree, files: list[str], folders: list[str], where: str, *, skip_bad: bool) -> Tree:
    """With these paths, sorted; names that are no text are refused or left out."""
    said: list[str] = []

    def refuse(message: str, hint: str) -> None:
        if not skip_bad:
            raise DataError(message, hint)
        said.append(message)

    good = readable([*files, *folders], where, refuse)
    if said:
        kept = set(good)
        files, folders = [f for f in files if f in kept], [f for f in folders if f in kept]
        lost = Finding("unreadable names", "warn", f"{said[0]}\nThey are left out (--skip-bad).")
        tree = replace(tree, remarks=(*tree.remarks, lost))
    return replace(tree, files=tuple(sorted(files)), folders=tuple(sorted(folders)))


def _scan_zip(path: Path, *, skip_bad: bool) -> Tree:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise DataError(
            f"{path} cannot be opened: {error}", "Expected a folder, a .zip or a .tar."
        ) from None
    if any(info.flag_bits & 1 for info in infos):
        raise DataError(f"{path} is encrypted", "Unpack it and give the folder.")
    guessed = 0
    stored: dict[str, str] = {}
    for info in infos:
        name, sure = _zip_name(info)
        guessed += not sure
        stored[name.replace("\\", "/")] = info.filename
    names = list(stored)
    _check_members(names, path)
    renamed = {name: kept for name, kept in stored.items() if name != kept}
    tree = Tree((), (), ZipSource(path, renamed), f"{path}#")
    if guessed:
        text = (
            f"{path}: {counted(guessed, 'name')} in an encoding that the archive does not state; "
            "read as code page 437"
        )
        remedy = "If names look wrong, unpack the archive and give the folder."
        tree = replace(
            tree, remarks=(Finding("names in an old encoding", "warn", text, {}, remedy),)
        )
    files = [name for name in names if not name.endswith("/")]
    folders = [name.rstrip("/") for name in names if name.endswith("/")]
    return _named(tree, files, folders, str(path), skip_bad=skip_bad)


def _zip_name(info: zipfile.ZipInfo) -> tuple[str, bool]:
    """(name, whether its encoding is known). Programs that write UTF-8 without saying so are many;
    Info-ZIP keeps a second, Unicode name."""
    if info.flag_bits & _UTF8 or info.filename.isascii():
        return info.filename, True
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        if kind == _UNICODE_PATH and size > 5:
            return extra[9 : 4 + size].decode("utf-8", "replace"), True
        extra = extra[4 + size :]
    try:
        return info.filename.encode("cp437").decode("utf-8"), True
    except UnicodeError:
        return info.filename, False


def _scan_tar(path: Path, *, skip_bad: bool) -> Tree:
    """Plain tars are read at offsets; compressed ones are read once into memory."""
    try:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            _check_members([_tar_name(member) for member in members], path)
            named = {_tar_name(member): member for member in members}
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
    files = [_tar_name(member) for member in plain]
    folders = [_tar_name(member) for member in members if member.isdir()]
    return _named(Tree((), (), reader, f"{path}#"), files, folders, str(path), skip_bad=skip_bad)


def _tar_name(member: tarfile.TarInfo) -> str:
    return member.name.replace("\\", "/").removeprefix("./")


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
) -> TarSource | MemorySource:
    with path.open("rb") as file:
        compressed = file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ"))
    if not compressed:
        places = {_tar_name(m): (m.offset_data, m.size) for m in members}
        return TarSource(path, places)
    contents = {}
    for member in members:
        file_object = archive.extractfile(member) or io.BytesIO()
        contents[_tar_name(member)] = file_object.read()
    return MemorySource(contents)


def _check_members(names: list[str], path: Path) -> None:
    """Members that point outside are refused, although nothing is ever extracted."""
    bad = [n for n in names if n.startswith(("/", "\\")) or ".." in n.replace("\\", "/").split("/")]
    if bad:
        raise DataError(
            f"{path}: {len(bad)} member names point outside the archive:\n{listing(bad)}",
            "Such an archive is damaged or hostile; nothing was read from it.",
        )


def _subtree(tree: Tree, inside: str) -> Tree:
    prefix = inside + "/"
    files = tuple(path for path in tree.files if path.startswith(prefix))
    if not files:
        tops = sorted({path.partition("/")[0] for path in tree.files if "/" in path})
        raise DataError(
            f"{tree.shown}{inside}: no such folder in the archive", f"It has: {', '.join(tops)}."
        )
    folders = tuple(path for path in tree.folders if path.startswith(prefix))
    return replace(tree, files=files, folders=folders)
