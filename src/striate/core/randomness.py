"""Random numbers as a function of position, never of a worker's state.

Every number is a hash of (seed, epoch, purpose, sample id, index), so augmentation does not depend
on batch size, workers or resume. The hash is SplitMix64's finaliser (Steele, Lea and Flood,
"Fast splittable pseudorandom number generators", 2014), applied once for each key.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniform(
    seed: int, epoch: int, purpose: str, ids: NDArray[np.integer], count: int = 1
) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) for each sample id: float64 (len(ids), count)."""
    with np.errstate(over="ignore"):
        state = _mix(np.uint64(seed % 2**64) + _GOLDEN)
        state = _mix(state ^ np.uint64(epoch))
        state = _mix(state ^ np.uint64(zlib.crc32(purpose.encode())))
        rows = _mix(state ^ ids.astype(np.uint64))
        columns = _GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
        bits = _mix(rows[:, None] + columns[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(seed: int, epoch: int, purpose: str, size: int) -> NDArray[np.int64]:
    """A shuffled range(size), the same on every machine."""
    keys = uniform(seed, epoch, purpose, np.arange(size))[:, 0]
    return np.argsort(keys, kind="stable")


def _mix(z: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    z = np.asarray(z, dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
