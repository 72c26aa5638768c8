"""What the prior does inside a trained network, level by level.

A network that trains well may have learned not to listen: an affinity that is nearly the mean of
all neighbours, messages that are small beside the features, messages that another prior would
not change. These readings say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hyseg_models.blocks.neighbourhood import neighbour_validity
from hyseg_models.config.config import IGNORE_ID
from hyseg_models.das.das import DAS, AffinityMessage
from hyseg_models.das.pyramid import Guide
from hyseg_models.prior.diagnostics import affinity_purity, effective_neighbours
from hyseg_models.prior.labels import pooled_shares

BORDER = 1
"""Cells this near to one of another class lie at a true border."""


@dataclass(frozen=True)
class LevelReading:
    """What one batch says of one level; shares are relative to the features that come in."""

    stride: int
    """Image pixels per cell."""
    neighbours: float
    """Neighbours that a cell listens to (`diagnostics.effective_neighbours`)."""
    neighbours_box: float
    """The same if all valid neighbours counted alike."""
    purity: float
    """Weight that goes to the own class at true borders (`diagnostics.affinity_purity`)."""
    purity_box: float
    """The same if all valid neighbours counted alike."""
    purity_labels: float
    """The same if the prior were the labels; NaN if it has no classes."""
    message: float
    """Root mean square of the messages, over that of the features."""
    attention: float
    """Root mean square of the attention, over that of the features."""
    message_of_prior: float
    """Share of the messages that a flat prior would not give: RMS of the difference over RMS."""


@contextmanager
def listening(network: nn.Module) -> Iterator[list[tuple[DAS, Tensor, Guide]]]:
    """While it is open, whatever enters a DAS block is kept, the last call last."""
    heard: list[tuple[DAS, Tensor, Guide]] = []

    def keep(block: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(block, DAS):
            heard.append((block, *inputs))

    handles = [
        block.register_forward_pre_hook(keep)
        for block in network.modules()
        if isinstance(block, DAS)
    ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def read_level(block: DAS, features: Tensor, guide: Guide, labels: Tensor) -> LevelReading | None:
    """The reading of one level.

    Args:
        block: In evaluation mode.
        features: What enters it, (B, D, h, w).
        guide: Its guidance.
        labels: int64 (B, H, W) of the image, 255 where unknown or beyond its edge.

    Returns:
        None if the block passes no messages along the affinity of a prior.
    """
    message = block.message
    if not isinstance(message, AffinityMessage) or message.config.source != "prior":
        return None
    config, stride = message.config, labels.shape[-1] // features.shape[-1]
    classes = guide.prior.shape[1]
    heard = block.heard(features, guide)
    flat = replace(guide, prior=torch.full_like(guide.prior, 1.0 / classes))
    size = _rms(features)
    winner, shares = _pooled(labels, stride)
    affinity = message.affinity(features, guide)[:, : config.kernel**2]
    counted = neighbour_validity(guide.valid, config.kernel).float()
    box = counted / counted.sum(dim=1, keepdim=True)
    known = guide.valid[:, 0]
    purity_labels = torch.nan
    if shares.shape[1] <= classes and config.sigma_scope != "group":
        padded = nn.functional.pad(shares, (0, 0, 0, 0, 0, classes - shares.shape[1]))
        of_labels = message.affinity(features, replace(guide, prior=padded))
        purity_labels = _purity(of_labels[:, : config.kernel**2], winner, config.kernel)
    return LevelReading(
        stride,
        _mean(effective_neighbours(affinity), known, config.groups),
        _mean(counted.sum(dim=1), known, 1),
        _purity(affinity, winner, config.kernel),
        _purity(box, winner, config.kernel),
        purity_labels,
        _rms(heard) / size,
        _rms(block.attended(features + heard, guide)) / size,
        _rms(heard - block.heard(features, flat)) / max(_rms(heard), 1e-12),
    )


def _pooled(labels: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Most frequent class of each cell (B, h, w), and the shares of all (B, N, h, w)."""
    known = labels[labels != IGNORE_ID]
    classes = int(known.max()) + 1 if known.numel() else 1
    shares, weight = pooled_shares(labels, classes, stride)
    winner = shares.argmax(dim=1).where(weight[:, 0] > 0, IGNORE_ID)
    return winner, torch.where(weight > 0, shares, 1.0 / classes)


def _purity(affinity: Tensor, winner: Tensor, kernel: int) -> float:
    groups = len(affinity) // len(winner)
    whole = affinity / affinity.sum(dim=1, keepdim=True)
    winner = winner.repeat_interleave(groups, dim=0)
    return affinity_purity(whole, winner, kernel, reach=BORDER)


def _mean(values: Tensor, known: Tensor, groups: int) -> float:
    return float(values[known.repeat_interleave(groups, dim=0)].mean())


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())
