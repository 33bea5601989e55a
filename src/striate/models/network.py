"""The input stage that every architecture stands behind."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """Input stage and backbone: uint8 (N, H, W, C) → logits float32 (N, classes).

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

    def forward(self, images: Tensor) -> Tensor:
        centred = images.float() - self.shift
        prepared = centred @ self.scale if self.scale.dim() == 2 else centred * self.scale
        x = prepared.permute(0, 3, 1, 2).contiguous(memory_format=self.layout)
        logits: Tensor = self.backbone(x)
        return logits.float()
