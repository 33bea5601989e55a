"""What a network costs and sees, layer by layer: traced on shapes, nothing is computed (L4, L13).

The receptive fields follow the rules of `striate.textbook.arithmetic`, operation by operation, so
branches, sums and functions inside `forward` count too; the multiply–adds are torch's own count.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from striate.core.errors import ModelError
from striate.models.fit import explained, place_of, trail_of
from striate.models.plain import network
from striate.models.spec import is_spec
from striate.models.zoo import build, check_name
from striate.textbook.arithmetic import Field, dropped
from striate.textbook.arrays import Array, Pair, TextbookError

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

_BYTES = 4  # of a float32
_NORMS = (nn.LocalResponseNorm, nn.GroupNorm, nn.LayerNorm)  # statistics do not count as sight


@dataclass(frozen=True)
class Row:
    """One layer, for one image.

    output: shape without the batch. macs: multiply–adds; norms and activations count none.
    activations: values written, 0 where the layer works in place or only reshapes. Pixel pairs are
    (height, width); field is None where a unit sees the whole image. dropped: rows and columns
    that no window sees, because the stride leaves them over (L4).
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    macs: int
    activations: int
    field: Field | None
    dropped: Pair


def layer_table(net: nn.Module, shape: tuple[int, int, int], name: str = "") -> list[Row]:
    """A Row for each layer of `net` for one image (C, H, W), in the order of its first use.

    Of a layer that is used several times, the last use's shape and all its costs. Parameters and
    multiply–adds outside of these innermost layers (attention) are a last row "(elsewhere)".
    Raises ModelError that names the layer where the shapes do not fit.
    """
    from torch.utils.flop_counter import FlopCounterMode

    rows: dict[str, Row] = {}
    trail: list[tuple[str, tuple[int, ...]]] = []
    tracer, counter = _Fields(), FlopCounterMode(display=False)
    try:
        shadow = copy.deepcopy(net).to("meta", torch.float32).eval()
        trail = trail_of(shadow)
        counted: set[int] = set()
        for path, module in shadow.named_modules():
            if not list(module.children()):
                own = _own_parameters(net.get_submodule(path), counted)
                place = path or type(net).__name__
                module.register_forward_hook(_noting(rows, place, own, tracer))
        images = torch.empty(1, *shape, device="meta")
        tracer.place(images, Field())
        with torch.no_grad(), warnings.catch_warnings(), tracer, counter:
            warnings.simplefilter("ignore")
            shadow(images)
    except Exception as error:
        size = "×".join(map(str, shape[1:]))
        raise explained(place_of(error), name, trail, size, 1) from error
    return _with_macs(rows, net, counter)


def fields_of(
    net: nn.Module, shape: tuple[int, int, int], layers: Iterable[str]
) -> dict[str, Field | None]:
    """The receptive field of a unit of each of these modules, blocks too, for images (C, H, W);
    None where a unit sees the whole image."""
    found: dict[str, Field | None] = dict.fromkeys(layers)
    seen: set[str] = set()
    tracer, images = _Fields(), torch.empty(1, *shape, device="meta")
    shadow = copy.deepcopy(net).to("meta", torch.float32).eval()

    def noting(name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(module, _NORMS):
                tracer.place(output, tracer.of(inputs[0]))
            if name in found and name not in seen:  # of several uses the first
                seen.add(name)
                found[name] = tracer.of(output)

        return note

    for name, module in shadow.named_modules():
        if name in found or isinstance(module, _NORMS):
            module.register_forward_hook(noting(name))
    tracer.place(images, Field())
    with torch.no_grad(), tracer:
        shadow(images)
    return found


def totals(rows: list[Row], net: nn.Module) -> dict[str, Any]:
    """Sums over a table; parameters that are shared count once."""
    values = sum(row.activations for row in rows)
    parameters = sum(p.numel() for p in net.parameters())
    return {
        "parameters": parameters,
        "parameter_bytes": parameters * _BYTES,
        "macs": sum(row.macs for row in rows),
        "activations": values,
        "activation_bytes": values * _BYTES,
    }


def zoo_network(
    name: str, shape: tuple[int, int, int], classes: int, small_stem: bool = False
) -> nn.Module:
    """A network of the zoo for images (C, H, W), without weights where that is possible.

    Raises ModelError, also for what a factory of the user's raises.
    """
    insist = {"small_stem": True} if small_stem else {}
    wanted = {"num_classes": classes, "channels": shape[0], "image_size": max(shape[1:])}
    ours = ":" not in name  # others may look at values while they are built
    check_name(name)
    try:
        with torch.device("meta" if ours else "cpu"):
            if is_spec(name) and not insist:
                return network(name, classes, shape[0], shape[1:])
            net = build(name, insist=insist, **wanted)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{name} cannot be built: {place_of(error)}") from error
    if not isinstance(net, nn.Module):
        raise ModelError(f"{name} gives a {type(net).__name__}, expected a torch module")
    return net


def equivariance_error(
    function: Callable[[Array], Array], images: Array, shift: int, stride: int = 1, border: int = 0
) -> float:
    """L8: how far function(shifted images) is from shifted function(images), over its largest |y|.

    images (N, C, H, W) are shifted by `shift` pixels, a multiple of the function's stride; `border`
    units at each edge, where padding shows, are left out. 0 for a convolution.
    """
    units = shift // stride
    if units * stride != shift or shift < 1:
        raise TextbookError(f"a shift of {shift} is no positive multiple of the stride {stride}")
    here, there = function(images[:, :, :-shift, :-shift]), function(images[:, :, shift:, shift:])
    bottom, right = here.shape[2] - units - border, here.shape[3] - units - border
    if bottom <= border or right <= border:
        raise TextbookError(f"nothing is left of {here.shape} inside a border of {border}")
    moved = here[:, :, border + units : bottom + units, border + units : right + units]
    difference = np.abs(there[:, :, border:bottom, border:right] - moved)
    return float(difference.max() / max(np.abs(here).max(), 1e-30))


class _Fields(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the receptive field of every map that is computed inside `with`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: dict[int, tuple[Tensor, Field | None]] = {}  # tensors are kept: ids are reused
        self.dropped: dict[int, Pair] = {}

    def place(self, tensor: Tensor, field: Field | None) -> None:
        self._known[id(tensor)] = (tensor, field)

    def of(self, tensor: Tensor) -> Field | None:
        return self._known.get(id(tensor), (tensor, None))[1]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        first = out[0] if isinstance(out, (tuple, list)) and out else out
        inputs = [t for t in _tensors(args) if id(t) in self._known]
        if isinstance(first, Tensor) and inputs:  # what parameters alone make is seen by all
            window = _WINDOWS.get(func.overloadpacket, _no_window)(args)
            if window:
                self._through(args[0], window, first)
            else:
                self.place(first, self._joined(first, inputs))
        return out

    def _through(self, x: Tensor, window: tuple[Pair, ...], out: Tensor) -> None:
        field, sides = self.of(x), x.shape[2:]
        self.place(out, field and field.through(*window))
        over = [dropped(*side) for side in zip(sides, *window, strict=True)]
        reach = [
            (m - 1) * s + d * (k - 1) + 1 - p
            for m, k, s, p, d in zip(out.shape[2:], *window, strict=True)
        ]
        rows, columns = (  # a pool with ceil_mode reaches over the border and drops nothing
            o if r <= n else 0 for o, r, n in zip(over, reach, sides, strict=True)
        )
        self.dropped[id(out)] = (rows, columns)

    def _joined(self, out: Tensor, inputs: list[Tensor]) -> Field | None:
        """Where branches meet, all that they see together; None: not a map of the inputs' size.

        An operation that keeps the size is taken to look at each place by itself.
        """
        fields = [self.of(t) for t in inputs]
        if out.dim() != 4 or any(t.shape[2:] != out.shape[2:] for t in inputs):
            return None
        known = [field for field in fields if field]
        if len(known) < len(fields):
            return None
        pad, end, stride = (
            tuple(max(values) for values in zip(*part, strict=True))
            for part in (
                [f.padding for f in known],
                [(f.size[0] - f.padding[0], f.size[1] - f.padding[1]) for f in known],
                [f.stride for f in known],
            )
        )
        return Field((end[0] + pad[0], end[1] + pad[1]), stride, pad)


def _no_window(_: tuple[Any, ...]) -> None:
    return None


def _padded(args: tuple[Any, ...]) -> tuple[Pair, ...] | None:
    """Explicit padding of height and width: a 1×1 window with a border."""
    left, right, top, bottom = [*args[1], 0, 0][:4] if len(args[1]) <= 4 else (0, 0, 0, 0)
    if args[0].dim() != 4 or len(args[1]) > 4 or min(left, right, top, bottom) < 0:
        return None
    return (1, 1), (1, 1), (top, left), (1, 1)


def _convolution(args: tuple[Any, ...]) -> tuple[Pair, ...] | None:
    if args[1].dim() != 4 or args[6]:  # not 2-D, or transposed: not followed
        return None
    weight, stride, padding, dilation = args[1], args[3], args[4], args[5]
    return tuple(weight.shape[2:]), tuple(stride), tuple(padding), tuple(dilation)


def _pool(args: tuple[Any, ...]) -> tuple[Pair, ...]:
    kernel = _pair(args[1])
    stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
    padding = _pair(args[3]) if len(args) > 3 else (0, 0)
    return kernel, stride, padding, (1, 1)


def _max_pool(args: tuple[Any, ...]) -> tuple[Pair, ...]:
    return (*_pool(args)[:3], _pair(args[4]) if len(args) > 4 else (1, 1))


def _pair(values: Any) -> Pair:
    listed = list(values) if isinstance(values, (list, tuple)) else [values]
    return listed[0], listed[-1]


_aten = torch.ops.aten
_WINDOWS: dict[Any, Callable[[tuple[Any, ...]], tuple[Pair, ...] | None]] = {
    _aten.constant_pad_nd: _padded,
    _aten.convolution: _convolution,
    _aten.max_pool2d_with_indices: _max_pool,
    _aten.avg_pool2d: _pool,
}


def _tensors(values: Any) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _own_parameters(module: nn.Module, counted: set[int]) -> int:
    """How many parameters a layer has that no layer before it has; notes them as counted."""
    new = {id(p): p.numel() for p in module.parameters() if id(p) not in counted}
    counted.update(new)
    return sum(new.values())


def _noting(rows: dict[str, Row], path: str, parameters: int, tracer: _Fields):  # type: ignore[no-untyped-def]
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        if isinstance(module, _NORMS) and inputs:
            tracer.place(output, tracer.of(inputs[0]))
        reused = any(output is t or output._is_view() for t in _tensors(inputs))
        values = 0 if reused else output.numel()
        if path in rows:  # used again
            values += rows[path].activations
        field, left = tracer.of(output), tracer.dropped.pop(id(output), (0, 0))
        shape = tuple(output.shape[1:])
        kind = type(module).__name__
        rows[path] = Row(path, kind, shape, parameters, 0, values, field, left)

    return hook


def _with_macs(rows: dict[str, Row], net: nn.Module, counter: FlopCounterMode) -> list[Row]:
    counts = {path: sum(ops.values()) // 2 for path, ops in counter.get_flop_counts().items()}
    top = type(net).__name__
    names: dict[int, list[str]] = {}
    for path, module in net.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(path)
    listed = []
    for name, row in rows.items():  # a module of two parents is counted under each one's name
        module = net.get_submodule(name) if name in dict(net.named_modules()) else net
        macs = sum(counts.get(f"{top}.{n}", counts.get(n, 0)) for n in names[id(module)])
        listed.append(Row(**{**vars(row), "macs": macs}))
    parameters = sum(p.numel() for p in net.parameters()) - sum(r.parameters for r in listed)
    macs = counter.get_total_flops() // 2 - sum(r.macs for r in listed)
    if parameters > 0 or macs > 0:
        listed.append(Row("(elsewhere)", "", (), max(0, parameters), macs, 0, None, (0, 0)))
    return listed
