"""What a network costs and sees, layer by layer: traced on shapes, nothing is computed (L4, L13).

The receptive fields follow the rules of `striate.textbook.arithmetic`, operation by operation, so
branches, sums and functions inside `forward` count too; the multiply–adds are torch's own count.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from striate.core.errors import ModelError
from striate.models.fit import explained, trail_of
from striate.models.zoo import build
from striate.textbook.arithmetic import Field, dropped
from striate.textbook.arrays import Pair

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

    What is computed outside of layers (attention, sums of parameters) is a last row "(elsewhere)".
    Raises ModelError that names the layer where the shapes do not fit.
    """
    shadow = copy.deepcopy(net).to("meta", torch.float32).eval()
    trail = trail_of(shadow)
    rows: dict[str, Row] = {}
    tracer, counter = _Fields(), FlopCounterMode(display=False)
    for path, module in shadow.named_modules():
        if not list(module.children()):
            module.register_forward_hook(_noting(rows, path or type(net).__name__, tracer))
    images = torch.empty(1, *shape, device="meta")
    tracer.place(images, Field())
    try:
        with torch.no_grad(), warnings.catch_warnings(), tracer, counter:
            warnings.simplefilter("ignore")
            shadow(images)
    except (RuntimeError, ValueError, IndexError, AssertionError, TypeError) as error:
        size = "×".join(map(str, shape[1:]))
        raise explained(str(error), name, trail, size, 1) from None
    return _with_macs(rows, net, counter)


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
    """A network of the zoo for images (C, H, W), without weights where that is possible."""
    insist = {"small_stem": True} if small_stem else {}
    wanted = {"num_classes": classes, "channels": shape[0], "image_size": max(shape[1:])}
    ours = ":" not in name  # others may look at values while they are built
    with torch.device("meta" if ours else "cpu"):
        net = build(name, insist=insist, **wanted)
    if not isinstance(net, nn.Module):
        raise ModelError(f"{name} gives a {type(net).__name__}, expected a torch module")
    return net


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
        if isinstance(first, Tensor):
            window = _WINDOWS.get(func.overloadpacket)
            if window:
                self._through(args, window(args), first)
            else:
                self.place(first, self._joined(first, _tensors(args)))
        return out

    def _through(self, args: tuple[Any, ...], window: tuple[Pair, ...], out: Tensor) -> None:
        field, sides = self.of(args[0]), args[0].shape[2:]
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

    def _joined(self, out: Tensor, inputs: Iterable[Tensor]) -> Field | None:
        """Where branches meet, the larger field holds. None: not a map of the inputs' size."""
        known = [self._known[id(t)] for t in inputs if id(t) in self._known]
        if not known or out.dim() != 4:
            return None
        fields = [field for _, field in known if field]
        if len(fields) < len(known) or any(t.shape[2:] != out.shape[2:] for t, _ in known):
            return None
        parts = [[getattr(f, part) for f in fields] for part in ("size", "stride", "padding")]
        return Field(*((max(p[0] for p in part), max(p[1] for p in part)) for part in parts))


def _convolution(args: tuple[Any, ...]) -> tuple[Pair, ...]:
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
_WINDOWS = {
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


def _noting(rows: dict[str, Row], path: str, tracer: _Fields):  # type: ignore[no-untyped-def]
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        if isinstance(module, _NORMS):
            tracer.place(output, tracer.of(inputs[0]))
        if path in rows:
            return
        reused = any(output is t or output._is_view() for t in _tensors(inputs))
        rows[path] = Row(
            path,
            type(module).__name__,
            tuple(output.shape[1:]),
            sum(p.numel() for p in module.parameters()),
            0,
            0 if reused else output.numel(),
            tracer.of(output),
            tracer.dropped.get(id(output), (0, 0)),
        )

    return hook


def _with_macs(rows: dict[str, Row], net: nn.Module, counter: FlopCounterMode) -> list[Row]:
    counts = {path: sum(ops.values()) // 2 for path, ops in counter.get_flop_counts().items()}
    top = type(net).__name__
    listed = [
        Row(**{**vars(row), "macs": counts.get(f"{top}.{name}", counts.get(name, 0))})
        for name, row in rows.items()
    ]
    parameters = sum(p.numel() for p in net.parameters()) - sum(r.parameters for r in listed)
    macs = counter.get_total_flops() // 2 - sum(r.macs for r in listed)
    if parameters > 0 or macs > 0:
        listed.append(Row("(elsewhere)", "", (), max(0, parameters), macs, 0, None, (0, 0)))
    return listed
