"""What every page of the textbook needs: the array type, the error, and the checks of input."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating[Any]]
Pair = tuple[int, int]


class TextbookError(ValueError):
    """Wrong input. The message names the place, what was found and what was expected."""


def finite(values: ArrayLike, where: str) -> Array:
    """`values` as floating-point numbers. Raises TextbookError for NaN, infinity or no numbers."""
    try:
        x = np.asarray(values)
        x = x if x.dtype.kind == "f" else x.astype(np.float64, casting="same_kind")
    except (TypeError, ValueError, OverflowError) as error:
        raise TextbookError(f"{where}: expected numbers ({error})") from None
    bad = ~np.isfinite(x)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        some = f"{bad.sum()} of {x.size} values are not finite, the first at {first}"
        raise TextbookError(f"{where}: {some if first else f'{x} is not finite'}")
    return x


def expect(found: tuple[int, ...], wanted: tuple[int | str, ...], where: str) -> None:
    """Raise TextbookError unless the shapes agree. In `wanted` a letter is any size, … any rest."""
    fixed = wanted[:-1] if wanted[-1:] == ("…",) else wanted
    fits = len(found) == len(wanted) if fixed is wanted else len(found) >= len(fixed)
    if not fits or any(n != m if isinstance(m, int) else n < 1 for n, m in zip(found, fixed)):
        names = ", ".join(map(str, wanted)) + "," * (len(wanted) == 1)
        raise TextbookError(f"{where} has shape {found}, expected ({names})")


def pair(size: int | Pair) -> Pair:
    """`3` → `(3, 3)`: one number for height and width."""
    return (size, size) if isinstance(size, int) else size
