"""Images that occur twice: with equal pixels, or the same picture re-encoded or resized (F13).

A short descriptor proposes pairs, pixels confirm them: hundreds of different MNIST digits share
their low frequencies. Two copies differ by what resizing and compression do, which is nearly a
small filter: after the best 3×3 filter of one copy has been subtracted from the other, little of
it is left. Of different pictures much is left, however alike they look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from striate.core.arrays import Pixels
from striate.data.decode import UndecodableError, resized
from striate.data.images import Images

Pairs = NDArray[np.int64]
Looks = NDArray[np.float16]
Kind = Literal["exact", "near"]
THUMB, KEPT = 32, 8
CANDIDATE = 0.995
"""Descriptors with a larger cosine are compared by pixels."""
RESIDUAL = 0.10
"""Copies leave less than this share of the deviation. MNIST's 1.8·10⁹ pairs of training digits
leave 0.104 and more; re-encoded copies (JPEG quality 75 and better) up to 0.09."""
_LONGEST, _LEAST_PIXELS = 64, 256
"""Smaller images than 16×16 say too little: ten coefficients explain much of 64 pixels."""
_PER_IMAGE = 16
_BLOCK, _MOST_COSINES = 1024, 2**25
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_WAVES = np.cos(np.pi * np.outer(np.arange(KEPT), np.arange(THUMB) + 0.5) / THUMB)
_WAVES *= np.where(np.arange(KEPT) == 0, np.sqrt(0.5), 1)[:, None]


class Copy(NamedTuple):
    """Two images that are one: places (split, position), and how alike they are.

    kind "exact": equal pixels; "near": `residual` is the share of the deviation that is left when
    one is predicted from the other. `turned`: how the second must be turned to match the first.
    """

    first: tuple[str, int]
    second: tuple[str, int]
    kind: Kind
    residual: float = 0.0
    turned: str = ""


TURNS: dict[str, tuple[bool, bool, bool]] = {
    "": (False, False, False),
    "mirrored": (False, False, True),
    "upside down and mirrored": (False, True, False),
    "upside down": (False, True, True),
    "transposed": (True, False, False),
    "turned by 90°": (True, False, True),
    "turned by 270°": (True, True, False),
    "transposed over the other diagonal": (True, True, True),
}
"""The eight flips and rotations: transpose first, then mirror rows, then columns."""


def describe(grey: NDArray[np.floating]) -> Looks:
    """Descriptors (N, 63) of grey thumbnails (N, 32, 32): the 63 lowest frequencies of the cosine
    transform without the mean, scaled to length 1; zero for an image of one colour."""
    waves = (_WAVES @ grey @ _WAVES.T).reshape(len(grey), KEPT**2)[:, 1:]
    length = np.linalg.norm(waves, axis=1, keepdims=True)
    return np.divide(waves, length, out=np.zeros_like(waves), where=length > 1).astype(np.float16)


def turned_looks(looks: Looks, turn: str) -> Looks:
    """The descriptors that the turned images have: mirroring changes the signs of odd waves."""
    transpose, rows, columns = TURNS[turn]
    grid = np.pad(looks, [(0, 0), (1, 0)]).reshape(-1, KEPT, KEPT)
    odd = np.where(np.arange(KEPT) % 2, -1, 1).astype(np.float16)
    grid = grid.transpose(0, 2, 1) if transpose else grid
    grid = grid * odd[:, None] if rows else grid
    grid = grid * odd if columns else grid
    return np.ascontiguousarray(grid).reshape(len(looks), KEPT**2)[:, 1:]


def turned_pixels(pixels: Pixels, turn: str) -> Pixels:
    """The turned image."""
    transpose, rows, columns = TURNS[turn]
    pixels = pixels.transpose(1, 0, 2) if transpose else pixels
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]


def candidates(looks: Looks, others: Looks | None = None) -> Iterator[Pairs]:
    """Pairs (K, 2) of rows whose cosine is above CANDIDATE, block by block.

    Of `looks` and `others`, or within `looks` (first < second). Rows of zeros match nothing. Each
    image has at most 16 partners a block, the most alike, so that a thousand copies do not make a
    million pairs.
    """
    within = others is None
    right = (looks if others is None else others).astype(np.float32)
    block = max(16, min(_BLOCK, _MOST_COSINES // max(1, len(right))))
    for start in range(0, len(looks) if len(right) else 0, block):
        base = start if within else 0
        cosines = looks[start : start + block].astype(np.float32) @ right[base:].T
        rows, columns = np.nonzero(cosines > CANDIDATE)
        later = columns > rows if within else np.ones(len(rows), dtype=np.bool_)
        rows, columns = rows[later], columns[later]
        best = np.lexsort((-cosines[rows, columns], rows))
        rows, columns = rows[best], columns[best]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        few = rank < _PER_IMAGE
        yield np.stack([rows[few] + start, columns[few] + base], axis=1)


def compare(a: Pixels, b: Pixels) -> tuple[Kind | None, float]:
    """("exact", 0) for equal pixels, ("near", residual) for copies, (None, residual) otherwise.
    A grey image equals one in colour whose three channels are all like it.

    The residual is the smaller of the two directions: a blurred copy is predicted from the sharp
    one, not the other way round.
    """
    if a.shape[:2] == b.shape[:2] and (a == b).all():  # one channel is compared with each of three
        return "exact", 0.0
    (high, wide), (other_high, other_wide) = a.shape[:2], b.shape[:2]
    if abs(np.log(high / wide * other_wide / other_high)) > 0.1:  # other proportions
        return None, 1.0
    if min(high * wide, other_high * other_wide) < _LEAST_PIXELS:
        return None, 1.0
    height, width = (int(min(a.shape[i], b.shape[i], _LONGEST)) for i in (0, 1))
    x, y = (_grey(resized(image, height, width)) for image in (a, b))
    residual = min(_unexplained(x, y), _unexplained(y, x))
    return ("near" if residual <= RESIDUAL else None), residual


def confirmed(
    pairs: Pairs,
    left: tuple[str, Images],
    right: tuple[str, Images],
    max_megapixels: float,
    turn: str = "",
) -> Iterator[Copy]:
    """The proposed pairs that pixels confirm. An image that does not decode is no copy."""
    for i, j in pairs.tolist():
        try:
            first = left[1].pixels(i, max_megapixels)
            second = right[1].pixels(j, max_megapixels)
        except UndecodableError:
            continue
        kind, residual = compare(first, np.ascontiguousarray(turned_pixels(second, turn)))
        if kind:
            yield Copy((left[0], i), (right[0], j), kind, residual, turn)


def equal_contents(contents: Sequence[bytes]) -> list[list[int]]:
    """Groups of two or more positions with one hash, in order."""
    groups: dict[bytes, list[int]] = {}
    for position, content in enumerate(contents):
        groups.setdefault(content, []).append(position)
    return [group for group in groups.values() if len(group) > 1]


def _grey(pixels: Pixels) -> NDArray[np.float64]:
    return (
        pixels[:, :, 0].astype(np.float64) if pixels.shape[2] == 1 else pixels @ _GREY.astype(float)
    )


def _unexplained(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Share of y's deviation that no 3×3 filter of x and constant explains (least squares)."""
    windows = sliding_window_view(np.pad(x, 1, mode="edge"), (3, 3)).reshape(-1, 9)
    design = np.hstack([windows, np.ones((len(windows), 1))])
    gram = design.T @ design + 1e-3 * np.eye(10)
    target = y.ravel()
    rest = target - design @ np.linalg.solve(gram, design.T @ target)
    deviation = float(np.linalg.norm(target - target.mean()))
    return float(np.linalg.norm(rest)) / max(deviation, 1e-6)
