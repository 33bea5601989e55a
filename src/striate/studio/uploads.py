"""Archives that are dropped into the page, kept in the data directory that was named at the start.

They are never unpacked: a training reads archives as they are (F20).
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from striate.core.errors import DataError
from striate.core.files import disk_faults_explained

_TAKEN = (".zip", ".tar", ".tar.gz", ".tgz", ".csv")


def safe_name(given: str) -> str:
    """A file's name without anything that a file system or a shell could misread. Raises
    DataError for what is no archive."""
    last = given.replace("\\", "/").rpartition("/")[2]
    plain = "".join(c if c.isalnum() or c in "-_. " else "-" for c in last).strip(". ")[:100]
    if not plain.lower().endswith(_TAKEN) or plain.lower() in _TAKEN:
        raise DataError(
            f"'{last[:100]}' is no archive of images", "Expected .zip, .tar, .tar.gz or .csv."
        )
    return plain


async def keep_upload(parts: AsyncIterator[bytes], folder: Path, name: str) -> Path:
    """Write an upload under a temporary name, then its own. Raises DataError for a name that is
    taken, RunError on a full disk."""
    final = folder / safe_name(name)
    if final.exists():
        raise DataError(f"there is a {final.name} already", "Give the file another name.")
    temporary = folder / f".{secrets.token_hex(8)}.tmp"
    with disk_faults_explained(final):
        try:
            with temporary.open("xb") as file:
                async for part in parts:
                    file.write(part)
            if final.exists():
                raise DataError(f"there is a {final.name} already", "Give the file another name.")
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)
    return final
