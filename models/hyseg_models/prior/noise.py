"""Noise keyed by absolute position: the same place draws the same noise, whatever the tile.

The prior starts from Gaussian noise. If every tile drew its own, overlapping tiles would
disagree and seams would return; so each value is a hash of (seed, channel, row, column) on
the grid of the scene, turned into a normal deviate by the cosine Box-Muller transform.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# The constants of the splitmix64 generator (Steele, Lea, Flood 2014), as signed 64-bit integers.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_A = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_B = 0x94D049BB133111EB - (1 << 64)


def position_noise(origin: Tensor, channels: int, height: int, width: int, seed: int) -> Tensor:
    """Standard normal noise of windows of one infinite, seeded field.

    Args:
        origin: int64 (B, 2), row and column of each window's first cell on the noise grid;
            negative values are allowed.
        channels: Channels C.
        height: Rows of each window, in cells.
        width: Columns of each window, in cells.
        seed: Any integer; another seed is another field.

    Returns:
        float32 (B, C, height, width) on the device of `origin`. Two windows hold the same
        values wherever they overlap.
    """
    device = origin.device
    channel = torch.arange(channels, device=device).view(1, -1, 1, 1)
    row = torch.arange(height, device=device).view(1, 1, -1, 1) + origin[:, 0].view(-1, 1, 1, 1)
    column = torch.arange(width, device=device).view(1, 1, 1, -1) + origin[:, 1].view(-1, 1, 1, 1)
    key = _mix(torch.full((), seed, dtype=torch.int64, device=device))
    key = _mix(key ^ channel)
    key = _mix(key ^ row)
    key = _mix(key ^ column)  # (B, C, height, width)
    radius = torch.sqrt(-2.0 * torch.log(_uniform(_mix(key + 1))))
    return (radius * torch.cos(2.0 * math.pi * _uniform(_mix(key + 2)))).float()


def _mix(value: Tensor) -> Tensor:
    """The splitmix64 step and finaliser; int64 arithmetic wraps around."""
    value = value + _GOLDEN
    value = (value ^ _shift_right(value, 30)) * _MIX_A
    value = (value ^ _shift_right(value, 27)) * _MIX_B
    return value ^ _shift_right(value, 31)


def _shift_right(value: Tensor, bits: int) -> Tensor:
    # torch shifts signed integers arithmetically: mask the copies of the sign bit away.
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _uniform(value: Tensor) -> Tensor:
    """float64 in the open interval (0, 1), from the upper 53 bits."""
    return (_shift_right(value, 11).double() + 0.5) * 2.0**-53
