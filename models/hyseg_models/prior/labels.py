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
from hyseg_models.das.pyramid import MIN_VALID_SHARE


class LabelEmbedding(Protocol):
    """A map between class labels and the space the prior lives in, fixed while the prior learns.

    An encoder trained by the MeanFlow loss collapses, since a constant embedding makes the average
    velocity trivial (method 2.2).
    """

    channels: int
    """Of the embedding, C."""

    def encode(self, labels: Tensor, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embed a batch of label maps.

        Args:
            labels: int64 (B, H, W), class ids, or `IGNORE_ID` where there is no label.
            allowed: The classes that each label allows, as `pooled_shares` takes them.

        Returns:
            The embedding (B, C, H/s, W/s), zero in empty cells, and the weight of each cell
            (B, 1, H/s, W/s): the labelled share of its area, zero below a quarter.
        """
        ...

    def shares(self, embedded: Tensor) -> Tensor:
        """Estimated class shares of embedded cells, largest for the class, roughly in [0, 1]."""
        ...

    def embed(self, shares: Tensor) -> Tensor:
        """The inverse of `shares`."""
        ...


def decode(embedding: LabelEmbedding, embedded: Tensor, temperature: float | Tensor) -> Tensor:
    """Class probabilities (B, N, h, w): the tempered softmax of the estimated shares."""
    return torch.softmax(temperature * embedding.shares(embedded), dim=1)


def pooled_shares(
    labels: Tensor, classes: int, stride: int, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Share of each class in the labelled part of each cell, and that part's share of the cell.

    A label that allows several classes counts for all of them alike, and its pixels weigh as much
    as the label says, 1 - log(allowed) / log(N): all for one class, nothing for every class.

    Shapes: int64 (B, H, W), bool (K, N) -> (B, N, H/s, W/s), (B, 1, H/s, W/s).
    """
    known = labels != IGNORE_ID
    chosen = labels.where(known, 0)
    labelled = F.avg_pool2d(known.unsqueeze(1).float(), stride)
    weight = labelled.where(labelled >= MIN_VALID_SHARE, 0.0)
    if allowed is None:
        parts = F.one_hot(chosen, classes)
    else:
        count = allowed.sum(dim=1, keepdim=True)  # (K, 1)
        parts = (allowed / count)[chosen]
        clear = (1.0 - count.log() / math.log(classes))[chosen].permute(0, 3, 1, 2)
        clear = F.avg_pool2d(clear * known.unsqueeze(1), stride) / labelled.clamp_min(1e-6)
        weight = weight * clear
    counted = (parts.permute(0, 3, 1, 2) * known.unsqueeze(1)).float()  # (B, N, H, W)
    shares = F.avg_pool2d(counted, stride) / labelled.clamp_min(1e-6)
    return shares, weight


def definite(labels: Tensor, allowed: Tensor | None) -> Tensor:
    """The class of each pixel whose label allows one alone, `IGNORE_ID` elsewhere.

    Shapes: int64 (B, H, W), bool (K, N) -> int64 (B, H, W).
    """
    if allowed is None:
        return labels
    class_of = allowed.int().argmax(dim=1).where(allowed.sum(dim=1) == 1, IGNORE_ID)
    known = labels != IGNORE_ID
    return class_of[labels.where(known, 0)].where(known, IGNORE_ID)


class AnalogLabels:
    """Class shares, smoothed, centred and scaled (method 2.3).

        m = beta (N q - 1) / sqrt(N - 1)

    sums to zero over the classes and has root mean square beta for a hard label, whatever the
    number of classes N.
    """

    def __init__(self, classes: int, stride: int, beta: float, smooth: float) -> None:
        self.classes = self.channels = classes
        self.stride = stride
        self.smooth = smooth
        self.scale = beta / math.sqrt(classes - 1)

    def encode(self, labels: Tensor, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        shares, weight = pooled_shares(labels, self.classes, self.stride, allowed)
        smoothed = (1.0 - self.smooth) * shares + self.smooth / self.classes
        return self.embed(smoothed) * (weight > 0), weight

    def embed(self, shares: Tensor) -> Tensor:
        return self.scale * (self.classes * shares - 1.0)

    def shares(self, embedded: Tensor) -> Tensor:
        return (embedded / self.scale + 1.0) / self.classes


class DistanceLabels:
    """Signed distances to the border of each class, positive inside, cut at `REACH` cells.

    Smooth where a class share jumps: the network regresses geometry. Distances are measured on
    the prior grid from the most frequent class of each cell; unlabelled cells belong to no class,
    and a label that allows several counts as none: no border is known in it.

    Source: FlowSDF (Bogensperger et al. 2025), one distance map per class.
    """

    REACH = 8.0

    def __init__(self, classes: int, stride: int, beta: float) -> None:
        self.classes = self.channels = classes
        self.stride = stride
        self.beta = beta

    def encode(self, labels: Tensor, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        shares, weight = pooled_shares(definite(labels, allowed), self.classes, self.stride)
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
