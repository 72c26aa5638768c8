"""From pixel values to network input, in the same way for training and mapping."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_cli.learn.model.card import Radiometry


class Standardise(nn.Module):
    """Clip to the limits, subtract the mean and divide by the standard deviation of each band.

    With limits this scales by percentiles: the clipped range is centred on zero.
    Invalid pixels become zero, the mean, so that their values cannot reach their neighbours; so do
    bands that an image does not have, the last ones.

    Shapes: image (B, bands or fewer, H, W) of any real type, valid bool (B, 1, H, W), has_band
    bool (B, bands) -> float32 (B, bands, H, W).
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

    def forward(self, image: Tensor, valid: Tensor, has_band: Tensor | None = None) -> Tensor:
        values = image.float()
        bands = values.shape[1]
        if self.low is not None and self.high is not None:
            values = torch.clamp(values, self.low[:, :bands], self.high[:, :bands])
        standard: Tensor = (values - self.mean[:, :bands]) / self.std[:, :bands]
        known = valid if has_band is None else valid & has_band[:, :, None, None]
        # where, not a product: NaN times zero is NaN
        standard = torch.where(known, standard, 0.0)
        return F.pad(standard, (0, 0, 0, 0, 0, self.mean.shape[1] - bands))
