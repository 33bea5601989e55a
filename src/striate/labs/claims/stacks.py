"""L13: stacks of 3×3 convolutions."""

from __future__ import annotations

import torch
from torch import nn

from striate.labs.lab import Lab, Trial
from striate.models.fit import parameter_count


def _stack(kernel: int, count: int) -> nn.Module:
    return nn.Sequential(*(nn.Conv2d(1, 1, kernel, padding=kernel // 2) for _ in range(count)))


def _seen(net: nn.Module) -> int:
    """Pixels on a side that the middle of the output depends on."""
    image = torch.zeros(1, 1, 21, 21, requires_grad=True)
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    net(image)[0, 0, 10, 10].backward()
    assert image.grad is not None
    return int((image.grad[0, 0].abs().sum(dim=0) > 0).sum())


def measure(_: int, __: bool) -> Trial:
    rows = [["layers", "sees", "parameters", "products and sums a pixel"]]
    figures: dict[str, float] = {}
    for kernel, count in ((3, 2), (5, 1), (3, 3), (7, 1)):
        net, name = _stack(kernel, count), f"{count} × {kernel}×{kernel}"
        operations = count * 2 * kernel * kernel
        figures |= {
            f"{name}: sees": _seen(net), f"{name}: parameters": parameter_count(net),
            f"{name}: operations": operations,
        }  # fmt: skip
        rows.append([name, f"{_seen(net)} pixels", str(parameter_count(net)), str(operations)])
    return Trial(figures, rows=rows)


LAB = Lab(
    "L13", "stacks",
    "Two 3×3 convolutions see what one 5×5 sees, three what a 7×7 sees, with fewer parameters (20 "
    "against 26, 30 against 50) and operations (36 against 50, 54 against 98).",
    "The layers are built; what the middle of the output depends on is read from its gradient.",
    measure,
    {
        "confirmed": lambda f: [f["2 × 3×3: sees"], f["3 × 3×3: sees"]] == [5, 7]
        and [f[f"{n}: parameters"] for n in ("2 × 3×3", "1 × 5×5", "3 × 3×3", "1 × 7×7")]
        == [20, 26, 30, 50]
        and [f[f"{n}: operations"] for n in ("2 × 3×3", "1 × 5×5", "3 × 3×3", "1 × 7×7")]
        == [36, 50, 54, 98]
    },
    "1 × 7×7: operations",
    "The stack sees as far, costs less, and has an activation more. Deck D writes 2·5² for the "
    "last figure; 98 is 2·7².",
    "confirmed",
    deck="98 = 2·5²", truth="98 = 2·7²", seeds=1,
)  # fmt: skip
