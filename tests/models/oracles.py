"""Slow, obvious versions of what the models compute fast."""

from __future__ import annotations

import torch.nn.functional as F


def unfold_neighbours(values, kernel, dilation=1):
    """All neighbours of each cell: (B, C, K^2, H, W), zeros outside."""
    batch, channels, height, width = values.shape
    padding = kernel // 2 * dilation
    columns = F.unfold(values, kernel, padding=padding, dilation=dilation)
    return columns.view(batch, channels, kernel * kernel, height, width)


def aggregate(values, weights, kernel, dilation=1):
    return (unfold_neighbours(values, kernel, dilation) * weights.unsqueeze(1)).sum(dim=2)


def neighbour_distances(values, kernel, dilation=1):
    difference = values.unsqueeze(2) - unfold_neighbours(values, kernel, dilation)
    return difference.square().sum(dim=1)
