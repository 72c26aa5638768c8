"""E_M: label maps as points of a Euclidean space, and back to class probabilities."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hyseg_models.config import IGNORE_ID
from hyseg_models.pyramid import MIN_VALID_SHARE


class AnalogLabels:
    """Fixed embedding of label maps (method 2.3); nothing in it is learned.

    A learned encoder trained by the MeanFlow loss collapses: a constant embedding makes the
    average velocity trivial. Class shares q of a cell are smoothed, centred and scaled,

        m = beta (N q - 1) / sqrt(N - 1),

    which sums to zero over the classes and has root mean square beta for a hard label,
    whatever the number of classes N.
    """

    def __init__(self, classes: int, stride: int, beta: float, smooth: float) -> None:
        self.classes = classes
        self.stride = stride
        self.beta = beta
        self.smooth = smooth

    def encode(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Embed a batch of label maps.

        Args:
            labels: int64 (B, H, W), class ids, or `IGNORE_ID` where there is no label.

        Returns:
            The embedding (B, N, H/s, W/s), zero in empty cells, and the weight of each cell
            (B, 1, H/s, W/s): the labelled share of its area, zero below a quarter.
        """
        known = labels != IGNORE_ID
        one_hot = F.one_hot(labels.where(known, 0), self.classes).permute(0, 3, 1, 2)
        counted = (one_hot * known.unsqueeze(1)).float()  # (B, N, H, W)
        share = F.avg_pool2d(known.unsqueeze(1).float(), self.stride)
        probabilities = F.avg_pool2d(counted, self.stride) / share.clamp_min(1e-6)
        weight = share.where(share >= MIN_VALID_SHARE, 0.0)
        smoothed = (1.0 - self.smooth) * probabilities + self.smooth / self.classes
        return self.embed(smoothed) * (weight > 0), weight

    def embed(self, probabilities: Tensor) -> Tensor:
        """Class probabilities (B, N, h, w) as points of the label space."""
        scale = self.beta / math.sqrt(self.classes - 1)
        return scale * (self.classes * probabilities - 1.0)

    def shares(self, embedded: Tensor) -> Tensor:
        """The inverse of `embed`: estimated class shares, not yet confined to [0, 1]."""
        scale = self.beta / math.sqrt(self.classes - 1)
        return (embedded / scale + 1.0) / self.classes

    def decode(self, embedded: Tensor, temperature: float | Tensor) -> Tensor:
        """Class probabilities (B, N, h, w): the tempered softmax of the estimated shares."""
        return torch.softmax(temperature * self.shares(embedded), dim=1)
