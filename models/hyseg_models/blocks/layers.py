"""Small layers and initialisations that several modules share."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn

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


def in_single(like: Tensor) -> AbstractContextManager[object]:
    """A context without autocast on the device of a tensor: what runs in it keeps its type."""
    if like.device.type == "meta":  # shapes only, as when costs are counted
        return nullcontext()
    return torch.autocast(like.device.type, enabled=False)


def in_full(classify: nn.Sequential, x: Tensor) -> Tensor:
    """Class scores, the last layer in single precision whatever the autocast type.

    In bfloat16 a score has three digits, and classes that are close would tie.
    """
    x = classify[:-1](x)
    with in_single(x):
        scores: Tensor = classify[-1](x.float())
        return scores


def conv_norm_act(inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    """Convolution (of unchanged size at stride 1), BatchNorm, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


def separable_conv(
    inputs: int, outputs: int, kernel: int, *, padding: int = 0, dilation: int = 1
) -> nn.Sequential:
    """Depthwise k x k convolution, BatchNorm, pointwise convolution."""
    return nn.Sequential(
        nn.Conv2d(
            inputs, inputs, kernel, padding=padding, dilation=dilation, groups=inputs, bias=False
        ),
        nn.BatchNorm2d(inputs),
        nn.Conv2d(inputs, outputs, 1, bias=False),
    )


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, to (height, width)."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def size_of(x: Tensor) -> tuple[int, int]:
    """Height and width of a map."""
    return x.shape[-2], x.shape[-1]


def split_windows(x: Tensor, side: int) -> Tensor:
    """Windows of a map, as sequences: (B, C, H, W) -> (B * windows, C, side * side).

    A height or width that is not a multiple of the side is padded with the edge value.
    """
    padded = F.pad(x, (0, -x.shape[-1] % side, 0, -x.shape[-2] % side), mode="replicate")
    batch, channels, height, width = padded.shape
    tiles = padded.view(batch, channels, height // side, side, width // side, side)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, side * side)


def merge_windows(windows: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """The inverse of `split_windows` for a map of `size` (height, width)."""
    height, width = size
    rows, columns = -(-height // side), -(-width // side)
    channels = windows.shape[1]
    tiles = windows.view(-1, rows, columns, channels, side, side).permute(0, 3, 1, 4, 2, 5)
    return tiles.reshape(-1, channels, rows * side, columns * side)[:, :, :height, :width]
