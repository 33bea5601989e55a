"""Whose tensor goes where: by name, by name without a prefix, or in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from striate.core.errors import ModelError, counted, listing

_BUFFERS = ("num_batches_tracked",)
"""Counters that old files lack, and that change nothing."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Matching:
    """The explicit mapping of tensors onto a network.

    pairs: tensor of the network → tensor of the file. how: in words. missing: tensors of the
    network that get nothing; left: tensors of the file that nothing takes. new_head: those of the
    network's last layer that start anew, because it tells other classes apart.
    """

    pairs: Mapping[str, str]
    how: str
    missing: tuple[str, ...]
    left: tuple[str, ...]
    new_head: tuple[str, ...]

    def lines(self) -> list[str]:
        """The mapping as text, a line a tensor."""
        rows = [f"{ours} ← {theirs}" for ours, theirs in self.pairs.items()]
        rows += [f"{name} starts anew (the head)" for name in self.new_head]
        rows += [f"{name} starts anew: the file has no such tensor" for name in self.missing]
        return rows + [f"{name} of the file is not used" for name in self.left]

    def summary(self, source: str) -> str:
        """One line for the terminal."""
        total = len(self.pairs) + len(self.missing) + len(self.new_head)
        text = f"weights: {len(self.pairs)} of {total} tensors from {source}, matched {self.how}"
        if self.new_head:
            text += f"; the head is new ({', '.join(self.new_head)})"
        if self.missing:
            text += f"; {counted(len(self.missing), 'tensor')} start anew"
        return text


def match(
    net: nn.Module,
    given: Mapping[str, Tensor],
    head: tuple[str, ...],
    *,
    keep_head: bool = False,
    part: str = "",
) -> Matching:
    """Match a file's tensors onto a network. head: names of the network's tensors that belong to
    its last layer; they start anew unless `keep_head` and their shapes agree. part: the module
    that the file is of, where that is not the whole network; the rest is left as it is.

    Raises ModelError for the weights of another network: fewer than half of the tensors fit.
    """
    wanted = {name: tuple(t.shape) for name, t in net.state_dict().items() if name.startswith(part)}
    shapes = {name: tuple(t.shape) for name, t in given.items()}
    body = {n: s for n, s in wanted.items() if n not in head}
    pairs, how = max(_ways(body, shapes), key=lambda way: len(way[0]))
    if 2 * len(pairs) < len(body):
        raise ModelError(
            _no_match(body, shapes, pairs), "Name the network that they are of: --model NAME."
        )
    missing = tuple(n for n in body if n not in pairs and not n.endswith(_BUFFERS))
    whole = {**body, **{n: wanted[n] for n in head}}
    ways = _ways(whole, shapes) if keep_head else []
    kept, _ = max(ways, key=lambda way: len(way[0]), default=({}, ""))
    pairs = {**pairs, **{ours: kept[ours] for ours in head if ours in kept}}
    used = {*pairs.values()}
    return Matching(
        pairs,
        how,
        missing,
        tuple(n for n in given if n not in used),
        tuple(n for n in head if n not in pairs),
    )


def load_matched(net: nn.Module, given: Mapping[str, Tensor], matching: Matching) -> None:
    """Copy the tensors into the network, in its own types; the first layer's channels by rule.

    Where the file's first layer takes three channels and the network's one, its weights are summed,
    which gives what three equal channels would; where it is the other way round each channel gets a
    third.
    """
    own = net.state_dict()
    with torch.no_grad():
        for ours, theirs in matching.pairs.items():
            own[ours].copy_(_in_channels(given[theirs], own[ours]))


def _in_channels(given: Tensor, own: Tensor) -> Tensor:
    if given.shape == own.shape:
        return given
    if own.shape[1] == 1:
        return given.sum(dim=1, keepdim=True)
    return given.repeat(1, own.shape[1], 1, 1) / own.shape[1]


def _fits(own: Shape, given: Shape) -> bool:
    """Equal shapes, or a first layer of one channel in place of three."""
    if own == given:
        return True
    both = len(own) == len(given) == 4 and (own[0], *own[2:]) == (given[0], *given[2:])
    return both and {own[1], given[1]} == {1, 3}


def _ways(
    body: Mapping[str, Shape], shapes: Mapping[str, Shape]
) -> list[tuple[dict[str, str], str]]:
    """(pairs, in words) of each way to match, the plainest first."""
    return [*_by_name(body, shapes), _in_order(body, shapes)]


def _by_name(
    body: Mapping[str, Shape], shapes: Mapping[str, Shape]
) -> list[tuple[dict[str, str], str]]:
    """(pairs, in words) of the file's names as they are, without a prefix, with one more."""
    ways = []
    for prefix in _prefixes(shapes):
        short = {n.removeprefix(prefix): n for n in shapes if n.startswith(prefix)}
        pairs = {n: short[n] for n, s in body.items() if n in short and _fits(s, shapes[short[n]])}
        ways.append((pairs, f"by name without '{prefix}'" if prefix else "by name"))
    for prefix in _prefixes(body)[1:]:
        longer = {f"{prefix}{n}": n for n in shapes}
        pairs = {
            n: longer[n] for n, s in body.items() if n in longer and _fits(s, shapes[longer[n]])
        }
        ways.append((pairs, f"by name behind '{prefix}'"))
    return ways


def _prefixes(names: Mapping[str, Shape]) -> list[str]:
    """ "" and what the names begin with, up to three dots."""
    found = {"": None}
    for name in names:
        parts = name.split(".")
        for depth in range(1, min(4, len(parts))):
            found[".".join(parts[:depth]) + "."] = None
    return list(found)


def _in_order(body: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> tuple[dict[str, str], str]:
    """Tensor by tensor, where last names ("weight", "running_mean") and shapes agree in a row."""
    pairs = {}
    for (ours, own), (theirs, given) in zip(body.items(), shapes.items(), strict=False):
        same = ours.rpartition(".")[2] == theirs.rpartition(".")[2]
        if not same or not _fits(own, given):
            break
        pairs[ours] = theirs
    complete = len(pairs) == len(body)
    return (pairs if complete else {}), "in order, tensor by tensor"


def _no_match(
    body: Mapping[str, Shape], shapes: Mapping[str, Shape], pairs: Mapping[str, str]
) -> str:
    others = [
        f"{name} {own}" + (f", in the file {shapes[name]}" if name in shapes else "")
        for name, own in body.items()
        if name not in pairs
    ]
    return (
        f"these are the weights of another network: {len(pairs)} of {len(body)} tensors fit. "
        f"Unmatched tensors of the network:\n{listing(others, 5)}\n"
        f"Tensors of the file:\n{listing([f'{n} {s}' for n, s in shapes.items()], 5)}"
    )
