"""From pixel values to network input, the same way in training and in use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

PERCENTILES = (0.5, 99.5)
"""Of images that are not 8-bit: glints and dead pixels beyond them are cut off."""


@dataclass(frozen=True)
class Radiometry:
    """What was measured of the values of each band over the training pixels."""

    mean: tuple[float, ...]
    """In units of the scenes, after the values were cut to the limits."""
    std: tuple[float, ...]
    limits: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Smallest and largest value of each band; None where all count, as of 8-bit images."""


def radiometry_of_sample(sample: npt.NDArray[np.float32]) -> Radiometry:
    """Limits at `PERCENTILES`, mean and deviation between them, of pixels (bands, n)."""
    low, high = np.percentile(sample, PERCENTILES, axis=1)
    cut = sample.astype(np.float64).clip(low[:, None], high[:, None])
    return Radiometry(
        tuple(cut.mean(axis=1).tolist()),
        tuple(np.maximum(cut.std(axis=1), _LEAST_STD).tolist()),
        (tuple(low.tolist()), tuple(high.tolist())),
    )


_LEAST_STD = 1e-6
"""Of a band that has one value only."""


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
