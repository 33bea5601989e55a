"""Convolution (L4, L6–L8): one kernel at every position, and what its derivative is.

The kernel is not mirrored, as everywhere in the field: it is a cross-correlation. Images are
(N, C, H, W), weights (O, C, Kh, Kw); `step` is (stride, padding, dilation).
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from striate.textbook.arrays import Array, Pair, TextbookError

Step = tuple[Pair, Pair, Pair]


def output_size(n: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """L4: ⌊(N + 2·pad − dilation·(K − 1) − 1) / stride⌋ + 1. Raises TextbookError if below 1."""
    size = (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    if size < 1:
        raise TextbookError(
            f"a kernel of {kernel} does not fit {n} pixels: "
            f"floor(({n} + 2·{padding} − {dilation}·({kernel} − 1) − 1)/{stride}) + 1 = {size}"
        )
    return size


def windows(x: Array, kernel: tuple[int, ...], step: Step, fill: float = 0.0) -> Array:
    """Every window of the padded x, as a view: (N, C, H, W) → (N, C, Kh, Kw, P, Q).

    windows[n, c, i, j, p, q] = padded x[n, c, stride·p + dilation·i, stride·q + dilation·j].
    """
    (sh, sw), (ph, pw), (dh, dw) = step
    for n, k, *one in zip(x.shape[2:], kernel, *step, strict=True):
        output_size(n, k, *one)
    if ph or pw:
        x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill)
    span = (dh * (kernel[0] - 1) + 1, dw * (kernel[1] - 1) + 1)
    every: Array = sliding_window_view(x, span, axis=(2, 3))
    return every[:, :, ::sh, ::sw, ::dh, ::dw].transpose(0, 1, 4, 5, 2, 3)


def add_windows(parts: Array, shape: tuple[int, ...], step: Step) -> Array:
    """The derivative of `windows`: every part is added to the pixel that it came from.

    parts (N, C, Kh, Kw, P, Q) → (N, C, H, W) of the given shape; the padding's share is dropped.
    """
    (sh, sw), (ph, pw), (dh, dw) = step
    (n, c, height, width), (kh, kw, p, q) = shape, parts.shape[2:]
    total = np.zeros((n, c, height + 2 * ph, width + 2 * pw), parts.dtype)
    for i, j in np.ndindex(kh, kw):
        rows = slice(dh * i, dh * i + sh * (p - 1) + 1, sh)
        columns = slice(dw * j, dw * j + sw * (q - 1) + 1, sw)
        total[:, :, rows, columns] += parts[:, :, i, j]
    return total[:, :, ph : ph + height, pw : pw + width]


def correlate(x: Array, w: Array, step: Step) -> Array:
    """y[n, o, p, q] = Σ_cij w[o, c, i, j] · x[n, c, stride·p + dilation·i, stride·q + dilation·j].

    (N, C, H, W) with (O, C, Kh, Kw) → (N, O, P, Q); x is padded first, here and below.
    """
    return np.einsum("ncijpq,ocij->nopq", windows(x, w.shape[2:], step), w, optimize=True)


def weight_gradient(x: Array, g: Array, kernel: tuple[int, ...], step: Step) -> Array:
    """L6: dL/dw is the input convolved with the upstream gradient g (N, O, P, Q).

    dL/dw[o, c, i, j] = Σ_npq g[n, o, p, q] · x[n, c, stride·p + dilation·i, stride·q + dilation·j]:
    maps and images change places, and so do stride and dilation.
    """
    stride, padding, dilation = step
    over = correlate(x.swapaxes(0, 1), g.swapaxes(0, 1), (dilation, padding, stride))
    return over.swapaxes(0, 1)[:, :, : kernel[0], : kernel[1]]


def input_gradient(w: Array, g: Array, shape: tuple[int, ...], step: Step) -> Array:
    """L6: dL/dx is the padded upstream gradient convolved with the mirrored kernel.

    stride − 1 zeros stand between the gradients; input and output maps change places. What no
    window saw, because the stride left it over, has gradient 0.
    """
    (sh, sw), (ph, pw), (dh, dw) = step
    (n, o, p, q), (kh, kw), (height, width) = g.shape, w.shape[2:], shape[2:]
    spread = np.zeros((n, o, sh * (p - 1) + 1, sw * (q - 1) + 1), g.dtype)
    spread[:, :, ::sh, ::sw] = g
    mirrored = w[:, :, ::-1, ::-1].swapaxes(0, 1)
    seen = correlate(spread, mirrored, ((1, 1), (dh * (kh - 1), dw * (kw - 1)), (dh, dw)))
    dx = np.zeros((n, w.shape[1], height + 2 * ph, width + 2 * pw), g.dtype)
    dx[:, :, : seen.shape[2], : seen.shape[3]] = seen
    return dx[:, :, ph : ph + height, pw : pw + width]
