"""Test-time augmentation: several views of a window, whose probabilities are averaged."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hyseg_cli.geo.tiling.grid import ALIGNMENT
from hyseg_models.blocks.symmetry import SYMMETRIES, turned, turned_back


@dataclass(frozen=True)
class View:
    """One view: a magnification, then a symmetry of the square."""

    symmetry: int = 0
    """A number of `hyseg_models.blocks.symmetry`."""
    scale: float = 1.0
    """Magnification; the size is rounded to a multiple of the network's stride."""

    def of(self, image: Tensor, valid: Tensor, origin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Windows (B, C, H, W), (B, 1, H, W) and their origins (B, 2), in this view."""
        if self.scale != 1.0:
            size = [max(1, round(n * self.scale / ALIGNMENT)) * ALIGNMENT for n in image.shape[-2:]]
            image = F.interpolate(image, size, mode="bilinear", antialias=True)
            valid = F.interpolate(valid.float(), size, mode="nearest") > 0
            # The noise is drawn on the grid of the pixels that the network sees.
            origin = (origin * self.scale).div(ALIGNMENT, rounding_mode="floor").long() * ALIGNMENT
        return turned(image, self.symmetry), turned(valid, self.symmetry), origin

    def undo(self, probabilities: Tensor, size: tuple[int, int]) -> Tensor:
        """Probabilities of this view, mapped back to windows of a size."""
        probabilities = turned_back(probabilities, self.symmetry)
        if probabilities.shape[-2:] == torch.Size(size):
            return probabilities
        return F.interpolate(probabilities, size, mode="bilinear", antialias=True)


VIEWS = {
    "none": (View(),),
    "flip": tuple(View(symmetry) for symmetry in range(4)),
    "d4": tuple(View(symmetry) for symmetry in SYMMETRIES),
    "multiscale": tuple(View(scale=scale) for scale in (0.75, 1.0, 1.25)),
}
"""The choices of `tta`."""
