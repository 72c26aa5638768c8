"""From pixel values to network input, the same way in training and in use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyseg_cli.learn.model.card import Radiometry


class Standardise(nn.Module):
    """Cut to the limits, subtract the mean and divide by the standard deviation of each band.

    This scales by percentiles where there are limits: the cut range comes to lie around zero.
    Invalid pixels become zero, the mean, so that their values cannot reach their neighbours.

    Shapes: image (B, bands, H, W) of any real type, valid bool (B, 1, H, W) -> float32.
    """

    def __init__(self, radiometry: Radiometry) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.low: Tensor | None
        self.high: Tensor | None
        low, high = radiometry.limits or (None, None)
        for name, values in (
            ("mean", radiometry.mean),
            ("std", radiometry.std),
            ("low", low),
            ("high", high),
        ):
            band = None if values is None else torch.tensor(values, dtype=torch.float32)
            self.register_buffer(name, band if band is None else band.view(1, -1, 1, 1))

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        values = image.float()
        if self.low is not None and self.high is not None:
            values = torch.clamp(values, self.low, self.high)
        standard: Tensor = (values - self.mean) / self.std
        # where, not a product: NaN times zero is NaN
        return torch.where(valid, standard, 0.0)
