"""Copies that somebody has changed: cropped, framed, brightened, marked, mirrored (F13).

Every image's most similar one is looked for, as it is and enlarged by a tenth, by thumbnails; the
likeliest pairs are laid over each other (scale and shift, by Gauss and Newton's method), a seventh
of the pixels that fit worst is left out (a mark, a logo), and what is left of the deviation is
compared with the same figure of images that are known to be different: each one's nearest
neighbour in the training set. Where different images fit each other as well as copies do, as
handwritten digits do, nothing is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.randomness import permutation
from striate.data.check.duplicates import Copy, turned_pixels
from striate.data.decode import UndecodableError, resized
from striate.data.images import Images

Floats = NDArray[np.float32]
GLANCE = 16
"""Side of the thumbnails by which pairs are proposed."""
_SIDE, _STEPS, _KEPT = 32, 8, 0.85
_ZOOM = 0.9
_SMALLEST, _LARGEST, _MARGIN, _BELOW_CONTROL = 0.05, 0.15, 0.45, 0.8
"""The largest residual that is taken for a copy's, and how far below that of different images it
must be; where it came out below 0.05, different images look like copies and nothing is claimed."""
_KNOWN, _LEAST = 150, 40
"""Images whose nearest neighbours tell what different images look like; with fewer than 40 in the
set nobody knows."""
_GLANCED, MOST = 0.3, 4000
"""Residual of thumbnails above which a pair is not looked at, and the most pairs looked at."""
_CONTROL = 1000
"""Images that are turned upside down to see how well different images fit each other by chance."""
_BLOCK = 1024
_WAVES = 8


@dataclass(frozen=True)
class Side:
    """Some images of a split: `thumbs` uint8 (N, 16, 16) are of the images at `places`."""

    name: str
    images: Images
    places: NDArray[np.int64]
    thumbs: NDArray[np.uint8]


def altered_copies(
    one: Side,
    other: Side,
    limit: float,
    max_megapixels: float,
    turn: str = "",
    most: int = MOST,
) -> list[Copy]:
    """Each image of `other` with the image of `one` that it is an altered copy of, if there is one.
    The same side twice: pairs within it, each once. limit: see `limit_beside`; most: pairs that
    are looked at."""
    if limit <= 0 or not len(one.places) or not len(other.places):
        return []
    within = one.places is other.places and one.name == other.name
    thumbs = turned_thumbs(other.thumbs, turn)
    pairs = _glanced(one.thumbs, thumbs, within=within, most=most)
    if within:
        pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    if not len(pairs):
        return []
    left, right = (_greys(s, pairs[:, k], max_megapixels) for k, s in enumerate((one, other)))
    found = residuals(left, turned_thumbs(right, turn))
    return [
        Copy((one.name, int(one.places[i])), (other.name, int(other.places[j])), "near",
             float(r), turn)
        for (i, j), r in zip(pairs.tolist(), found, strict=True)
        if r <= limit
    ]  # fmt: skip


def usual_limit(one: Side, max_megapixels: float) -> float:
    """The residual up to which a pair may be a copy, by what different images of `one` leave: not
    half of what nine tenths of them do, at most 0.15; 0 where that tells nothing."""
    if len(one.places) < _LEAST:
        return 0.0
    some = permutation(0, 0, "altered", len(one.places))[:_KNOWN]
    nearest = _best(looks_of(one.thumbs[some]), looks_of(one.thumbs), own=some)[0]
    apart = residuals(_greys(one, some, max_megapixels), _greys(one, nearest, max_megapixels))
    different = np.sort(apart[apart > 0.02])  # the others are copies themselves
    if len(different) < 0.8 * len(some):
        return 0.0
    return _trusted(min(_LARGEST, _MARGIN * float(different[len(different) // 10])))


def limit_beside(usual: float, one: Side, other: Side, max_megapixels: float) -> float:
    """The usual limit of `one`, but less than any image of `other` leaves that is turned upside
    down first; 0 where that tells nothing."""
    if not usual:
        return 0.0
    few = permutation(0, 1, "altered", len(other.places))[:_CONTROL]
    control = Side(other.name, other.images, other.places[few], other.thumbs[few])
    turned = altered_copies(one, control, _LARGEST, max_megapixels, "upside down", _CONTROL)
    return _trusted(min([usual, *(_BELOW_CONTROL * copy.residual for copy in turned)]))


def _trusted(limit: float) -> float:
    return limit if limit >= _SMALLEST else 0.0


def thumbs_of(grey: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Grey thumbnails (N, 32, 32) → uint8 (N, 16, 16)."""
    small = grey.reshape(len(grey), GLANCE, 2, GLANCE, 2).mean(axis=(2, 4))
    return np.rint(small).clip(0, 255).astype(np.uint8)


def turned_thumbs(thumbs: NDArray[Any], turn: str) -> NDArray[Any]:
    """Grey images (N, S, S), turned."""
    turned = turned_pixels(thumbs.transpose(1, 2, 0), turn)
    return np.ascontiguousarray(turned.transpose(2, 0, 1))


def looks_of(thumbs: NDArray[np.integer] | Floats) -> Floats:
    """Descriptors (N, 63) of length 1: the lowest frequencies without the mean."""
    waves = np.cos(np.pi * np.outer(np.arange(_WAVES), np.arange(GLANCE) + 0.5) / GLANCE).astype(
        np.float32
    )
    waves[0] *= np.sqrt(0.5)
    flat = (waves @ thumbs.astype(np.float32) @ waves.T).reshape(len(thumbs), -1)[:, 1:]
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.divide(flat, length, out=np.zeros_like(flat), where=length > 1)


def _glanced(
    one: NDArray[np.uint8], other: NDArray[np.uint8], *, within: bool, most: int
) -> NDArray[np.int64]:
    """(place in one, place in other) of the likeliest pairs: nearest as they are, or one of the two
    enlarged, with thumbnails that fit."""
    own = np.arange(len(other)) if within else None
    larger_one, larger_other = _enlarged(one), _enlarged(other)
    found = []
    for left, right in ((one, other), (larger_one, other), (one, larger_other)):
        nearest, cosines = _best(looks_of(right), looks_of(left), own=own)
        j = np.flatnonzero(cosines > 0.5)
        i = nearest[j]
        rest = _rough(left[i].astype(np.float32), right[j].astype(np.float32))
        found.append(np.column_stack([i, j, rest])[rest < _GLANCED])
    rows = np.concatenate(found)
    rows = rows[np.argsort(rows[:, 2], kind="stable")][:most]
    return np.unique(rows[:, :2].astype(np.int64), axis=0)


def _best(
    looks: Floats, others: Floats, own: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], Floats]:
    """For each row the most similar one of `others`, not its `own`, and the cosine."""
    nearest, best = np.zeros(len(looks), np.int64), np.full(len(looks), -1, np.float32)
    for start in range(0, len(looks), _BLOCK):
        cosines = looks[start : start + _BLOCK] @ others.T
        if own is not None:
            cosines[np.arange(len(cosines)), own[start : start + _BLOCK]] = -1
        nearest[start : start + _BLOCK] = cosines.argmax(axis=1)
        best[start : start + _BLOCK] = cosines.max(axis=1)
    return nearest, best


def _enlarged(thumbs: NDArray[np.uint8]) -> Floats:
    x, y = (axis[None] * _ZOOM for axis in _grid(GLANCE))
    (enlarged,), _ = _sampled((thumbs.astype(np.float32),), x, y)
    return enlarged


def _rough(a: Floats, b: Floats) -> Floats:
    """What is left of b's deviation, at most pixels, when a is fitted to it by gain and offset."""
    x, y = (m.reshape(len(m), GLANCE**2) for m in (a, b))
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    gain = (x * y).sum(axis=1) / np.maximum((x * x).sum(axis=1), 1e-6)
    rest = np.sort(np.abs(y - gain[:, None] * x), axis=1)[:, : int(_KEPT * x.shape[1])]
    return np.sqrt((rest**2).mean(axis=1)) / np.maximum(y.std(axis=1), 1.0)


def _greys(side: Side, rows: NDArray[np.int64], max_megapixels: float) -> Floats:
    """(K, 32, 32) of the images in these rows; one that does not decode is 0."""
    known: dict[int, Floats] = {}
    for row in np.unique(rows).tolist():
        try:
            pixels = side.images.pixels(int(side.places[row]), max_megapixels, _SIDE)
        except UndecodableError:
            known[row] = np.zeros((_SIDE, _SIDE), np.float32)
            continue
        small = resized(np.ascontiguousarray(pixels), _SIDE, _SIDE)
        known[row] = small.mean(axis=2, dtype=np.float32)
    return np.stack([known[row] for row in rows.tolist()]) if len(rows) else np.zeros(
        (0, _SIDE, _SIDE), np.float32
    )  # fmt: skip


def residuals(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Of pairs (K, 32, 32): the least that is left of b's deviation when a is moved onto it, from
    three starts: as it is, enlarged, reduced."""
    return np.min([_aligned(a, b, start) for start in (1.0, _ZOOM, 1 / _ZOOM)], axis=0)


def _aligned(a: Floats, b: Floats, start: float) -> NDArray[np.float64]:
    """Gauss–Newton over scale and shift in both directions, for all pairs at once; a pair that
    has moved too far is left out from there on."""
    best, pairs = np.ones(len(a)), np.arange(len(a))
    up, across = (np.gradient(a, axis=axis) for axis in (1, 2))
    right, down = across * (_SIDE / 2), up * (_SIDE / 2)
    gx, gy = _grid(_SIDE)
    p = np.tile(np.array([start, start, 0.0, 0.0]), (len(a), 1))
    keep = np.ones(a.shape, dtype=np.bool_)
    deviation = np.maximum(b.std(axis=(1, 2)), 1.0)
    for _ in range(_STEPS):
        count = len(pairs)
        x, y = p[:, 0, None, None] * gx + p[:, 2, None, None], p[:, 1, None, None] * gy + p[
            :, 3, None, None
        ]  # fmt: skip
        (moved, sx, sy), inside = _sampled((a, right, down), x, y)
        gain, offset = _fitted(moved, b, keep & inside)
        error = b - (gain[:, None, None] * moved + offset[:, None, None])
        size = np.where(inside, np.abs(error), np.inf).reshape(count, -1)
        wanted = np.maximum((_KEPT * inside.reshape(count, -1).sum(axis=1)).astype(int) - 1, 0)
        edge = np.sort(size, axis=1)[np.arange(count), wanted]
        keep = inside & (np.abs(error) <= edge[:, None, None])
        squares = np.where(keep, error, 0.0) ** 2
        left = np.sqrt(squares.sum(axis=(1, 2)) / np.maximum(keep.sum(axis=(1, 2)), 1)) / deviation
        fits = (gain > 0.3) & (inside.mean(axis=(1, 2)) > 0.6)
        best[pairs[fits]] = np.minimum(best[pairs], left)[fits]
        sx, sy = (np.where(keep, gain[:, None, None] * slope, 0.0) for slope in (sx, sy))
        jacobian = np.stack([sx * gx, sy * gy, sx, sy], axis=1).reshape(count, 4, -1)
        product = jacobian @ jacobian.transpose(0, 2, 1)
        damped = product + 1e-3 * np.trace(product, axis1=1, axis2=2)[:, None, None] / 4 * np.eye(4)
        damped += 1e-9 * np.eye(4)
        pull = jacobian @ error.reshape(count, -1, 1)  # 0 where a pixel is not kept
        p = p + np.linalg.solve(damped, pull)[..., 0]
        near = (np.abs(p[:, :2] - 1) < 0.22).all(axis=1) & (np.abs(p[:, 2:]) < 0.15).all(axis=1)
        if not near.any():
            break
        pairs, p, keep, deviation = pairs[near], p[near], keep[near], deviation[near]
        a, b, right, down = a[near], b[near], right[near], down[near]
    return best


def _fitted(a: Floats, b: Floats, keep: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Gain and offset (K,) of the line from a to b over the kept pixels."""
    n = np.maximum(keep.sum(axis=(1, 2)), 1)
    mean_a, mean_b = (np.where(keep, m, 0).sum(axis=(1, 2)) / n for m in (a, b))
    da, db = (np.where(keep, m - mean[:, None, None], 0) for m, mean in ((a, mean_a), (b, mean_b)))
    gain = (da * db).sum(axis=(1, 2)) / np.maximum((da * da).sum(axis=(1, 2)), 1e-6)
    return gain, mean_b - gain * mean_a


def _grid(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of the pixels' centres, from −1 to 1."""
    values = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(values, values)
    return x, y


def _sampled(
    images: tuple[Floats, ...], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[list[Floats], NDArray[np.bool_]]:
    """Bilinear values of each of `images` (K, S, S) at places (K, S, S) or (1, S, S), and which
    places lie inside."""
    side = images[0].shape[1]
    u, v = (x + 1) * side / 2 - 0.5, (y + 1) * side / 2 - 0.5
    inside = (u > -0.5) & (u < side - 0.5) & (v > -0.5) & (v < side - 0.5)
    u, v = np.clip(u, 0, side - 1.001), np.clip(v, 0, side - 1.001)
    i, j = u.astype(np.int64), v.astype(np.int64)
    fu, fv = (u - i).astype(np.float32), (v - j).astype(np.float32)
    corner = np.arange(len(images[0]))[:, None, None] * side * side + j * side + i
    values = []
    for flat in (each.reshape(-1) for each in images):
        top, top_right, low, low_right = (
            flat.take(corner + step, mode="clip") for step in (0, 1, side, side + 1)
        )
        values.append(
            (top * (1 - fu) + top_right * fu) * (1 - fv) + (low * (1 - fu) + low_right * fu) * fv
        )
    return values, inside
