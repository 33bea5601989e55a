"""How a source is to be read, where there is more than one way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceOptions:
    """levels: a name for each folder level that gives a label (several labels an image).
    columns: what else to read from a table. class_level: the folder level that names the class,
    counted from 1 below the split's folder; 0: the folder that holds the image; None: found out.
    label_column: of a table. label_pattern: a regular expression whose first group in an image's
    path is its label. skip_bad: leave out files whose names cannot be read."""

    levels: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    class_level: int | None = None
    label_column: str = ""
    label_pattern: str = ""
    skip_bad: bool = False


AS_FOUND = SourceOptions()
