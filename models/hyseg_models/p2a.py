"""P2A: from differences in the prior to an affinity between each cell and its neighbours."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hyseg_models.config import P2AConfig
from hyseg_models.neighbourhood import neighbour_distances, neighbour_validity


class P2A(nn.Module):
    """Affinity of each cell to its K x K neighbours, from how much the prior differs there.

    d_jk = |s_j - s_{j+k}|^2,   A_jk = softmax_k( -d_jk / (2 sigma^2 + xi) )

    over the neighbours that lie inside the map and hold data; the cell itself has d = 0 and
    always counts, so a row never vanishes. `softmax_exp` is the formula of the published code,
    softmax_k( exp(-d_jk / (2 sigma^2 + xi)) ), whose weights never differ by more than a
    factor of e; it is kept for comparison.

    Shapes: prior (B, C, H, W), valid bool (B, 1, H, W) -> affinity float32 (B, K^2, H, W),
    rows summing to one. Computed in float32 whatever the autocast type: 2 sigma^2 + xi
    underflows in half precision.

    Source: HySeg, section on Prior-to-Affinity; the normalised Gaussian follows its prose.
    """

    def __init__(self, config: P2AConfig) -> None:
        super().__init__()
        self.config = config
        self.bandwidth = Bandwidth(config)

    def forward(self, prior: Tensor, valid: Tensor) -> Tensor:
        kernel, dilation = self.config.kernel, self.config.dilation
        with torch.autocast(prior.device.type, enabled=False):
            distance = neighbour_distances(prior.float(), kernel, dilation)
            closeness = -distance / (2.0 * self.bandwidth().square() + self.config.xi)
            if self.config.affinity == "softmax_exp":
                closeness = closeness.exp()
            if self.config.mask:
                neighbours = neighbour_validity(valid, kernel, dilation)
                closeness = closeness.masked_fill(~neighbours, -math.inf)
            affinity: Tensor = closeness.softmax(dim=1)
            return affinity


class Bandwidth(nn.Module):
    """The scalar sigma of one level: how different two neighbours may be and still talk."""

    def __init__(self, config: P2AConfig) -> None:
        super().__init__()
        self.config = config
        self.raw: Tensor
        start = torch.tensor(config.sigma_init)
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
