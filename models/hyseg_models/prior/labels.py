"""E_M: label maps as points of a Euclidean space, and back to class probabilities."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from hyseg_models.config.config import IGNORE_ID
from hyseg_models.config.prior_config import PriorConfig
from hyseg_models.das.pyramid import MIN_VALID_SHARE


class LabelEmbedding(Protocol):
    """A fixed map between class labels and the space the prior lives in.

    Nothing in it is learned: an encoder trained by the MeanFlow loss collapses, since a
    constant embedding makes the average velocity trivial (method 2.2).
    """

    def encode(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Embed a batch of label maps.

        Args:
            labels: int64 (B, H, W), class ids, or `IGNORE_ID` where there is no label.

        Returns:
            The embedding (B, N, H/s, W/s), zero in empty cells, and the weight of each cell
            (B, 1, H/s, W/s): the labelled share of its area, zero below a quarter.
        """
        ...

    def shares(self, embedded: Tensor) -> Tensor:
        """Estimated class shares of embedded cells, largest for the class, roughly in [0, 1]."""
        ...

    def embed(self, shares: Tensor) -> Tensor:
        """The inverse of `shares`."""
        ...


def make_embedding(classes: int, config: PriorConfig) -> LabelEmbedding:
    """The label embedding that a configuration names."""
    if config.embed == "sdf":
        return DistanceLabels(classes, config.stride, config.beta)
    return AnalogLabels(classes, config.stride, config.beta, config.smooth)


def decode(embedding: LabelEmbedding, embedded: Tensor, temperature: float | Tensor) -> Tensor:
    """Class probabilities (B, N, h, w): the tempered softmax of the estimated shares."""
    return torch.softmax(temperature * embedding.shares(embedded), dim=1)


def pooled_shares(labels: Tensor, classes: int, stride: int) -> tuple[Tensor, Tensor]:
    """Share of each class in the labelled part of each cell, and that part's share of the cell.

    Shapes: int64 (B, H, W) -> (B, N, H/s, W/s), (B, 1, H/s, W/s).
    """
    known = labels != IGNORE_ID
    one_hot = F.one_hot(labels.where(known, 0), classes).permute(0, 3, 1, 2)
    counted = (one_hot * known.unsqueeze(1)).float()  # (B, N, H, W)
    labelled = F.avg_pool2d(known.unsqueeze(1).float(), stride)
    shares = F.avg_pool2d(counted, stride) / labelled.clamp_min(1e-6)
    return shares, labelled.where(labelled >= MIN_VALID_SHARE, 0.0)


class AnalogLabels:
    """Class shares, smoothed, centred and scaled (method 2.3).

        m = beta (N q - 1) / sqrt(N - 1)

    sums to zero over the classes and has root mean square beta for a hard label, whatever the
    number of classes N.
    """

    def __init__(self, classes: int, stride: int, beta: float, smooth: float) -> None:
        self.classes = classes
        self.stride = stride
        self.smooth = smooth
        self.scale = beta / math.sqrt(classes - 1)

    def encode(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        shares, weight = pooled_shares(labels, self.classes, self.stride)
        smoothed = (1.0 - self.smooth) * shares + self.smooth / self.classes
        return self.embed(smoothed) * (weight > 0), weight

    def embed(self, shares: Tensor) -> Tensor:
        return self.scale * (self.classes * shares - 1.0)

    def shares(self, embedded: Tensor) -> Tensor:
        return (embedded / self.scale + 1.0) / self.classes


class DistanceLabels:
    """Signed distances to the border of each class, positive inside, cut at `REACH` cells.

    Smooth where a class share jumps: the network regresses geometry. Distances are measured on
    the prior grid from the most frequent class of each cell; unlabelled cells belong to no class.

    Source: FlowSDF (Bogensperger et al. 2025), one distance map per class.
    """

    REACH = 8.0

    def __init__(self, classes: int, stride: int, beta: float) -> None:
        self.classes = classes
        self.stride = stride
        self.beta = beta

    def encode(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        shares, weight = pooled_shares(labels, self.classes, self.stride)
        winner = shares.argmax(dim=1).where(weight[:, 0] > 0, -1).cpu().numpy()
        channels = [
            np.stack([_signed_distance(one == label) for label in range(self.classes)])
            for one in winner
        ]
        distances = torch.from_numpy(np.stack(channels)).to(labels.device, torch.float32)
        cut = (distances / self.REACH).clamp(-1.0, 1.0)
        return self.beta * cut * (weight > 0), weight

    def embed(self, shares: Tensor) -> Tensor:
        return self.beta * (2.0 * shares - 1.0)

    def shares(self, embedded: Tensor) -> Tensor:
        return (embedded / self.beta + 1.0) / 2.0


def _signed_distance(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Cells to the border of a region, positive inside; halves, as borders lie between cells."""
    if inside.all() or not inside.any():
        far = float(sum(inside.shape))
        return np.full(inside.shape, far if inside.any() else -far)
    distance: npt.NDArray[np.float64] = np.where(
        inside, distance_transform_edt(inside) - 0.5, 0.5 - distance_transform_edt(~inside)
    )
    return distance
