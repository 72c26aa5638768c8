"""Features as another place might have them: other means and spreads, the same structure."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_LEAST_SPREAD = 0.1
"""Of its own spread that a channel keeps."""
_SMALLEST = 1e-6


def varied(features: Sequence[Tensor], share: float) -> list[Tensor]:
    """Features in which some images have other means and spreads of their channels.

    What differs from place to place (light, season, sensor) shows in the mean and the spread of a
    channel over an image more than in its pattern. Both get normal noise, as large as they differ
    between the images of the batch, so a batch of many places teaches a decoder to do without
    them (Li et al., "Uncertainty modeling for out-of-distribution generalization", ICLR 2022).
    Numbers come from torch's global generator.

    Args:
        features: Levels of a batch (B, C, h, w), floating point.
        share: Chance of each image to be varied at each level, from 0 to 1.

    Returns:
        As many levels of the same shapes; an image alone in its batch stays as it is, as nothing
        says how others look.
    """
    if share == 0 or len(features[0]) < 2:
        return list(features)
    return [_varied_level(level, share) for level in features]


def _varied_level(level: Tensor, share: float) -> Tensor:
    mean = level.mean(dim=(2, 3), keepdim=True)
    spread = level.std(dim=(2, 3), keepdim=True) + _SMALLEST
    chosen = (torch.rand(len(level), 1, 1, 1, device=level.device) < share).to(level.dtype)
    new_mean, new_spread = (_noisy(statistic, chosen) for statistic in (mean, spread))
    new_spread = new_spread.clamp(min=_LEAST_SPREAD * spread)
    return (level - mean) / spread * new_spread + new_mean


def _noisy(statistic: Tensor, chosen: Tensor) -> Tensor:
    """A statistic (B, C, 1, 1) with noise as large as it differs between images."""
    return statistic + chosen * torch.randn_like(statistic) * statistic.std(dim=0, keepdim=True)
