"""P2A: from differences in the prior to an affinity between each cell and its neighbours."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hyseg_models.blocks.layers import in_single
from hyseg_models.blocks.neighbourhood import neighbour_distances, neighbour_validity
from hyseg_models.config.config import P2AConfig


class P2A(nn.Module):
    """Affinity of each cell to its K x K neighbours, from how much the prior differs there.

    d_jk = |s_j - s_{j+k}|^2,   A_jk = softmax_k( -d_jk / (2 sigma^2 + xi) )

    over the neighbours that lie inside the map and hold data; the cell itself has d = 0 and
    always counts, so a row never vanishes. `softmax_exp` is the formula of the published code,
    softmax_k( exp(-d_jk / (2 sigma^2 + xi)) ), whose weights never differ by more than a
    factor of e; it is kept for comparison.

    Several dilations give several rings of neighbours in one row; only the first has a middle.
    With a sigma for each class, d_jk is a sum over classes, each divided by its own 2 sigma^2 + xi.

    Shapes: source (B * groups, C / groups, H, W), valid bool (B * groups, 1, H, W) -> affinity
    float32 (B * groups, dilations * K^2, H, W), rows summing to one. Computed in float32 whatever
    the autocast type: 2 sigma^2 + xi underflows in half precision.

    Args:
        config: Options.
        channels: Channels C of what is compared; needed for a sigma of each class alone.

    Source: HySeg, section on Prior-to-Affinity; the normalised Gaussian follows its prose.
    """

    def __init__(self, config: P2AConfig, channels: int = 0) -> None:
        super().__init__()
        self.config = config
        self.bandwidth = Bandwidth(config, channels)

    def forward(self, source: Tensor, valid: Tensor) -> Tensor:
        config = self.config
        with in_single(source):
            source, divisor = self._in_units_of_sigma(source.float())
            distance = torch.cat(
                [neighbour_distances(source, config.kernel, d) for d in config.dilations],
                dim=1,
            )
            if config.distance == "mean":
                distance = distance / source.shape[1]
            closeness = -distance / divisor
            if config.affinity == "softmax_exp":
                closeness = closeness.exp()
            closeness = closeness.masked_fill(~self._counted(valid), -math.inf)
            affinity: Tensor = closeness.softmax(dim=1)
            return affinity

    def _in_units_of_sigma(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """What is compared, and what its squared distances are divided by."""
        divisor = 2.0 * self.bandwidth().square() + self.config.xi
        if self.config.sigma_scope == "level":
            return source, divisor
        # (groups, 1 or C / groups), the same for each image of the batch
        divisor = divisor.repeat(len(source) // self.config.groups, 1)[..., None, None]
        if self.config.sigma_scope == "group":
            return source, divisor
        return source / divisor.sqrt(), torch.ones_like(divisor[:1, :1])

    def _counted(self, valid: Tensor) -> Tensor:
        """Which neighbours take part: bool (B, dilations * K^2, H, W)."""
        kernel = self.config.kernel
        rings = [neighbour_validity(valid, kernel, d) for d in self.config.dilations]
        if not self.config.mask:
            rings = [torch.ones_like(ring) for ring in rings]
        for ring in rings[1:]:
            ring[:, kernel**2 // 2] = False
        return torch.cat(rings, dim=1)


class Bandwidth(nn.Module):
    """The sigma of one level: how different two neighbours may be and still talk.

    A scalar, or one for each group (groups, 1), or for each channel (groups, C / groups). Its
    derivative is small where it starts, so it learns at a rate of its own (`Recipe`).
    """

    def __init__(self, config: P2AConfig, channels: int = 0) -> None:
        super().__init__()
        self.config = config
        self.raw: Tensor
        per_group = channels // config.groups if config.sigma_scope == "class" else 1
        shape = () if config.sigma_scope == "level" else (config.groups, per_group)
        start = torch.full(shape, config.sigma_init)
        if config.sigma == "fixed":
            self.register_buffer("raw", start)
        elif config.sigma == "relu":
            self.raw = nn.Parameter(start)
        else:
            # The inverse of the softplus below, so that sigma starts at sigma_init.
            self.raw = nn.Parameter(torch.log(torch.expm1(start - config.sigma_min)))

    def forward(self) -> Tensor:
        if self.config.sigma == "fixed":
            return self.raw
        if self.config.sigma == "relu":
            return torch.relu(self.raw)
        return self.config.sigma_min + nn.functional.softplus(self.raw)


def certainty(probabilities: Tensor) -> Tensor:
    """1 - H(q) / log N of class probabilities (B, N, h, w): (B, 1, h, w), 1 where one is sure."""
    entropy = -torch.xlogy(probabilities, probabilities).sum(dim=1, keepdim=True)
    return 1.0 - entropy / math.log(probabilities.shape[1])
