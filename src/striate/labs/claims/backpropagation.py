"""L2 and L6: gradients on a graph and through a convolution."""

from __future__ import annotations

import numpy as np
import torch

from striate.labs.lab import Lab, Trial
from striate.textbook.convolution import input_gradient, weight_gradient
from striate.textbook.graph import Node


def measure_graph(_: int, __: bool) -> Trial:
    x, y, z = Node(-2.0, name="x"), Node(5.0, name="y"), Node(-4.0, name="z")
    f = (x + y) * z
    f.backward()
    tensors = [torch.tensor(v, requires_grad=True) for v in (-2.0, 5.0, -4.0)]
    ((tensors[0] + tensors[1]) * tensors[2]).backward()  # type: ignore[no-untyped-call]
    return Trial({
        "f": float(f.value), "df/dx": float(x.gradient), "df/dy": float(y.gradient),
        "df/dz": float(z.gradient),
        "difference from torch": max(
            abs(float(n.gradient) - float(t.grad))  # type: ignore[arg-type]
            for n, t in zip((x, y, z), tensors, strict=True)
        ),
    })  # fmt: skip


GRAPH = Lab(
    "L2", "graph",
    "For f = (x + y) z at −2, 5, −4: f = −12, with gradients −4 of x, −4 of y and 3 of z.",
    "The graph is built of nodes that multiply what reaches them by their own gradient.",
    measure_graph,
    {
        "confirmed": lambda f: (f["f"], f["df/dx"], f["df/dy"], f["df/dz"]) == (-12, -4, -4, 3)
        and f["difference from torch"] == 0
    },
    "df/dz",
    "Each node needs only its own derivative: the chain rule does the rest, for graphs of any "
    "size.",
    "confirmed", seeds=1,
)  # fmt: skip


def measure_convolution(seed: int, _: bool) -> Trial:
    rng = np.random.default_rng(seed)
    worst = {"of the weights": 0.0, "of the input": 0.0}
    for stride, padding, dilation in ((1, 0, 1), (1, 1, 1), (2, 1, 1), (3, 2, 1), (1, 2, 2)):
        x, w = rng.normal(size=(2, 3, 11, 11)), rng.normal(size=(4, 3, 3, 3))
        tx, tw = (torch.from_numpy(a).requires_grad_() for a in (x, w))
        out = torch.nn.functional.conv2d(tx, tw, None, stride, padding, dilation)
        g = rng.normal(size=tuple(out.shape))
        out.backward(torch.from_numpy(g))  # type: ignore[no-untyped-call]
        step = ((stride, stride), (padding, padding), (dilation, dilation))
        ours = {
            "of the weights": weight_gradient(x, g, (3, 3), step) - tw.grad.numpy(),  # type: ignore[union-attr]
            "of the input": input_gradient(w, g, x.shape, step) - tx.grad.numpy(),  # type: ignore[union-attr]
        }
        worst = {name: max(worst[name], float(np.abs(ours[name]).max())) for name in worst}
    return Trial({f"{name}: largest difference": value for name, value in worst.items()})


CONVOLUTION = Lab(
    "L6", "backward",
    "The gradient of the weights is the input convolved with the upstream gradient; that of the "
    "input is the upstream gradient convolved with the mirrored kernel.",
    "The textbook's convolutions beside torch's, for strides 1 to 3, paddings 0 to 2, dilation 2.",
    measure_convolution,
    {"confirmed": lambda f: max(f.values()) < 1e-10},
    "of the input: largest difference",
    "Both gradients are convolutions again. For a larger stride, stride − 1 zeros stand between "
    "the upstream gradients.",
    "confirmed",
)  # fmt: skip
