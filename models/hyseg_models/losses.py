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
    allowed: Tensor | None = None,
    weights: Tensor | None = None,
    smoothing: float = 0.05,
    dice_smooth: float = 0.05,
) -> Tensor:
    """Label-smoothed cross-entropy plus multi-class Dice, plus 0.4 of the auxiliary entropy.

    A label may allow several classes, as "vegetation" does where the network knows trees and
    grass. Its entropy is the logarithm of the summed probability of these classes, so that
    splitting a class and allowing both parts costs what the whole class did. Dice is then counted
    for each label instead of each class, with the same sums, over the pixels whose own label
    decides whether they belong to it.

    Args:
        output: What the network returned.
        labels: int64 (B, H, W), `IGNORE_ID` where unknown; unknown pixels count nowhere.
        allowed: bool (K, N), the classes that each of the labels 0 to K-1 allows, at least one;
            None if labels are classes.
        weights: Weight (N,) of each class in both entropies; None for one. Dice, which counts
            classes and not pixels, has none.
        smoothing: Label smoothing of the cross-entropy.
        dice_smooth: Added to numerator and denominator of Dice.

    Returns:
        A scalar with gradient; zero if nothing is labelled.
    """
    loss = _cross_entropy(output.logits, labels, allowed, weights, smoothing)
    loss = loss + _dice_loss(output.logits, labels, allowed, dice_smooth)
    if output.aux is not None:
        loss = loss + AUX_WEIGHT * _cross_entropy(output.aux, labels, allowed, weights, smoothing)
    return loss


def _cross_entropy(
    logits: Tensor,
    labels: Tensor,
    allowed: Tensor | None,
    weights: Tensor | None,
    smoothing: float,
) -> Tensor:
    """Mean over the labelled pixels, weighted by their classes."""
    known = labels != IGNORE_ID
    if allowed is None:
        total = F.cross_entropy(
            logits.float(),
            labels,
            weight=weights,
            ignore_index=IGNORE_ID,
            label_smoothing=smoothing,
            reduction="sum",
        )
        counted = known if weights is None else known * weights[labels.where(known, 0)]
    else:
        weights = logits.new_ones(logits.shape[1]) if weights is None else weights
        label_weights = (allowed * weights).sum(dim=1) / allowed.sum(dim=1)  # (K,)
        counted = known * label_weights[labels.where(known, 0)]
        total = (_entropy_of_sets(logits, labels, allowed, weights, smoothing) * known).sum()
    return total / counted.sum().clamp_min(1e-6)


def _entropy_of_sets(
    logits: Tensor, labels: Tensor, allowed: Tensor, weights: Tensor, smoothing: float
) -> Tensor:
    """Label-smoothed entropy (B, H, W) of labels that allow sets of classes.

    The share of the smoothing that falls on allowed classes goes to their sum: how the network
    divides it among them costs nothing. With one class in each set this is the entropy of torch.
    """
    # (B, H, W, N) -> (B, N, H, W)
    inside = allowed[labels.where(labels != IGNORE_ID, 0)].permute(0, 3, 1, 2)
    cost = -logits.float().log_softmax(dim=1)
    of_set = -(-cost).masked_fill(~inside, -torch.inf).logsumexp(dim=1)
    weight = weights.view(1, -1, 1, 1)
    of_allowed = (inside * weight).sum(dim=1)
    within = (1.0 - smoothing) / inside.sum(dim=1) + smoothing / logits.shape[1]
    beyond = smoothing / logits.shape[1] * (cost * ~inside * weight).sum(dim=1)
    return within * of_allowed * of_set + beyond


def _dice_loss(logits: Tensor, labels: Tensor, allowed: Tensor | None, smooth: float) -> Tensor:
    """One minus Dice over the whole batch; absent labels add zero but count in the mean."""
    known = (labels != IGNORE_ID).unsqueeze(1)
    chosen = labels.where(known.squeeze(1), 0)
    probabilities = logits.float().softmax(dim=1)
    if allowed is None:
        probabilities = probabilities * known
        # One-hot (B, N, H, W), zero where unknown; integers would be converted at each use.
        target = torch.zeros_like(probabilities)
        target = target.scatter_(1, chosen.unsqueeze(1), known.to(target.dtype))
    else:
        probabilities = torch.einsum("bnhw,kn->bkhw", probabilities, allowed.float())
        # [j, k]: whether a pixel of label j belongs to label k, and whether j decides that.
        shared = (allowed.unsqueeze(1) & allowed.unsqueeze(0)).sum(dim=2)
        belongs = shared == allowed.sum(dim=1, keepdim=True)
        target = belongs[chosen].permute(0, 3, 1, 2) * known  # (B, K, H, W)
        decided = (belongs | (shared == 0))[chosen].permute(0, 3, 1, 2)
        probabilities = probabilities * (decided & known)
    both = (probabilities * target).sum(dim=(0, 2, 3))
    sizes = probabilities.sum(dim=(0, 2, 3)) + target.sum(dim=(0, 2, 3))
    dice = (2.0 * both + smooth) / (sizes + smooth)
    present = target.sum(dim=(0, 2, 3)) > 0
    return torch.where(present, 1.0 - dice, 0.0).mean()
