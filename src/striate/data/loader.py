"""Batches of uint8 images by number, ready before the network asks for them.

Stores give images of one size: from an array in memory or mapped from the cache, or decoded from
their files. Threads read and augment ahead: decoders release the interpreter lock, nothing has to
be copied between processes, and no worker can die or be left behind (F18). The order of an epoch is
a function of (seed, epoch) alone, so neither threads nor a resumed run change it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from striate.core.arrays import Floats, Ids, Pixels
from striate.core.errors import TrainingError
from striate.core.geometry import after, identity
from striate.core.group import ALONE
from striate.core.randomness import permutation, uniform
from striate.core.runtime import Runtime
from striate.data.augment import PARTNERS, Moved, Pipeline, centring
from striate.data.batch import Batch, Mixing
from striate.data.boxes import Boxes
from striate.data.decode import UndecodableError, Unified
from striate.data.images import Images, TorchImages
from striate.data.targets import Targets, joinable

A = TypeVar("A")
B = TypeVar("B")


class Store(Protocol):
    """Images of one size, by number."""

    def __len__(self) -> int: ...

    def load(self, ids: Ids) -> Pixels:
        """uint8 (len(ids), S, S, C). Called by several threads at once, up to `threads`."""

    def matrices(self, ids: Ids) -> Floats:
        """Where the points of the original images are on these pixels: (len(ids), 2, 3)."""

    @property
    def threads(self) -> int | None:
        """How many threads it bears; None: any number."""


class Kept(Protocol):
    """A place for images, by number."""

    def __setitem__(self, index: int, pixels: Pixels) -> None: ...

    def read_into(self, index: int, pixels: Pixels) -> None:
        """Fill a contiguous array with what was written."""


@dataclass(frozen=True)
class ArrayStore:
    """Decoded images uint8 (M, S, S, C), in memory or mapped from the cache; `rows` are used.

    sides: of the originals that are used (N, 2) as (height, width), and `how` they came into their
    shape; without these the pixels are the originals.
    """

    pixels: Pixels
    rows: Ids | None = None
    threads: int | None = None
    sides: NDArray[np.integer] | None = None
    how: Unified | None = None

    def __len__(self) -> int:
        return len(self.pixels) if self.rows is None else len(self.rows)

    def load(self, ids: Ids) -> Pixels:
        taken: Pixels = self.pixels[ids if self.rows is None else self.rows[ids]]
        return taken

    def matrices(self, ids: Ids) -> Floats:
        if self.sides is None or self.how is None:
            return identity(len(ids))
        return self.how.matrices(self.sides[ids])


@dataclass(frozen=True)
class FileStore:
    """Images decoded when asked for."""

    images: Images
    how: Unified

    def __len__(self) -> int:
        return len(self.images)

    @property
    def threads(self) -> int | None:
        return 1 if isinstance(self.images, TorchImages) else None

    def load(self, ids: Ids) -> Pixels:
        shape = (len(ids), self.how.size, self.how.size, self.how.channels)
        result = np.empty(shape, dtype=np.uint8)
        for row, index in enumerate(ids.tolist()):
            result[row] = self.one(index)
        return result

    def matrices(self, ids: Ids) -> Floats:
        headers = [self.images.header(i, self.how.max_megapixels) for i in ids.tolist()]
        return self.how.matrices(np.array([(h.height, h.width) for h in headers]).reshape(-1, 2))

    def one(self, index: int) -> Pixels:
        """One image. Raises TrainingError that names it."""
        try:
            return self.how.load(self.images, index)
        except UndecodableError as error:
            raise TrainingError(
                f"{self.images.name(index)} cannot be read: {error}",
                "Has the data changed, or was it not checked (--data.check full)? Repair it and "
                "continue with `striate resume`.",
            ) from None


@dataclass(frozen=True)
class KeepingStore:
    """Images decoded when they are first asked for and kept, in their final shape, in a file."""

    files: FileStore
    kept: Kept
    done: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def threads(self) -> int | None:
        return self.files.threads

    def load(self, ids: Ids) -> Pixels:
        how = self.files.how
        result = np.empty((len(ids), how.size, how.size, how.channels), dtype=np.uint8)
        for row, index in enumerate(ids.tolist()):
            if self.done[index]:
                self.kept.read_into(index, result[row])
            else:
                result[row] = self.files.one(index)
                self.kept[index] = result[row]
                self.done[index] = True  # only now: another thread may be asking
        return result

    def matrices(self, ids: Ids) -> Floats:
        return self.files.matrices(ids)


@dataclass(frozen=True)
class SubStore:
    """Some images of a store."""

    store: Store
    ids: Ids

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def threads(self) -> int | None:
        return self.store.threads

    def load(self, ids: Ids) -> Pixels:
        return self.store.load(self.ids[ids])

    def matrices(self, ids: Ids) -> Floats:
        return self.store.matrices(self.ids[ids])


def batches(
    store: Store,
    targets: Targets,
    plan: Sequence[Ids],
    augment: Pipeline,
    epoch: int,
    *,
    start: int,
    threads: int,
    runtime: Runtime | None = None,
) -> Generator[Batch, None, None]:
    """The augmented batches of an epoch's plan from number `start` on, `threads` working ahead;
    the images' targets move with their pixels.

    Where images are mixed or joined, each one's partners are the images before it in the epoch's
    order, so batch size and resume do not change them. A plan that takes an image again adds the
    store's length to its number, so that it is augmented differently. Of several
    processes each gets every `group.size`-th image of a batch, from its rank on: each is seen once
    an epoch by any number of processes, and a run may go on with another number of them. The
    threads put images where the runtime's device takes them from.
    """
    count, size = len(store), augment.about.size
    group = ALONE if runtime is None else runtime.group
    staged = runtime.staged if runtime else lambda images: images

    def make(number: int) -> Batch:
        turns, whole = group.shard(plan[number]), plan[number] % count
        ids = turns % count
        joins = joinable(targets) and augment.joins
        if not (joins or augment.mixes):
            moved = augment.moved(store.load(ids), turns, epoch)
            followed, matrices = following(store, targets, ids, moved.matrices, size)
            return Batch(staged(moved.images), ids, followed, matrices, None, whole)
        back = PARTNERS if joins else 1
        chain = np.concatenate([_before(plan, number, back), plan[number]])
        places = back + group.shard(np.arange(len(plan[number])))
        rows = places[:, None] - np.arange(back + 1)
        needed = np.unique(rows)
        moved = augment.moved(store.load(chain[needed] % count), chain[needed], epoch)
        taken = np.searchsorted(needed, rows)
        if joins:
            made, parts = joined(augment, moved, taken, chain[rows] % count, turns, epoch)
            found, matrices = parts.following(store, targets, size)
            return Batch(staged(made), ids, found, matrices, None, whole)
        own, other = taken.T
        images, lam = augment.mixed(moved.images[own], turns, moved.images[other], epoch)
        followed, matrices = following(store, targets, ids, moved.matrices[own], size)
        others = chain[rows[:, 1]] % count
        partners, _ = following(store, targets, others, moved.matrices[other], size)
        return Batch(staged(images), ids, followed, matrices, Mixing(partners, lam), whole)

    return ahead(make, range(start, len(plan)), _bearable(store, threads))


def following(
    store: Store, targets: Targets, ids: Ids, moved: Floats, size: int
) -> tuple[Targets, Floats]:
    """The targets of these images on pixels that `moved` (N, 2, 3) made of the stored ones, and
    the matrices from the originals to there."""
    if targets.placed:
        moved = after(store.matrices(ids), moved)
    return targets.take(ids).moved(moved, size), moved


def to_centre(store: Store, ids: Ids, size: int) -> Floats:
    """Where the points of the originals are on the central `size`×`size` pixels of these images:
    (N, 2, 3)."""
    return after(store.matrices(ids), centring(store.load(ids[:1]), size))


class Parts(NamedTuple):
    """What images are made of, the image itself first: which images (N, K), where the points of
    each went, from its stored pixels on (N, K, 2, 3), and the region that shows it (N, K, 4)."""

    ids: Ids
    matrices: Floats
    windows: Floats

    def following(self, store: Store, targets: Targets, size: int) -> tuple[Targets, Floats]:
        """`following` of all parts."""
        assert isinstance(targets, Boxes)  # no other targets are joined
        own, each = self.ids.ravel(), self.ids.shape[1]
        moved = after(store.matrices(own), self.matrices.reshape(-1, 2, 3))
        found = targets.take(own).moved(moved, size, self.windows.reshape(-1, 4))
        return found.together(each), moved.reshape(self.matrices.shape)[:, 0]


def joined(
    augment: Pipeline, moved: Moved, rows: Ids, ids: Ids, turns: Ids, epoch: int
) -> tuple[Pixels, Parts]:
    """Moved images put together: rows (N, 1 + PARTNERS) of them, each one and its partners, which
    are the images ids (N, 1 + PARTNERS)."""
    images = moved.images
    made = augment.joined(images[rows[:, 0]], turns, images[rows[:, 1:]], epoch)
    first = moved.matrices[rows].reshape(-1, 2, 3)
    matrices = after(first, made.matrices.reshape(-1, 2, 3)).reshape(made.matrices.shape)
    return made.images, Parts(ids, matrices, made.windows)


def _before(plan: Sequence[Ids], number: int, count: int) -> Ids:
    """The `count` images before a batch in the epoch's order; before the first are the last."""
    found = plan[number - 1]
    step = 1
    while len(found) < count:
        step += 1
        found = np.concatenate([plan[(number - step) % len(plan)], found])
    return found[-count:]


def loaded(store: Store, plan: Iterable[Ids], threads: int) -> Iterator[Pixels]:
    """The images of each part of a plan, in order."""
    return ahead(store.load, plan, _bearable(store, threads))


def ahead(work: Callable[[A], B], items: Iterable[A], threads: int) -> Generator[B, None, None]:
    """Results of `work` in order, with up to two items a thread in progress or waiting.

    With 0 threads the caller's own does it. An error of `work` is raised at its place.
    """
    if threads == 0:
        yield from map(work, items)
        return
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(threads, "striate-loader")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        waiting: deque[object] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()  # type: ignore[attr-defined]
        while waiting:
            yield waiting.popleft().result()  # type: ignore[attr-defined]


def epoch_plan(count: int, batch_size: int, seed: int, epoch: int) -> list[Ids]:
    """The shuffled batches of one epoch. Sizes differ by at most one, so none is a lone remainder
    (F15: batch norm needs two values)."""
    return even(permutation(seed, epoch, "order", count), batch_size)


def sampled_plan(
    weights: NDArray[np.floating], batch_size: int, seed: int, epoch: int
) -> list[Ids]:
    """Batches of one epoch in which images occur in proportion to their weights (N,), N in all.

    Each occurs its expected number of times, rounded up or down (systematic sampling); a repeated
    image has the store's length added for every earlier occurrence.
    """
    count = len(weights)
    order = permutation(seed, epoch, "sampler", count)
    start = uniform(seed, epoch, "sampler start", np.zeros(1, dtype=np.int64))[0, 0]
    ends = np.cumsum(weights[order], dtype=np.float64)
    drawn = np.searchsorted(ends, (np.arange(count) + start) * (ends[-1] / count), side="right")
    places = np.minimum(drawn, count - 1)  # sorted: equal numbers are neighbours
    again = np.arange(count) - np.searchsorted(places, places)
    ids = order[places] + again * count
    return even(ids[permutation(seed, epoch, "order", count)], batch_size)


def hard_weights(losses: NDArray[np.floating]) -> NDArray[np.float64]:
    """Weights (N,) that rise with the last loss, from half of the mean weight up, so that easy
    images are seen too."""
    total = losses.mean()
    return np.asarray(0.5 + 0.5 * losses / total if total > 0 else np.ones(len(losses)))


def selective_weights(losses: NDArray[np.floating]) -> NDArray[np.float64]:
    """Weights (N,) of a half for the half of the images with the smaller last losses, 1 for the
    others: a wrong label, which stays hard, gains a third at most."""
    return np.where(losses <= np.median(losses), 0.5, 1.0)


BY_LOSS = {"hard": hard_weights, "selective": selective_weights}
"""Samplers that ask for each image's last loss."""
UNIFORM_EPOCHS = 2
"""Losses of the first passes say how far the network is, not which images are hard."""


def ordered_plan(count: int, batch_size: int) -> list[Ids]:
    """All numbers in order, for evaluation."""
    return even(np.arange(count, dtype=np.int64), batch_size)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Number of batches that a plan has."""
    return max(1, -(-count // batch_size))


def spread(total: int, count: int) -> Ids:
    """Positions of at most `count` of `total` images, evenly from the first to the last."""
    return np.unique(np.linspace(0, total - 1, count).astype(np.int64))


def even(order: Ids, batch_size: int) -> list[Ids]:
    """Cut an order into batches of nearly one size."""
    return np.array_split(order, steps_per_epoch(len(order), batch_size))


def _bearable(store: Store, threads: int) -> int:
    return threads if store.threads is None else min(store.threads, threads)
