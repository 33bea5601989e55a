"""torch's optimisers without torch's compiler."""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

O = TypeVar("O", bound="torch.optim.Optimizer")  # noqa: E741

_MARKED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def uncompiled(kind: type[O]) -> type[O]:
    """The same optimiser, but it does not import torch's compiler (1.5 s of processor time).

    torch wraps these methods so that `torch.compile` leaves them alone, and the wrappers import the
    compiler when they are first called, also where nothing is compiled. What they wrap is used
    here, with the gradients off that `step` turns off itself.
    """
    found: type[O] = _uncompiled(kind)  # type: ignore[arg-type]
    return found


@cache
def _uncompiled(kind: Any) -> Any:
    import torch

    plain = {name: inspect.unwrap(getattr(kind, name)) for name in _MARKED}
    plain["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    plain["__reduce__"] = lambda self: (_blank, (kind,), self.__getstate__())  # it has no address
    return type(kind.__name__, (kind,), plain)


def _blank(kind: Any) -> Any:
    """An optimiser without its state, which is put in by whoever reads it back."""
    return object.__new__(_uncompiled(kind))
