"""From pixel values to network input, the same way in training and in use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """Subtract the mean and divide by the standard deviation of each band.

    Invalid pixels become zero, the mean, so that their values cannot reach their neighbours.

    Shapes: image (B, bands, H, W) of any real type, valid bool (B, 1, H, W) -> float32.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        standard: Tensor = (image.float() - self.mean) / self.std
        # where, not a product: NaN times zero is NaN
        return torch.where(valid, standard, 0.0)
