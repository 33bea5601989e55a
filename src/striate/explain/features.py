"""What layers know: features of images, linear probes on them, neighbours in them, and whether
they move when the image does (L8)."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.models.hooks import evaluating, kept_output, maps_of

Floats = NDArray[np.floating[Any]]
_POOLED = 4
"""Maps are averaged over at most 4×4 parts, so that probes know where something is."""
_MOST_FEATURES = 1024


@dataclass(frozen=True)
class Probe:
    """How well a linear classifier on a layer's features tells the classes of other images."""

    layer: str
    features: int
    right: NDArray[np.float64]
    """What each image contributes to its accuracy (N,)."""

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())


def layer_features(
    net: nn.Module, batches: Iterable[Tensor], layers: dict[str, nn.Module]
) -> dict[str, Floats]:
    """Of each layer (N, features): its maps averaged over up to 4×4 parts, as few as keep them
    under about a thousand."""
    found: dict[str, list[Floats]] = {name: [] for name in layers}
    for images in batches:
        with contextlib.ExitStack() as stack, torch.inference_mode(), evaluating(net):
            kept = {name: stack.enter_context(kept_output(m)) for name, m in layers.items()}
            net(images.float())
            for name, outputs in kept.items():
                found[name].append(_pooled(outputs[0].float()))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def probe(
    layer: str,
    train: tuple[Floats, NDArray[Any]],
    test: tuple[Floats, NDArray[Any]],
) -> Probe:
    """A logistic regression on (features, int classes), scored on others: how early in the network
    is the class decided? (Alain and Bengio 2016, arXiv:1610.01644)"""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe need not be the best one
        model.fit(*train)
    right = (model.predict(test[0]) == test[1]).astype(np.float64)
    return Probe(layer, train[0].shape[1], right)


def nearest(known: Floats, asked: Floats, count: int = 5) -> tuple[NDArray[np.int64], Floats]:
    """Of each asked row (M, D) the nearest known rows (N, D) by cosine: positions and likenesses
    (M, count), the nearest first."""
    ours, theirs = _unit(known), _unit(asked)
    count = min(count, len(known))
    positions, likenesses = [], []
    for start in range(0, len(theirs), 1000):
        like = theirs[start : start + 1000] @ ours.T
        order = np.argsort(-like, axis=1, kind="stable")[:, :count]
        positions.append(order)
        likenesses.append(np.take_along_axis(like, order, axis=1))
    if not positions:
        return np.zeros((0, count), dtype=np.int64), np.zeros((0, count), dtype=np.float32)
    return np.concatenate(positions), np.concatenate(likenesses)


def equivariance(
    net: nn.Module, images: Tensor, layer: nn.Module, stride: tuple[int, int]
) -> float:
    """Do a layer's maps move along when the image moves by one stride to the left and up (L8)?

    How far apart they are over how far those of different images are, as root mean squares: 0 moves
    along exactly, 1 is no more alike than another image. Both are views of the same image, so that
    nothing is invented at the border; one unit there is left out, where padding shows most. NaN
    where nothing is left. stride: of the layer, (rows, columns) in pixels.
    """
    down, right = stride
    if len(images) < 2 or 2 * down > images.shape[1] or 2 * right > images.shape[2]:
        return float("nan")
    x = images.float()
    try:
        with torch.inference_mode():
            here = maps_of(net, x[:, :-down, :-right], layer).float()[:, :, 2:-1, 2:-1]
            there = maps_of(net, x[:, down:, right:], layer).float()[:, :, 1:-2, 1:-2]
    except RuntimeError:  # a view that is too small for a later window
        return float("nan")
    if not here.numel():
        return float("nan")
    apart = (there - here).square().mean().sqrt()
    others = (here - here.roll(1, dims=0)).square().mean().sqrt()
    return float(apart / others) if others else float("nan")


def _pooled(output: Tensor) -> Floats:
    """Maps (N, C, H, W), or any output, as rows."""
    if output.dim() != 4:
        return output.flatten(1).cpu().numpy()
    parts = max(1, min(_POOLED, int((_MOST_FEATURES / output.shape[1]) ** 0.5)))
    sides = (min(parts, output.shape[2]), min(parts, output.shape[3]))
    found: Floats = nn.functional.adaptive_avg_pool2d(output, sides).flatten(1).cpu().numpy()
    return found


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    found: Floats = rows / np.maximum(lengths, 1e-12)
    return found
