"""Linear classifiers on features: softmax regression, its strength of L2 by cross-validation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.core.runtime import one_thread
from striate.core.uncompiled import uncompiled

Floats = NDArray[np.float64]
Start = tuple[Floats, Floats] | None
"""Weight and bias to begin with; None: zero."""
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
"""λ of λ/2·‖W‖² beside the mean loss, on features whose mean variance is 1."""
FOLDS = 3
_ITERATIONS = 200


@dataclass(frozen=True)
class Linear:
    """scores = features @ weight.T + bias: weight (classes, features), bias (classes,)."""

    weight: Floats
    bias: Floats
    strength: float

    def scores(self, features: NDArray[np.floating]) -> Floats:
        found: Floats = features @ self.weight.T + self.bias
        return found


def fitted(
    features: NDArray[np.floating],
    truth: NDArray[Any],
    classes: int,
    *,
    strength: float | None = None,
    seed: int = 0,
) -> Linear:
    """Softmax regression on class numbers (N,), or a logistic regression for each column of a 0/1
    table (N, classes). strength: of L2; None: the one with the smallest loss in cross-validation.
    """
    x, mean, scale = _centred(features)
    if strength is None:
        strength, _ = cross_validated(features, truth, classes, seed)
    weight, bias = _fit(x, truth, classes, strength)
    weight = weight / scale
    return Linear(weight, bias - weight @ mean, strength)


def cross_validated(
    features: NDArray[np.floating], truth: NDArray[Any], classes: int, seed: int = 0
) -> tuple[float, Floats]:
    """(the strength with the smallest loss, scores (N, classes) of each image by a classifier of
    that strength that was fitted without it). Weaker ones are tried while the loss falls."""
    x, _, _ = _centred(features)
    folds = folds_of(truth, seed)
    starts: list[Start] = [None] * len(folds)
    best, chosen, found = np.inf, max(STRENGTHS), np.zeros((len(x), classes))
    for strength in sorted(STRENGTHS, reverse=True):
        scores = np.zeros((len(x), classes))
        for number, fold in enumerate(folds):
            rest = np.setdiff1d(np.arange(len(x)), fold)
            weight, bias = _fit(x[rest], truth[rest], classes, strength, starts[number])
            scores[fold] = x[fold] @ weight.T + bias
            starts[number] = weight, bias
        loss = loss_of(scores, truth)
        if loss >= best:
            break
        best, chosen, found = loss, strength, scores
    return chosen, found


def loss_of(scores: Floats, truth: NDArray[Any]) -> float:
    """The mean cross-entropy of scores, of one class an image or of several."""
    if len(truth.shape) == 2:
        return float(np.mean(np.logaddexp(0, scores) - truth * scores))
    top = scores.max(axis=1, keepdims=True)
    total = top[:, 0] + np.log(np.exp(scores - top).sum(axis=1))
    return float(np.mean(total - scores[np.arange(len(truth)), truth]))


def folds_of(truth: NDArray[Any], seed: int) -> list[NDArray[np.int64]]:
    """FOLDS parts of the images, each with its share of every class (of one label an image)."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(truth))
    if len(truth.shape) == 1:
        order = order[np.argsort(truth[order], kind="stable")]
    return [np.sort(order[start::FOLDS]) for start in range(FOLDS)]


def _centred(features: NDArray[np.floating]) -> tuple[Floats, Floats, float]:
    """Features less their means, divided by one number, the root of their mean variance. Each by
    its own deviation would give hardly active features weights that magnify any change."""
    x = features.astype(np.float64)
    mean = x.mean(axis=0)
    scale = float(np.sqrt(x.var(axis=0).mean())) or 1.0
    return (x - mean) / scale, mean, scale


def _fit(
    x: Floats, truth: NDArray[Any], classes: int, strength: float, start: Start = None
) -> tuple[Floats, Floats]:
    """(weight, bias); a class without images gets no weight and a small bias. On one thread: the
    products are small, and the result does not depend on the number of cores."""
    import torch

    features = torch.from_numpy(x).float()
    target = torch.from_numpy(np.ascontiguousarray(truth))
    first = start or (np.zeros((classes, x.shape[1])), np.zeros(classes))
    weight, bias = (torch.from_numpy(part).float().requires_grad_() for part in first)
    rule = uncompiled(torch.optim.LBFGS)(
        [weight, bias], max_iter=_ITERATIONS, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        rule.zero_grad()
        scores = features @ weight.T + bias
        if target.dim() == 2:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, target.float())
        else:
            loss = torch.nn.functional.cross_entropy(scores, target.long())
        loss = loss + strength / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")
        rule.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach().double().numpy(), bias.detach().double().numpy()
