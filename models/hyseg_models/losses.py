"""The segmentation loss of stage 2."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hyseg_models.config.config import IGNORE_ID
from hyseg_models.hyseg import HySegOutput

AUX_WEIGHT = 0.4


def segmentation_loss(
    output: HySegOutput,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    smoothing: float = 0.05,
    dice_smooth: float = 0.05,
) -> Tensor:
    """Label-smoothed cross-entropy plus multi-class Dice, plus 0.4 of the auxiliary entropy.

    Args:
        output: What the network returned.
        labels: int64 (B, H, W), `IGNORE_ID` where unknown; unknown pixels count nowhere.
        weights: Weight (N,) of each class in both entropies; None for one. Dice, which counts
            classes and not pixels, has none.
        smoothing: Label smoothing of the cross-entropy.
        dice_smooth: Added to numerator and denominator of Dice.

    Returns:
        A scalar with gradient; zero if nothing is labelled.
    """
    loss = _cross_entropy(output.logits, labels, weights, smoothing)
    loss = loss + _dice_loss(output.logits, labels, dice_smooth)
    if output.aux is not None:
        loss = loss + AUX_WEIGHT * _cross_entropy(output.aux, labels, weights, smoothing)
    return loss


def _cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float
) -> Tensor:
    """Mean over the labelled pixels, weighted by their classes."""
    total = F.cross_entropy(
        logits.float(),
        labels,
        weight=weights,
        ignore_index=IGNORE_ID,
        label_smoothing=smoothing,
        reduction="sum",
    )
    known = labels != IGNORE_ID
    counted = known if weights is None else known * weights[labels.where(known, 0)]
    return total / counted.sum().clamp_min(1e-6)


def _dice_loss(logits: Tensor, labels: Tensor, smooth: float) -> Tensor:
    """One minus Dice over the whole batch; absent classes add zero but count in the mean."""
    known = (labels != IGNORE_ID).unsqueeze(1)
    probabilities = logits.float().softmax(dim=1) * known
    target = F.one_hot(labels.where(known.squeeze(1), 0), logits.shape[1])
    target = target.permute(0, 3, 1, 2) * known  # (B, N, H, W)
    both = (probabilities * target).sum(dim=(0, 2, 3))
    sizes = probabilities.sum(dim=(0, 2, 3)) + target.sum(dim=(0, 2, 3))
    dice = (2.0 * both + smooth) / (sizes + smooth)
    present = target.sum(dim=(0, 2, 3)) > 0
    return torch.where(present, 1.0 - dice, 0.0).mean()
