"""The eight symmetries of the square.

They are sums of 1 (left and right are swapped), 2 (top and bottom) and 4 (then rows and columns).
"""

from __future__ import annotations

from torch import Tensor

SYMMETRIES = range(8)


def turned(x: Tensor, symmetry: int) -> Tensor:
    """An array (..., H, W) put through a symmetry."""
    if symmetry & 1:
        x = x.flip(-1)
    if symmetry & 2:
        x = x.flip(-2)
    return x.transpose(-1, -2) if symmetry & 4 else x


def turned_back(x: Tensor, symmetry: int) -> Tensor:
    """The array that `turned` was given."""
    if symmetry & 4:
        x = x.transpose(-1, -2)
    if symmetry & 2:
        x = x.flip(-2)
    return x.flip(-1) if symmetry & 1 else x
