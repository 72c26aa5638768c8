"""LSKNet: a backbone whose receptive field is chosen place by place among large kernels.

Source: Li et al. 2023, Large Selective Kernel Network for Remote Sensing Object Detection;
written from the paper's description.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.layers import DropPath, LayerNorm2d
from torch import Tensor, nn


@dataclass(frozen=True)
class LSKNetSize:
    """Width and depth of the four stages."""

    channels: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]


LSKNET_SIZES = {
    "lsknet_t": LSKNetSize((32, 64, 160, 256), (3, 3, 5, 2)),
    "lsknet_s": LSKNetSize((64, 128, 320, 512), (2, 2, 4, 2)),
}
MLP_RATIOS = (8, 8, 4, 4)
LAYER_SCALE = 1e-2


class LSKNet(nn.Module):
    """Image (B, bands, H, W) -> four maps at strides 4, 8, 16 and 32; H, W multiples of 32."""

    def __init__(self, name: str, bands: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        size = LSKNET_SIZES[name]
        self.channels = size.channels
        blocks = sum(size.depths)
        rates = [drop_path * i / (blocks - 1) for i in range(blocks)]
        inputs = bands
        self.stages = nn.ModuleList()
        for stage, (width, depth) in enumerate(zip(size.channels, size.depths, strict=True)):
            kernel, stride = (7, 4) if stage == 0 else (3, 2)
            here = sum(size.depths[:stage])
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(inputs, width, kernel, stride=stride, padding=kernel // 2),
                    nn.BatchNorm2d(width),
                    *(LSKBlock(width, MLP_RATIOS[stage], rates[here + i]) for i in range(depth)),
                    LayerNorm2d(width),
                )
            )
            inputs = width

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = []
        x = image
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class LSKBlock(nn.Module):
    """Selective-kernel attention, then an MLP with a depthwise convolution; both residual."""

    def __init__(self, dim: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.BatchNorm2d(dim), _Attention(dim))
        hidden = dim * mlp_ratio
        self.mlp = nn.Sequential(
            nn.BatchNorm2d(dim),
            nn.Conv2d(dim, hidden, 1),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.GELU(),
            nn.Conv2d(hidden, dim, 1),
        )
        self.attention_scale = nn.Parameter(torch.full((dim, 1, 1), LAYER_SCALE))
        self.mlp_scale = nn.Parameter(torch.full((dim, 1, 1), LAYER_SCALE))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attention_scale * self.attention(x))
        out: Tensor = x + self.drop_path(self.mlp_scale * self.mlp(x))
        return out


class _Attention(nn.Module):
    """Pointwise, GELU, selective kernel, pointwise; with a residual of its own."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(dim, dim, 1), nn.GELU(), SelectiveKernel(dim), nn.Conv2d(dim, dim, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class SelectiveKernel(nn.Module):
    """Two receptive fields, 5 and then 23 pixels wide, mixed by gates that vary over the place.

    Shapes: (B, C, h, w) -> the same.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        self.small = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.large = nn.Conv2d(dim, dim, 7, padding=9, dilation=3, groups=dim)
        self.squeeze_small = nn.Conv2d(dim, half, 1)
        self.squeeze_large = nn.Conv2d(dim, half, 1)
        self.gates = nn.Conv2d(2, 2, 7, padding=3)
        self.expand = nn.Conv2d(half, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        near = self.small(x)
        far = self.large(near)
        near, far = self.squeeze_small(near), self.squeeze_large(far)
        both = torch.cat([near, far], dim=1)
        summary = torch.cat([both.mean(dim=1, keepdim=True), both.amax(dim=1, keepdim=True)], dim=1)
        gate = self.gates(summary).sigmoid()  # (B, 2, h, w)
        mixed = near * gate[:, :1] + far * gate[:, 1:]
        out: Tensor = x * self.expand(mixed)
        return out
