"""The prior at the strides of the host: what P2A sees at each level."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from hyseg_models.blocks.layers import zeroed
from hyseg_models.config.config import PyramidConfig

MIN_VALID_SHARE = 0.25
"""A cell with less of its area valid than this counts as empty."""

STRIDES = (8, 16, 32)
"""Strides at which the prior guides the host."""


@dataclass(frozen=True)
class Guide:
    """The guidance of DAS at one level."""

    prior: Tensor
    """Class probabilities (B, N, h, w) or normalised features of the prior; no channels at all
    where the network has no prior."""
    valid: Tensor
    """bool (B, 1, h, w), False where the image holds no data."""


def cell_validity(valid: Tensor, stride: int) -> Tensor:
    """Which cells of side `stride` hold enough data: bool (B, 1, H, W) -> (B, 1, H/s, W/s)."""
    return F.avg_pool2d(valid.float(), stride) >= MIN_VALID_SHARE


def empty_guides(valid: Tensor) -> dict[int, Guide]:
    """Guides of a network without prior: validity alone."""
    guides = {}
    for stride in STRIDES:
        cells = cell_validity(valid, stride)
        guides[stride] = Guide(valid.new_zeros(len(cells), 0, *cells.shape[2:]).float(), cells)
    return guides


class PriorPyramid(nn.Module):
    """Three stages that bring the prior to strides 8, 16 and 32.

    Each stage is a 3 x 3 convolution, BatchNorm and ReLU; a 1 x 1 convolution projects it to
    N channels and a softmax makes it a class map again. With `skip`, the logarithm of the
    area-pooled probabilities is added before the softmax and the projection starts at zero, so
    that each level starts as exactly the pooled prior. (The published code starts from random
    projections, whose affinities mean nothing at first.) `raw` gives normalised features instead.

    Shapes: prior (B, C, H/s_p, W/s_p), class probabilities or a map in label space; valid bool
    (B, 1, H, W) -> Guides by stride.
    """

    def __init__(self, inputs: int, classes: int, stride: int, config: PyramidConfig) -> None:
        super().__init__()
        self.stride = stride
        self.is_class_map = config.out == "softmax"
        self.skip = config.skip and self.is_class_map
        self.out_channels = classes if self.is_class_map else config.raw_channels
        self.stages = nn.ModuleList()
        self.projections = nn.ModuleList()
        width, reached = inputs, stride
        for target, channels in zip(STRIDES, config.channels, strict=True):
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(width, channels, 3, stride=target // reached, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                )
            )
            projection = nn.Conv2d(channels, self.out_channels, 1)
            self.projections.append(zeroed(projection) if self.skip else projection)
            width, reached = channels, target
        self.norms = nn.ModuleList(
            nn.Identity() if self.is_class_map else LayerNorm2d(self.out_channels) for _ in STRIDES
        )

    def forward(self, prior: Tensor, valid: Tensor) -> dict[int, Guide]:
        guides = {}
        features = prior
        for target, stage, project, norm in zip(
            STRIDES, self.stages, self.projections, self.norms, strict=True
        ):
            features = stage(features)
            level = norm(project(features))
            if self.skip:
                pooled = F.avg_pool2d(prior, target // self.stride)
                level = level + torch.log(pooled.clamp_min(1e-4))
            if self.is_class_map:
                level = level.softmax(dim=1)
            guides[target] = Guide(level, cell_validity(valid, target))
        return guides
