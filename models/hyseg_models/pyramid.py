"""The prior at the strides of the host: what P2A sees at each level."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.layers import zeroed

MIN_VALID_SHARE = 0.25
"""A cell with less of its area valid than this counts as empty."""


@dataclass(frozen=True)
class Guide:
    """What DAS is told about one level."""

    prior: Tensor
    """Class-like map (B, N, h, w), summing to one over N."""
    valid: Tensor
    """bool (B, 1, h, w), False where the image holds no data."""


def cell_validity(valid: Tensor, stride: int) -> Tensor:
    """Which cells of side `stride` hold enough data: bool (B, 1, H, W) -> (B, 1, H/s, W/s)."""
    return F.avg_pool2d(valid.float(), stride) >= MIN_VALID_SHARE


class PriorPyramid(nn.Module):
    """Three stages that bring the prior's class probabilities to strides 8, 16 and 32.

    Each stage is a 3 x 3 convolution, BatchNorm and ReLU; a 1 x 1 convolution projects it to
    N channels and a softmax makes it a class map again. With `skip`, the logarithm of the
    area-pooled probabilities is added before the softmax and the projection starts at zero, so
    that each level starts as exactly the pooled prior. (The published code starts from random
    projections, whose affinities mean nothing at first.)

    Shapes: probabilities (B, N, H/s_p, W/s_p), valid bool (B, 1, H, W) -> Guides by stride.
    """

    strides = (8, 16, 32)

    def __init__(self, classes: int, stride: int, channels: tuple[int, ...], *, skip: bool) -> None:
        super().__init__()
        self.stride = stride
        self.skip = skip
        self.stages = nn.ModuleList()
        self.projections = nn.ModuleList()
        width, reached = classes, stride
        for target, out in zip(self.strides, channels, strict=True):
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(width, out, 3, stride=target // reached, padding=1, bias=False),
                    nn.BatchNorm2d(out),
                    nn.ReLU(inplace=True),
                )
            )
            projection = nn.Conv2d(out, classes, 1)
            self.projections.append(zeroed(projection) if skip else projection)
            width, reached = out, target

    def forward(self, probabilities: Tensor, valid: Tensor) -> dict[int, Guide]:
        guides = {}
        features = probabilities
        for target, stage, project in zip(self.strides, self.stages, self.projections, strict=True):
            features = stage(features)
            logits = project(features)
            if self.skip:
                pooled = F.avg_pool2d(probabilities, target // self.stride)
                logits = logits + torch.log(pooled.clamp_min(1e-4))
            guides[target] = Guide(logits.softmax(dim=1), cell_validity(valid, target))
        return guides
