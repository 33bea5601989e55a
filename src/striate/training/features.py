"""What a frozen part gives for the training and validation images, computed once and kept.

An image has a number of views: augmented forms of it, those of the first epochs, which later epochs
see again in turn. What is kept equals what would be computed live, bit by bit, so a resumed
training, and one over several processes, are what they would be without. Only the partners of
images that are joined are others: a view has its own order.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from striate.core.arrays import Floats, Ids, Pixels
from striate.core.randomness import permutation
from striate.core.runtime import Runtime
from striate.data.augment import PARTNERS, Pipeline, centre
from striate.data.batch import Batch
from striate.data.loader import Parts, Store, ahead, even, following, joined
from striate.data.targets import Targets
from striate.models.frozen import AT_ONCE, Prefix, digest_of
from striate.models.network import Network

_LOADED = 16 * AT_ONCE
"""Images that are read and augmented together."""


@dataclass(frozen=True)
class FeatureStore:
    """Kept features as a store: `load` gives tensors (N, …) instead of pixels."""

    rows: Tensor
    pixels: Store
    threads: int | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def load(self, ids: Ids) -> Tensor:
        return self.rows[torch.from_numpy(ids)]

    def matrices(self, ids: Ids) -> Floats:
        return self.pixels.matrices(ids)


@dataclass
class Kept:
    """The features of one set of frozen weights: a view is computed when it is first asked for.

    views: number → features (N, …) of all images; matrices: number → (N, 2, 3) from the stored
    pixels to those of the view; parts: the same where images are joined with others.
    """

    prefix: Prefix
    views: dict[int, Tensor] = field(default_factory=dict)
    matrices: dict[int, Floats] = field(default_factory=dict)
    parts: dict[int, Parts] = field(default_factory=dict)
    validation: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """How a training keeps what the modules `frozen` of its backbone give.

    train, val: the images; augment: how a view is made; views: how many an image has; size: of the
    network's input in pixels. Features are kept by the weights of the frozen part, so another
    network never gets them.
    """

    frozen: tuple[str, ...]
    views: int
    train: Store
    val: Store
    augment: Pipeline
    size: int
    runtime: Runtime
    threads: int = 1
    kept: dict[str, Kept] = field(default_factory=dict)

    def batches(
        self, net: nn.Module, targets: Targets, plan: Sequence[Ids], epoch: int, start: int
    ) -> Generator[Batch, None, None]:
        """The batches of an epoch, as `striate.data.loader.batches` makes them, with features in
        place of images."""
        group, count, found = self.runtime.group, len(self.train), self._of(net)
        for whole in plan[start:]:
            turns = group.shard(whole)
            ids, views = turns % count, (epoch + turns // count) % self.views
            for view in np.unique(views).tolist():
                self._fill(found, view)
            rows = _rows([found.views[v] for v in np.unique(views)], views, ids)
            followed, matrices = self._following(found, targets, views, ids)
            yield Batch(rows, ids, followed, matrices, None, whole % count)  # type: ignore[arg-type]

    def validation(self, net: nn.Module) -> FeatureStore:
        """The validation images in a single view, as features."""
        found = self._of(net)
        if found.validation is None:
            found.validation, _ = self._computed(found.prefix, self.val, None)
        return FeatureStore(found.validation, self.val)

    def _of(self, net: nn.Module) -> Kept:
        assert isinstance(net, Network)
        key = digest_of(net, self.frozen)
        if key not in self.kept:
            self.kept[key] = Kept(Prefix(net, self.frozen, self.runtime.product_type))
        return self.kept[key]

    def _following(
        self, found: Kept, targets: Targets, views: Ids, ids: Ids
    ) -> tuple[Targets, Floats]:
        """The targets of these images, each as its own view shows it."""
        pairs = list(zip(views.tolist(), ids.tolist(), strict=True))
        if not self.augment.joins:
            moved = np.stack([found.matrices[view][i] for view, i in pairs])
            return following(self.train, targets, ids, moved, self.size)
        parts = [found.parts[view] for view in views.tolist()]
        own = Parts(*(np.stack([each[i] for each, i in zip(part, ids, strict=True)])
                      for part in zip(*parts, strict=True)))  # fmt: skip
        return own.following(self.train, targets, self.size)

    def _order(self, view: int) -> Ids:
        return permutation(self.augment.seed, view, "partners", len(self.train))

    def _chain(self, view: int) -> Ids:
        """Each image and its partners in a view (N, 1 + PARTNERS): those before it in an order that
        is drawn for the view."""
        order = self._order(view)
        places = np.argsort(order)[:, None] - np.arange(1 + PARTNERS)
        chain: Ids = order[places % len(order)]
        return chain

    def _fill(self, found: Kept, view: int) -> None:
        if view in found.views:
            return
        rows, placed = self._computed(found.prefix, self.train, view)
        found.views[view] = rows
        if self.augment.joins:
            found.parts[view] = Parts(self._chain(view), *_split(placed))
        else:
            found.matrices[view] = placed

    def _computed(self, prefix: Prefix, store: Store, view: int | None) -> tuple[Tensor, Floats]:
        """(features, matrices) of all images, in a view or plain; processes share the work."""
        group = self.runtime.group
        order = np.arange(len(store), dtype=np.int64)
        chain = None
        if view is not None and self.augment.joins:  # partners are loaded together
            order, chain = self._order(view), self._chain(view)
        own = group.shard(order)

        def load(ids: Ids) -> tuple[Tensor, Floats]:
            images = store.load(ids)
            if view is None:
                return _tensor(centre(images, self.size)), np.zeros((len(ids), 2, 3))
            if chain is None:
                moved = self.augment.moved(images, ids, view)
                return _tensor(moved.images), moved.matrices
            rows = chain[ids]
            needed = np.unique(rows)
            moved = self.augment.moved(store.load(needed), needed, view)
            taken = np.searchsorted(needed, rows)
            made, parts = joined(self.augment, moved, taken, rows, ids, view)
            return _tensor(made), _packed(parts)

        threads = self.threads if store.threads is None else min(store.threads, self.threads)
        parts, matrices = [], []
        for pixels, places in ahead(load, even(own, _LOADED), threads):
            parts.append(_channels_last(prefix(pixels)).cpu())
            matrices.append(places)
        rows = _plain(torch.cat(parts)).contiguous()
        whole = group.all_gather(rows.view(torch.uint8), len(store)).view(rows.dtype)
        placed = group.all_gather(torch.from_numpy(np.concatenate(matrices)), len(store))
        if chain is not None:
            back = np.argsort(order)
            whole, placed = whole[torch.from_numpy(back)], placed[torch.from_numpy(back)]
        return _as_maps(whole), placed.numpy()


def _packed(parts: Parts) -> Floats:
    """Where parts went and what shows them, as one array (N, K, 10)."""
    flat = parts.matrices.reshape(*parts.matrices.shape[:2], 6)
    return np.concatenate([flat, parts.windows], axis=2)


def _split(packed: Floats) -> tuple[Floats, Floats]:
    """The other way."""
    return packed[..., :6].reshape(*packed.shape[:2], 2, 3), packed[..., 6:]


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels))


def _rows(views: list[Tensor], chosen: Ids, ids: Ids) -> Tensor:
    """The features of these images, each from its own view."""
    if len(views) == 1:
        return views[0][torch.from_numpy(ids)]
    numbers = np.unique(chosen)
    found = torch.empty((len(ids), *views[0].shape[1:]), dtype=views[0].dtype)
    for number, view in zip(numbers.tolist(), views, strict=True):
        here = np.flatnonzero(chosen == number)
        found[torch.from_numpy(here)] = view[torch.from_numpy(ids[here])]
    return _channels_last(found)


def _channels_last(rows: Tensor) -> Tensor:
    return rows.contiguous(memory_format=torch.channels_last) if rows.dim() == 4 else rows


def _plain(rows: Tensor) -> Tensor:
    """(N, C, H, W) → (N, H, W, C) without a copy, so that rows are together in memory."""
    return rows.permute(0, 2, 3, 1) if rows.dim() == 4 else rows


def _as_maps(rows: Tensor) -> Tensor:
    return rows.permute(0, 3, 1, 2) if rows.dim() == 4 else rows
