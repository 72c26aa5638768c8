"""From tokens to classes: linear scores, magnified to pixels, moved to the edges of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.blocks.backbones import Backbone
from hyseg_models.blocks.layers import in_single
from hyseg_models.config.probe_config import ProbeConfig
from hyseg_models.das.pyramid import Guide
from hyseg_models.hosts import Decoded
from hyseg_models.tokens.detail import PixelScores, smoothed

LEAST = 1e-4
"""Least probability after filtering, before the logarithm."""


class ProbeHead(nn.Module):
    """One linear layer on standardised tokens of each size and one on pixels, added up.

    Scores of tokens are magnified bilinearly, which for a linear layer is the same as magnifying
    its input, and the probabilities are filtered with the image as guide, so that borders
    between classes come to lie where the image has an edge.

    Shapes: levels = maps of tokens (B, C_i, H / s_i, W / s_i) and last the image (B, bands, H, W)
    -> logits (B, N, H, W).

    Args:
        channels: Channels of each map of tokens.
        classes: Classes N.
        config: The filter, and the bands that guide it.
    """

    def __init__(self, channels: Sequence[int], classes: int, config: ProbeConfig) -> None:
        super().__init__()
        self.config = config
        self.norms = nn.ModuleList(Standardised(width) for width in channels)
        self.classify = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in channels)
        self.detail = PixelScores(classes, config) if config.detail else None

    def forward(
        self,
        levels: Sequence[Tensor],
        guides: Mapping[int, Guide],  # noqa: ARG002 - as in all decoders
        size: tuple[int, int],
    ) -> Decoded:
        *tokens, image = levels
        with in_single(image):
            scores = self.scores([level.float() for level in tokens], size)
            if self.detail is not None:
                scores = scores + self.detail(image)
            if self.config.radius == 0:
                return Decoded(scores, None)
            guide = image[:, list(self.config.seen)].float()
            probabilities = scores.softmax(dim=1)
            filtered = guided_filter(
                probabilities, guide, self.config.radius, self.config.smoothness
            )
            return Decoded(filtered.clamp_min(LEAST).log(), None)

    def scores(self, tokens: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Linear scores of tokens at full resolution: (B, N, H, W)."""
        parts = [
            F.interpolate(classify(norm(level)), size=size, mode="bilinear", align_corners=False)
            for level, norm, classify in zip(tokens, self.norms, self.classify, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)


class BesideImage(nn.Module):
    """Tokens with the image behind them, for a head that follows its edges."""

    def __init__(self, bands: int, tokens: Backbone) -> None:
        super().__init__()
        self.channels = (*tokens.channels, bands)

    def forward(self, image: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        return [*features, image]


class Standardised(nn.Module):
    """(x - mean) * scale, channel by channel; both are measured, not learned."""

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean[:, None, None]) * self.scale[:, None, None]


def guided_filter(values: Tensor, guide: Tensor, radius: int, smoothness: float) -> Tensor:
    """Values smoothed where the guide is flat, and sharp where it has an edge.

    In each window of side 2 radius + 1 the output is a linear function of the mean of the
    guide's bands, q = a I + b, with a = cov(I, p) / (var(I) + smoothness) and b = E[p] - a E[I];
    each pixel gets the mean of the functions of all windows that hold it.

    Shapes: values (B, N, H, W), guide (B, bands, H, W) -> (B, N, H, W).

    Source: He, Sun and Tang 2010, Guided Image Filtering, equations 5, 6 and 8.
    """
    gray = guide.mean(dim=1, keepdim=True)
    mean = _box(gray, radius)
    variance = _box(gray * gray, radius) - mean * mean
    mean_of_values = _box(values, radius)
    covariance = _box(gray * values, radius) - mean * mean_of_values
    slope = covariance / (variance.clamp_min(0.0) + smoothness)
    offset = mean_of_values - slope * mean
    return _box(slope, radius) * gray + _box(offset, radius)


def _box(x: Tensor, radius: int) -> Tensor:
    """Mean over windows of side 2 radius + 1; beyond the edges the edge values count on."""
    side = 2 * radius + 1
    return smoothed(x, x.new_full((side,), 1 / side))
