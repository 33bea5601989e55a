"""The input stage that every architecture stands behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def in_float32(outputs: Any) -> Any:
    """Logits in float32; what a detector gives stays as it is."""
    return outputs.float() if isinstance(outputs, Tensor) else outputs


class Network(nn.Module):
    """Input stage and backbone: uint8 (N, H, W, C) → logits float32 (N, classes), or what a
    detector gives.

    The normalisation of the training images travels with the weights, as buffers, so evaluation,
    prediction and export cannot use another (D1).
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, backbone: nn.Module, shift: Tensor, scale: Tensor, *, channels_last: bool = True
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, images: Tensor) -> Any:
        return in_float32(self.backbone(self.prepared(images)))

    def take_shape(self, tensors: Mapping[str, Tensor]) -> None:
        """A blank input stage (scale 0) takes the shape of the one among these tensors."""
        if not self.scale.any() and {"shift", "scale"} <= tensors.keys():
            for name in ("shift", "scale"):
                blank = torch.zeros_like(tensors[name], device=self.scale.device)
                setattr(self, name, blank)

    def prepared(self, images: Tensor) -> Tensor:
        """The input stage: (N, H, W, C) → what enters the backbone, float32 (N, C, H, W)."""
        centred = images.float() - self.shift
        prepared = centred @ self.scale if self.scale.dim() == 2 else centred * self.scale
        return prepared.permute(0, 3, 1, 2).contiguous(memory_format=self.layout)
