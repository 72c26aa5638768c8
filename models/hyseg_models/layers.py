"""Small layers and initialisations that several modules share."""

from __future__ import annotations

from typing import TypeVar

from timm.layers import LayerNorm2d
from torch import nn

_Layer = TypeVar("_Layer", bound=nn.Module)


def norm2d(kind: str, channels: int) -> nn.Module:
    """`layer2d`: over the channels of one cell; `group`: over groups of channels and all cells."""
    if kind == "layer2d":
        norm: nn.Module = LayerNorm2d(channels)
        return norm
    groups = next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def zeroed(layer: _Layer) -> _Layer:
    """The layer with all of its parameters at zero: a residual branch that starts silent."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
