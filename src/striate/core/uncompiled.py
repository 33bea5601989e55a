"""torch's optimisers without torch's compiler."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeVar

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
    import torch

    plain = {name: inspect.unwrap(getattr(kind, name)) for name in _MARKED}
    plain["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), plain)
