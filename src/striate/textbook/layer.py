"""What a layer is (L1): forward y = f(x; θ), backward dL/dx, update θ ← θ − ε · dL/dθ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self, dataclass_transform

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from striate.textbook.arrays import Array, TextbookError, expect, finite

Rule = Callable[[Array], Array]


@dataclass_transform(eq_default=False, field_specifiers=(field,))
@dataclass(eq=False)
class Layer:
    """The base of all layers. A new one needs its knobs, as in a dataclass, and `forward`.

    params: θ by name. grads: dL/dθ by name, of the last `backward`. buffers: what is learned
    without a gradient (running averages). takes: the shape of the input, a letter is any size, ()
    is any shape.
    """

    params: dict[str, Array] = field(init=False, repr=False, default_factory=dict)
    grads: dict[str, Array] = field(init=False, repr=False, default_factory=dict)
    buffers: dict[str, Array] = field(init=False, repr=False, default_factory=dict)
    takes: tuple[int | str, ...] = field(init=False, repr=False, default=())
    training: bool = field(init=False, repr=False, default=True)

    def __init_subclass__(cls) -> None:
        dataclass(eq=False)(cls)

    def forward(self, x: Array) -> tuple[Array, Rule]:
        """y = f(x; θ), and the function dL/dy → dL/dx that also fills `grads`."""
        raise NotImplementedError

    def children(self) -> dict[str, Layer]:
        """The layers inside this one."""
        return {}

    def __call__(self, x: ArrayLike) -> Array:
        """y of x. Raises TextbookError for a wrong shape or a non-finite value."""
        x = finite(x, f"{self}: the input")
        if self.takes:
            expect(x.shape, self.takes, f"{self}: the input")
        try:
            y, self._derivative = self.forward(x)
        except TextbookError as error:
            at = "" if self.children() else f"{self}: the input has shape {x.shape}: "
            raise TextbookError(f"{at}{error}") from None
        self._shape = y.shape
        return y

    def backward(self, g: ArrayLike) -> Array:
        """dL/dy → dL/dx at the last input. Raises TextbookError before a forward pass."""
        if not hasattr(self, "_shape"):
            raise TextbookError(f"{self}: backward before forward; call the layer on an input")
        g = finite(g, f"{self}: the upstream gradient")
        expect(g.shape, self._shape, f"{self}: the upstream gradient")
        return self._derivative(g)

    def update(self, rate: float) -> None:
        """θ ← θ − rate · dL/dθ, here and in the layers inside."""
        for _, layer in self.walk():
            for name, gradient in layer.grads.items():
                layer.params[name] -= rate * gradient

    def walk(self, path: str = "") -> Iterator[tuple[str, Layer]]:
        """(path, layer) for this layer and all inside."""
        yield path, self
        for name, child in self.children().items():
            yield from child.walk(f"{path}{name}.")

    def refuse_reuse(self) -> None:
        """Raise TextbookError if a layer stands in two places: it remembers one input only."""
        inside = [id(layer) for _, layer in self.walk()]
        if len(set(inside)) < len(inside):
            raise TextbookError(f"{self} has one layer in two places: make two")

    def named(self, *kinds: str) -> dict[str, Array]:
        """All arrays of some kinds ("params", "grads", "buffers") under torch's names: 0.weight."""
        every = ((path, getattr(layer, kind)) for path, layer in self.walk() for kind in kinds)
        return {path + name: value for path, values in every for name, value in values.items()}

    def parameters(self) -> dict[str, Array]:
        """All θ. To change an array is to change the layer."""
        return self.named("params")

    def state_dict(self) -> dict[str, Array]:
        """Parameters and buffers, as torch names them."""
        return self.named("params", "buffers")

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Copy values in. Raises TextbookError for a name or shape that differs."""
        own = self.state_dict()
        if own.keys() != state.keys():
            raise TextbookError(f"{self}: names differ: {sorted(own.keys() ^ state.keys())}")
        for name, value in state.items():
            expect(np.shape(value), own[name].shape, f"{self}: {name}")
            own[name][...] = value

    def train(self, mode: bool = True) -> Self:
        """Behaviour in training (batch statistics, dropout); with False, in a test."""
        for _, layer in self.walk():
            layer.training = mode
        return self

    def astype(self, dtype: DTypeLike) -> Self:
        """Parameters and running averages in another precision; all start in float64."""
        for _, layer in self.walk():
            for values in (layer.params, layer.buffers):
                values |= {n: v.astype(dtype) for n, v in values.items() if v.dtype.kind == "f"}
        return self
