"""From pixel values to network input, the same way in training and in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hyseg_cli.geo.grid import Window
from hyseg_cli.learn.labelled import LabelledScene


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


@dataclass(frozen=True)
class BandStatistics:
    """Mean and standard deviation of each band over the valid pixels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def measure_bands(scenes: Sequence[LabelledScene], *, rows: int = 512) -> BandStatistics:
    """Statistics over all valid pixels of some scenes, read once in strips.

    Args:
        scenes: Scenes of one band count.
        rows: Rows per strip.
    """
    count = 0
    total = np.zeros(scenes[0].bands)
    squares = np.zeros(scenes[0].bands)
    for scene in scenes:
        for row in range(0, scene.height, rows):
            strip = Window(row, 0, min(rows, scene.height - row), scene.width)
            chip = scene.read(strip)
            pixels = chip.image[:, chip.valid].astype(np.float64)  # (bands, pixels)
            count += pixels.shape[1]
            total += pixels.sum(axis=1)
            squares += np.square(pixels).sum(axis=1)
    mean = total / max(count, 1)
    variance = np.maximum(squares / max(count, 1) - np.square(mean), 1e-12)
    return BandStatistics(tuple(mean.tolist()), tuple(np.sqrt(variance).tolist()))
