"""The layers (L1, L4–L12): each derivative is the function inside `forward`. As in torch."""

from dataclasses import field

import numpy as np

from striate.textbook import convolution as conv
from striate.textbook.arrays import Array, Pair, TextbookError, pair
from striate.textbook.layer import Layer, Rule

Size = int | Pair
Seed = int | np.random.Generator
STREAM = np.random.default_rng(0)  # where layers draw from by default: no two are alike


class Linear(Layer):
    """y = x Wᵀ + b: (N, in) → (N, out)."""

    in_features: int
    out_features: int
    bias: bool = field(default=True, repr=False)
    rng: Seed = field(default=STREAM, repr=False)

    def __post_init__(self) -> None:
        self.takes = ("N", self.in_features)
        shape = (self.out_features, self.in_features)
        self.params = _initial(shape, self.in_features, self.bias, self.rng)

    def forward(self, x: Array) -> tuple[Array, Rule]:
        w = self.params["weight"]
        y = x @ w.T

        def backward(g: Array) -> Array:
            self.grads["weight"] = g.T @ x
            if self.bias:
                self.grads["bias"] = g.sum(axis=0)
            return g @ w

        return y + self.params["bias"] if self.bias else y, backward


class Conv2d(Layer):
    """y = w ⋆ x + b (L4, L6, L7): (N, in, H, W) → (N, out, P, Q); the sums are in `convolution`."""

    in_channels: int
    out_channels: int
    kernel_size: Size
    stride: Size = 1
    padding: Size = 0
    dilation: Size = 1
    groups: int = 1
    bias: bool = field(default=True, repr=False)
    rng: Seed = field(default=STREAM, repr=False)

    def __post_init__(self) -> None:
        self.takes = ("N", self.in_channels, "H", "W")
        for maps in (self.in_channels, self.out_channels):
            if self.groups < 1 or maps % self.groups:
                raise TextbookError(f"{self}: {maps} maps do not divide into {self.groups} groups")
        shape = (self.out_channels, self.in_channels // self.groups, *pair(self.kernel_size))
        self.params = _initial(shape, int(np.prod(shape[1:])), self.bias, self.rng)
        self.step = pair(self.stride), pair(self.padding), pair(self.dilation)

    def forward(self, x: Array) -> tuple[Array, Rule]:
        w, step = self.params["weight"], self.step
        xs, ws = np.split(x, self.groups, axis=1), np.split(w, self.groups)
        y = np.concatenate([conv.correlate(*xw, step) for xw in zip(xs, ws)], axis=1)

        def backward(g: Array) -> Array:
            gs = np.split(g, self.groups, axis=1)
            dw = [conv.weight_gradient(*xg, w.shape[2:], step) for xg in zip(xs, gs)]
            dx = [conv.input_gradient(*wg, x.shape, step) for wg in zip(ws, gs)]
            self.grads["weight"] = np.concatenate(dw)
            if self.bias:
                self.grads["bias"] = g.sum(axis=(0, 2, 3))
            return np.concatenate(dx, axis=1)

        return y + self.params["bias"][:, None, None] if self.bias else y, backward


class MaxPool2d(Layer):
    """The largest value of each window, each map by itself; its gradient goes there (L9)."""

    kernel_size: Size
    stride: Size | None = None
    padding: Size = 0
    dilation: Size = 1
    takes = ("N", "C", "H", "W")

    def forward(self, x: Array) -> tuple[Array, Rule]:
        kernel, step = _kernel_and_step(self)
        seen = conv.windows(x, kernel, step, fill=-np.inf)
        n, c, kh, kw, p, q = seen.shape
        y, routed = _largest(seen.reshape(n, c, kh * kw, p, q))
        return y, lambda g: conv.add_windows(routed(g).reshape(seen.shape), x.shape, step)


class AvgPool2d(MaxPool2d):
    """The mean of each window, padding included; every value gets 1/K² of the gradient."""

    def forward(self, x: Array) -> tuple[Array, Rule]:
        kernel, step = _kernel_and_step(self)
        seen, share = conv.windows(x, kernel, step), 1 / (kernel[0] * kernel[1])
        parts = np.full(seen.shape, share, x.dtype)
        return seen.mean(axis=(2, 3)), lambda g: conv.add_windows(
            parts * g[:, :, None, None], x.shape, step
        )


class GlobalAvgPool(Layer):
    """The mean of each map: (N, C, H, W) → (N, C)."""

    takes = ("N", "C", "H", "W")

    def forward(self, x: Array) -> tuple[Array, Rule]:
        share = np.full(x.shape, 1 / (x.shape[2] * x.shape[3]), x.dtype)
        return x.mean(axis=(2, 3)), lambda g: share * g[:, :, None, None]


class Flatten(Layer):
    """(N, …) → (N, everything else)."""

    def forward(self, x: Array) -> tuple[Array, Rule]:
        return x.reshape(len(x), -1), lambda g: g.reshape(x.shape)


class ReLU(Layer):
    """max(0, x). No gradient below 0 (L10), and by convention none at 0."""

    def forward(self, x: Array) -> tuple[Array, Rule]:
        return np.maximum(x, 0), lambda g: g * (x > 0)


class LeakyReLU(Layer):
    """x above 0, slope · x below. The lecture draws slope 0.1 (L10); torch's default is 0.01."""

    negative_slope: float = 0.01

    def forward(self, x: Array) -> tuple[Array, Rule]:
        slope = np.where(x > 0, x.dtype.type(1), x.dtype.type(self.negative_slope))
        return x * slope, lambda g: g * slope


class ELU(Layer):
    """x above 0, α(eˣ − 1) below; the derivative there is y + α."""

    alpha: float = 1.0

    def forward(self, x: Array) -> tuple[Array, Rule]:
        below = self.alpha * np.expm1(np.minimum(x, 0))
        return np.where(x > 0, x, below), lambda g: g * np.where(x > 0, 1, below + self.alpha)


class Sigmoid(Layer):
    """1 / (1 + e⁻ˣ); the derivative is y(1 − y), at most ¼: it shrinks gradients (L14)."""

    def forward(self, x: Array) -> tuple[Array, Rule]:
        y = np.exp(-np.logaddexp(0, -x))  # does not overflow
        return y, lambda g: g * y * (1 - y)


class Tanh(Layer):
    """tanh x; the derivative is 1 − y²."""

    def forward(self, x: Array) -> tuple[Array, Rule]:
        y = np.tanh(x)
        return y, lambda g: g * (1 - y * y)


class Maxout(Layer):
    """The largest of k consecutive maps (Goodfellow et al. 2013): (N, k·C, …) → (N, C, …)."""

    pieces: int = 2
    takes = ("N", "k·C", "…")

    def forward(self, x: Array) -> tuple[Array, Rule]:
        if x.shape[1] % self.pieces:
            raise TextbookError(f"{x.shape[1]} maps are no multiple of {self.pieces}")
        y, routed = _largest(x.reshape(len(x), -1, self.pieces, *x.shape[2:]))
        return y, lambda g: routed(g).reshape(x.shape)


class BatchNorm(Layer):
    """y = γ·x̂ + β with x̂ = (x − μ)/√(σ² + ε) of each map (L12), for (N, C) or (N, C, H, W).

    In training μ and σ² are the batch's, and running averages follow them (of the unbiased σ²); in
    a test the averages are used.
    """

    num_features: int
    eps: float = 1e-5
    momentum: float = 0.1

    def __post_init__(self) -> None:
        self.takes = ("N", self.num_features, "…")
        zero, one = np.zeros(self.num_features), np.ones(self.num_features)
        self.params = {"weight": one.copy(), "bias": zero.copy()}
        self.buffers = {"running_mean": zero, "running_var": one}
        self.buffers["num_batches_tracked"] = np.zeros(())

    def forward(self, x: Array) -> tuple[Array, Rule]:
        axes, per_map = (0, *range(2, len(x.shape))), (slice(None), *(None,) * (len(x.shape) - 2))
        mean, variance = self._statistics(x, axes)
        deviation = np.sqrt(variance + self.eps)[per_map]
        normal = (x - mean[per_map]) / deviation
        scale, training = self.params["weight"][per_map], self.training

        def backward(g: Array) -> Array:
            self.grads["weight"] = (g * normal).sum(axis=axes)
            self.grads["bias"] = g.sum(axis=axes)
            if not training:  # μ and σ are constants
                return g * scale / deviation
            through_mean = g.mean(axis=axes, keepdims=True)
            through_variance = normal * (g * normal).mean(axis=axes, keepdims=True)
            return scale / deviation * (g - through_mean - through_variance)

        return scale * normal + self.params["bias"][per_map], backward

    def _statistics(self, x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
        if not self.training:
            return self.buffers["running_mean"], self.buffers["running_var"]
        count = x.size // self.num_features
        if count < 2:
            raise TextbookError(f"{x.shape} has one value a map, which has no variance")
        mean, variance = x.mean(axis=axes), x.var(axis=axes)
        unbiased = variance * count / (count - 1)
        for name, value in {"running_mean": mean, "running_var": unbiased}.items():
            self.buffers[name] += self.momentum * (value - self.buffers[name])
        self.buffers["num_batches_tracked"] += 1
        return mean, variance


class Dropout(Layer):
    """In training each value is 0 with probability p, the others are divided by 1 − p (T4)."""

    p: float = 0.5
    rng: Seed = field(default=STREAM, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.p < 1:
            raise TextbookError(f"{self}: p must be at least 0 and below 1")
        self.rng = np.random.default_rng(self.rng)

    def forward(self, x: Array) -> tuple[Array, Rule]:
        if not self.training:
            return x, lambda g: g
        kept = np.random.default_rng(self.rng).random(x.shape) >= self.p
        scale = kept.astype(x.dtype) / (1 - self.p)
        return x * scale, lambda g: g * scale


class Sequential(Layer):
    """One layer after the other; the derivative goes through them backwards (the chain rule)."""

    def __init__(self, *layers: Layer) -> None:
        super().__init__()
        self.layers = layers
        self.refuse_reuse()

    def children(self) -> dict[str, Layer]:
        return {str(i): layer for i, layer in enumerate(self.layers)}

    def forward(self, x: Array) -> tuple[Array, Rule]:
        for layer in self.layers:
            x = layer(x)

        def backward(g: Array) -> Array:
            for layer in reversed(self.layers):
                g = layer.backward(g)
            return g

        return x, backward


class Residual(Layer):
    """y = body(x) + shortcut(x), the shortcut being x itself if there is none (M1, L14).

    At a sum the gradient goes both ways, and where a value is used twice the two parts add.
    """

    body: Layer
    shortcut: Layer | None = None

    def __post_init__(self) -> None:
        self.refuse_reuse()

    def children(self) -> dict[str, Layer]:
        return {"body": self.body} | ({"shortcut": self.shortcut} if self.shortcut else {})

    def forward(self, x: Array) -> tuple[Array, Rule]:
        through, past = self.body(x), self.shortcut(x) if self.shortcut else x
        if through.shape != past.shape:
            raise TextbookError(f"the body gives {through.shape}, past it {past.shape}")

        def backward(g: Array) -> Array:
            return self.body.backward(g) + (self.shortcut.backward(g) if self.shortcut else g)

        return through + past, backward


def _kernel_and_step(pool: MaxPool2d) -> tuple[Pair, conv.Step]:
    """The stride is the kernel unless given."""
    kernel, padding = pair(pool.kernel_size), pair(pool.padding)
    if 2 * padding[0] > kernel[0] or 2 * padding[1] > kernel[1]:
        raise TextbookError("padding may be at most half the kernel")
    stride = kernel if pool.stride is None else pair(pool.stride)
    return kernel, (stride, padding, pair(pool.dilation))


def _largest(x: Array) -> tuple[Array, Rule]:
    """The maximum along axis 2; the gradient goes to it, at a tie to the first."""
    winner = x.argmax(axis=2, keepdims=True)

    def backward(g: Array) -> Array:
        routed = np.zeros(x.shape, g.dtype)
        np.put_along_axis(routed, winner, g[:, :, None], axis=2)
        return routed

    return np.take_along_axis(x, winner, axis=2)[:, :, 0], backward


def _initial(shape: tuple[int, ...], fan_in: int, bias: bool, seed: Seed) -> dict[str, Array]:
    """Weights normal with deviation √(2/fan in) (He et al. 2015), biases zero (T2)."""
    weight = np.random.default_rng(seed).normal(0, np.sqrt(2 / fan_in), shape)
    return {"weight": weight, "bias": np.zeros(shape[0])} if bias else {"weight": weight}
