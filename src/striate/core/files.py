"""Writing files so that a crash at any moment leaves the old file or the new one, never half."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from striate.core.errors import RunError
from striate.core.strict_json import page

_FULL = (errno.ENOSPC, errno.EDQUOT)
_IN_THE_WAY = (
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Temporary name, fsync, rename, fsync of the folder (F1). Raises RunError on a full disk."""
    content = content.encode("utf-8") if isinstance(content, str) else content
    if not path.name or path.is_dir():
        raise RunError(f"cannot write '{path}': it is a folder", "Give the name of a file.")
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_faults_explained(path, len(content)):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`value` as indented strict JSON, atomically; numbers that are not finite become null."""
    write_atomically(path, page(value))


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable; a no-op where folders cannot be opened (Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_ELSEWHERE = "Choose a folder that exists and may be written to."


@contextlib.contextmanager
def disk_faults_explained(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn a full or read-only disk into a RunError with path, needed and free bytes (F5)."""
    try:
        yield
    except OSError as error:
        if error.errno not in (*_FULL, *_IN_THE_WAY):
            raise
        free = shutil.disk_usage(_existing(path)).free
        needs = f"{needed:,} bytes needed, " if needed else ""
        raise RunError(
            f"cannot write {path}: {os.strerror(error.errno or 0)} ({needs}{free:,} bytes free)",
            "Free some space or choose another place; the last good checkpoint is untouched."
            if error.errno in _FULL
            else _ELSEWHERE,
        ) from None


def check_folder(path: Path) -> None:
    """Before work whose result goes there: RunError where a folder cannot be made, or cannot be
    written to."""
    found = _existing(path)
    if not found.is_dir():
        raise RunError(f"cannot write {path}: {found} is a file", _ELSEWHERE)
    if not os.access(found, os.W_OK):
        raise RunError(f"cannot write {path}: {found} may not be written to", _ELSEWHERE)


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
