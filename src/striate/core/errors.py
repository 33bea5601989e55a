"""One family of errors. Each says what was expected, what was found, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class StriateError(Exception):
    """The user's input or surroundings are at fault; the command line prints it and exits 2.

    `message` says what was found and where, `hint` what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class RecipeError(StriateError):
    """A knob is unknown, of the wrong type, out of range, or unused by the chosen rule."""


class DataError(StriateError):
    """The data set cannot be opened or used as asked."""


class ModelError(StriateError):
    """The network cannot be built or does not fit the images."""


class RunError(StriateError):
    """A run directory or checkpoint is missing, damaged, or not ours."""


class TrainingError(StriateError):
    """Training cannot go on: a non-finite loss, a full disk."""


class MissingExtraError(StriateError):
    """An optional package is needed for what was asked."""

    def __init__(self, package: str, extra: str, why: str) -> None:
        super().__init__(
            f"{package} is not installed; it is needed {why}",
            f"python -m pip install 'striate[{extra}]'",
        )


def perhaps(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt `name`: the closest known names, else all of them."""
    names = sorted({*known})
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "Perhaps you meant: " + ", ".join(close) + "."
    return "Known: " + ", ".join(names) + "."


def counted(number: int, what: str) -> str:
    """`1 image`, `2,000 images`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listing(items: Sequence[str], limit: int = 20) -> str:
    """`items` one a line, cut with a count, for messages that name many files."""
    shown = [f"  {item}" for item in items[:limit]]
    if len(items) > limit:
        shown.append(f"  … and {len(items) - limit} more")
    return "\n".join(shown)
