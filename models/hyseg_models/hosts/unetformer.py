"""UNetFormer: a convolutional encoder and a decoder of global-local transformer blocks.

Source: Wang et al. 2022, UNetFormer (ISPRS Journal 190); written from the paper's description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from hyseg_models.blocks.layers import (
    conv_norm_act,
    in_full,
    merge_windows,
    separable_conv,
    size_of,
    split_windows,
    upsample,
)
from hyseg_models.das.das import DAS
from hyseg_models.das.pyramid import Guide
from hyseg_models.hosts import Decoded


class UNetFormerDecoder(nn.Module):
    """Pyramid of strides 4, 8, 16, 32 -> class logits at full resolution.

    At each of the strides 32, 16 and 8 stands a context block: the global-local transformer
    block of the paper, DAS in its place, or DAS after it.

    Args:
        channels: Channels of the pyramid, finest first.
        classes: Classes N.
        dim: Decoder channels D.
        das: DAS blocks by stride; empty for the bare host.
        keep_context: Keep the transformer blocks where DAS stands.
        dropout: Rate before the classifier.
        extras: Add what the published HySeg code has beyond UNetFormer: strided connections
            down the encoder, channel gates and a channel shuffle in the refinement.
    """

    strides = (32, 16, 8)

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        dim: int,
        das: Mapping[int, DAS],
        *,
        keep_context: bool,
        dropout: float,
        extras: bool = False,
    ) -> None:
        super().__init__()
        self.descend = DownConnections(channels) if extras else nn.Identity()
        self.enter = nn.Sequential(nn.Conv2d(channels[3], dim, 1, bias=False), nn.BatchNorm2d(dim))
        self.context = nn.ModuleDict(
            {
                str(stride): GlobalLocalBlock(dim)
                for stride in self.strides
                if keep_context or stride not in das
            }
        )
        self.das = nn.ModuleDict({str(stride): block for stride, block in das.items()})
        self.fuse = nn.ModuleDict(
            {
                "16": WeightedFusion(channels[2], dim),
                "8": WeightedFusion(channels[1], dim),
            }
        )
        self.refine = Refinement(channels[0], dim, extras=extras)
        self.classify = nn.Sequential(
            conv_norm_act(dim, dim, 3), nn.Dropout2d(dropout), nn.Conv2d(dim, classes, 1)
        )
        self.aux = nn.Sequential(
            conv_norm_act(dim, dim, 3), nn.Dropout(dropout), nn.Conv2d(dim, classes, 1)
        )

    def forward(
        self, pyramid: Sequence[Tensor], guides: Mapping[int, Guide], size: tuple[int, int]
    ) -> Decoded:
        fine, at8, at16, at32 = self.descend(pyramid)
        y32 = self._contextualise(self.enter(at32), 32, guides)
        y16 = self._contextualise(self.fuse["16"](y32, at16), 16, guides)
        y8 = self._contextualise(self.fuse["8"](y16, at8), 8, guides)
        logits = upsample(in_full(self.classify, self.refine(y8, fine)), size)
        if not self.training:
            return Decoded(logits, None)
        deep = upsample(y32, size_of(y8)) + upsample(y16, size_of(y8)) + y8
        return Decoded(logits, upsample(in_full(self.aux, deep), size))

    def _contextualise(self, y: Tensor, stride: int, guides: Mapping[int, Guide]) -> Tensor:
        key = str(stride)
        if key in self.context:
            y = self.context[key](y)
        if key in self.das:
            y = self.das[key](y, guides[stride])
        return y


class WeightedFusion(nn.Module):
    """Coarse features, doubled in size, plus a projected encoder map, in learned proportions.

    Shapes: coarse (B, D, h/2, w/2), lateral (B, C, h, w) -> (B, D, h, w).
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(channels, dim, 1, bias=False)
        self.shares = nn.Parameter(torch.ones(2))
        self.smooth = conv_norm_act(dim, dim, 3)

    def forward(self, coarse: Tensor, lateral: Tensor) -> Tensor:
        shares = torch.relu(self.shares)
        shares = shares / (shares.sum() + 1e-8)
        coarse = upsample(coarse, size_of(lateral))
        out: Tensor = self.smooth(shares[0] * self.lateral(lateral) + shares[1] * coarse)
        return out


class GlobalLocalBlock(nn.Module):
    """Window attention beside a convolutional branch, then an MLP; both residual.

    Shapes: (B, D, h, w) -> the same.
    """

    def __init__(
        self, dim: int, *, window: int = 8, heads: int = 8, drop_path: float = 0.1
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(dim)
        self.local3, self.local1 = (
            nn.Sequential(
                nn.Conv2d(dim, dim, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(dim)
            )
            for kernel in (3, 1)
        )
        self.attention = WindowAttention(dim, window, heads)
        self.window = window
        self.project = separable_conv(dim, dim, window)
        self.mlp_norm = nn.BatchNorm2d(dim)
        self.mlp = nn.Sequential(nn.Conv2d(dim, 4 * dim, 1), nn.ReLU6(), nn.Conv2d(4 * dim, dim, 1))
        self.drop_path = DropPath(drop_path)

    def forward(self, y: Tensor) -> Tensor:
        y = y + self.drop_path(self._mix(self.norm(y)))
        out: Tensor = y + self.drop_path(self.mlp(self.mlp_norm(y)))
        return out

    def _mix(self, y: Tensor) -> Tensor:
        local = self.local3(y) + self.local1(y)
        attended = self.attention(y)
        # Averages along columns and rows carry what one window knows into its neighbours.
        before, after = (self.window - 1) // 2, self.window // 2
        along_rows = F.pad(attended, (0, 0, before, after), mode="replicate")
        along_columns = F.pad(attended, (before, after, 0, 0), mode="replicate")
        crossed = F.avg_pool2d(along_rows, (self.window, 1), stride=1) + F.avg_pool2d(
            along_columns, (1, self.window), stride=1
        )
        mixed = F.pad(crossed + local, (before, after, before, after), mode="replicate")
        out: Tensor = self.project(mixed)
        return out


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, with a learned bias per relative position.

    Shapes: (B, D, h, w) -> the same; sizes that are not a multiple of the window are padded.
    """

    def __init__(self, dim: int, window: int, heads: int) -> None:
        super().__init__()
        self.window = window
        self.heads = heads
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        self.relative: Tensor
        self.register_buffer("relative", _relative_positions(window), persistent=False)

    def forward(self, y: Tensor) -> Tensor:
        windows = split_windows(self.qkv(y), self.window)  # (B * windows, 3 D, cells)
        count, triple, cells = windows.shape
        parts = windows.view(count, 3, self.heads, -1, cells).transpose(-1, -2)
        query, key, value = parts.unbind(1)  # (B * windows, heads, cells, d)
        bias = self.bias[self.relative].permute(2, 0, 1)  # (heads, cells, cells)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        attended = attended.transpose(-1, -2).reshape(count, triple // 3, cells)
        return merge_windows(attended, self.window, size_of(y))


def _relative_positions(window: int) -> Tensor:
    """Index into the bias table for each pair of cells of a window: int64 (w * w, w * w)."""
    cell = torch.stack(
        torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    ).flatten(1)
    offset = cell[:, :, None] - cell[:, None, :] + window - 1
    return offset[0] * (2 * window - 1) + offset[1]


class ChannelGate(nn.Module):
    """Channels weighted by what the whole map holds of them: (B, C, h, w) -> the same."""

    def __init__(self, dim: int, *, reduction: int = 16) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(dim, dim // reduction, 1, bias=False),
            nn.ReLU6(),
            nn.Conv2d(dim // reduction, dim, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.gate(x)
        return out


class DownConnections(nn.Module):
    """Each level of the pyramid plus a strided convolution of the finer one before it.

    Shapes: maps at strides 4, 8, 16, 32 -> the same.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            conv_norm_act(fine, coarse, 3, stride=2) for fine, coarse in pairwise(channels)
        )

    def forward(self, pyramid: Sequence[Tensor]) -> list[Tensor]:
        levels = [pyramid[0]]
        for down, level in zip(self.down, pyramid[1:], strict=True):
            levels.append(level + down(levels[-1]))
        return levels


class Refinement(nn.Module):
    """Fusion with the finest map, then gates over places and over channels, summed.

    Shapes: coarse (B, D, h/2, w/2), fine (B, C, h, w) -> (B, D, h, w).
    """

    def __init__(self, channels: int, dim: int, *, extras: bool) -> None:
        super().__init__()
        self.fuse = WeightedFusion(channels, dim)
        self.shuffle = (
            nn.Sequential(ChannelGate(dim), nn.ChannelShuffle(4), ChannelGate(dim))
            if extras
            else nn.Identity()
        )
        self.place_gate = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.Sigmoid())
        self.channel_gate = ChannelGate(dim)
        self.shortcut = nn.Sequential(nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim))
        self.project = nn.Sequential(
            nn.ReplicationPad2d(1), separable_conv(dim, dim, 3), nn.BatchNorm2d(dim)
        )

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        x = self.shuffle(self.fuse(coarse, fine))
        gated = x * self.place_gate(x) + self.channel_gate(x)
        return F.relu6(self.project(gated) + self.shortcut(x))
