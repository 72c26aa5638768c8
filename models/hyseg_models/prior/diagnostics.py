"""What to look at before a prior is trusted: calibration, purity of affinities, binned errors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hyseg_models.config.config import IGNORE_ID


@dataclass(frozen=True)
class Reliability:
    """How often predictions of a given confidence are right; bins of equal width over [0, 1]."""

    cells: Tensor
    """Cells in each bin, (bins,)."""
    confidence: Tensor
    """Sum of the confidences in each bin."""
    hits: Tensor
    """Correct cells in each bin."""

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(
            self.cells + other.cells, self.confidence + other.confidence, self.hits + other.hits
        )

    def calibration_error(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy over all cells."""
        gap = (self.confidence - self.hits).abs().sum() / self.cells.sum().clamp_min(1)
        return float(gap)


def reliability(probabilities: Tensor, labels: Tensor, *, bins: int = 15) -> Reliability:
    """Count the confidences and hits of class probabilities (B, N, h, w) on labels (B, h, w)."""
    confidence, winner = probabilities.max(dim=1)
    known = labels != IGNORE_ID
    confidence, hit = confidence[known].double(), (winner == labels)[known].double()
    index = (confidence * bins).long().clamp(0, bins - 1)

    def total(values: Tensor) -> Tensor:
        return torch.zeros(bins, dtype=torch.float64, device=values.device).index_add_(
            0, index, values
        )

    return Reliability(total(torch.ones_like(hit)), total(confidence), total(hit))


def effective_neighbours(affinity: Tensor) -> Tensor:
    """How many neighbours a cell listens to: (B, K^2, h, w) -> (B, h, w), from 1 to K^2.

    The exponential of the entropy of a row: as many as a box of equal weights would have.
    """
    entropy = -torch.xlogy(affinity, affinity).sum(dim=1)
    return entropy.exp()


def noise_variance(draws: Tensor) -> Tensor:
    """Mean over all cells and channels of the variance over draws (D, B, C, h, w); a scalar.

    For draws (0, 1) of a flow it is the variety of its samples; at (1, 1), where the noise says
    nothing of the map, it is an error, and 0 if nothing is wrong.
    """
    return draws.var(dim=0).mean()


def affinity_purity(affinity: Tensor, labels: Tensor, kernel: int, *, reach: int = 3) -> float:
    """Mean weight that cells near class borders give to neighbours of their own class.

    Args:
        affinity: (B, K^2, h, w), rows summing to one.
        labels: int64 (B, h, w) on the same grid, `IGNORE_ID` where unknown.
        kernel: Side K of the neighbourhood.
        reach: Cells within this distance of another class count as near.

    Returns:
        A share in [0, 1]; NaN if no cell lies near a border. A box filter scores about a half
        at straight borders.
    """
    height, width = labels.shape[-2:]
    padded = F.pad(labels.unsqueeze(1), (kernel // 2,) * 4, value=IGNORE_ID)
    own = torch.stack(
        [
            padded[:, 0, dy : dy + height, dx : dx + width] == labels
            for dy in range(kernel)
            for dx in range(kernel)
        ],
        dim=1,
    )  # (B, K^2, h, w)
    near = _near_other_class(labels, reach)
    share = (affinity * own).sum(dim=1)[near]
    return float(share.mean())


def _near_other_class(labels: Tensor, reach: int) -> Tensor:
    """Known cells (B, h, w) with a cell of another class within `reach` in rows and columns."""
    known = (labels != IGNORE_ID).unsqueeze(1)
    side = 2 * reach + 1
    largest = F.max_pool2d(labels.unsqueeze(1).where(known, -1).float(), side, 1, reach)
    smallest = -F.max_pool2d(-labels.unsqueeze(1).where(known, IGNORE_ID).float(), side, 1, reach)
    return (known & (largest != smallest))[:, 0]


def binned_means(values: Tensor, positions: Tensor, *, bins: int = 5) -> Tensor:
    """Mean of the values whose position in [0, 1] falls into each of equal bins; NaN if none."""
    index = (positions * bins).long().clamp(0, bins - 1)
    sums = torch.zeros(bins, device=values.device).index_add_(0, index, values.float())
    counts = torch.zeros(bins, device=values.device).index_add_(
        0, index, torch.ones_like(values, dtype=torch.float32)
    )
    return sums / counts


def tile_disagreement(first: Tensor, second: Tensor, valid: Tensor) -> float:
    """Mean absolute difference of what two tiles say of the cells they share.

    Args:
        first: (B, N, h, w), the overlap as one tile sees it.
        second: The same cells as the other tile sees them.
        valid: bool (B, 1, h, w), cells that count.
    """
    difference = (first - second).abs().mean(dim=1, keepdim=True)
    return float(difference[valid].mean())
