"""UNetFormer: a convolutional encoder and a decoder of global-local transformer blocks.

Source: Wang et al. 2022, UNetFormer (ISPRS Journal 190); written from the paper's description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from hyseg_models.das import DAS
from hyseg_models.pyramid import Guide


@dataclass(frozen=True)
class Decoded:
    """What a decoder gives back."""

    logits: Tensor
    """(B, N, H, W)."""
    aux: Tensor | None
    """Logits of the auxiliary head (B, N, H, W), in training only."""


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
    ) -> None:
        super().__init__()
        fine = channels[0]
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
        self.refine = Refinement(fine, dim)
        self.classify = nn.Sequential(
            conv_norm_act(dim, dim, 3), nn.Dropout2d(dropout), nn.Conv2d(dim, classes, 1)
        )
        self.aux = nn.Sequential(
            conv_norm_act(dim, dim, 3), nn.Dropout(dropout), nn.Conv2d(dim, classes, 1)
        )

    def forward(
        self, pyramid: Sequence[Tensor], guides: Mapping[int, Guide], size: torch.Size
    ) -> Decoded:
        fine, at8, at16, at32 = pyramid
        y32 = self._contextualise(self.enter(at32), 32, guides)
        y16 = self._contextualise(self.fuse["16"](y32, at16), 16, guides)
        y8 = self._contextualise(self.fuse["8"](y16, at8), 8, guides)
        logits = _upsample(self.classify(self.refine(y8, fine)), size)
        if not self.training:
            return Decoded(logits, None)
        deep = _upsample(y32, y8.shape[-2:]) + _upsample(y16, y8.shape[-2:]) + y8
        return Decoded(logits, _upsample(self.aux(deep), size))

    def _contextualise(self, y: Tensor, stride: int, guides: Mapping[int, Guide]) -> Tensor:
        key = str(stride)
        if key in self.context:
            y = self.context[key](y)
        if key in self.das:
            y = self.das[key](y, guides[stride])
        return y


def _upsample(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def conv_norm_act(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution that keeps the size, BatchNorm, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


def separable_conv(channels: int, kernel: int) -> nn.Sequential:
    """Depthwise k x k convolution, BatchNorm, pointwise convolution; no padding."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, channels, 1, bias=False),
    )


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
        coarse = _upsample(coarse, lateral.shape[-2:])
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
        self.project = separable_conv(dim, window)
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

    Shapes: (B, D, h, w) -> the same; sizes that are no multiple of the window are padded.
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
        batch, dim, height, width = y.shape
        size, heads = self.window, self.heads
        padded = F.pad(y, (0, -width % size, 0, -height % size), mode="replicate")
        rows, columns = padded.shape[-2] // size, padded.shape[-1] // size
        windows = self.qkv(padded).view(batch, 3, heads, dim // heads, rows, size, columns, size)
        # one sequence of size * size tokens per window and head
        query, key, value = windows.permute(1, 0, 4, 6, 2, 5, 7, 3).reshape(
            3, batch * rows * columns, heads, size * size, dim // heads
        )
        bias = self.bias[self.relative].permute(2, 0, 1)  # (heads, size * size, size * size)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        out = attended.view(batch, rows, columns, heads, size, size, dim // heads)
        out = out.permute(0, 3, 6, 1, 4, 2, 5).reshape(batch, dim, rows * size, columns * size)
        return out[:, :, :height, :width]


def _relative_positions(window: int) -> Tensor:
    """Index into the bias table for each pair of cells of a window: int64 (w * w, w * w)."""
    cell = torch.stack(
        torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    ).flatten(1)
    offset = cell[:, :, None] - cell[:, None, :] + window - 1
    return offset[0] * (2 * window - 1) + offset[1]


class Refinement(nn.Module):
    """Fusion with the finest map, then gates over places and over channels, summed.

    Shapes: coarse (B, D, h/2, w/2), fine (B, C, h, w) -> (B, D, h, w).
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.fuse = WeightedFusion(channels, dim)
        self.place_gate = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.Sigmoid())
        self.channel_gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(dim, dim // 16, 1, bias=False),
            nn.ReLU6(),
            nn.Conv2d(dim // 16, dim, 1, bias=False),
            nn.Sigmoid(),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim))
        self.project = nn.Sequential(
            nn.ReplicationPad2d(1), separable_conv(dim, 3), nn.BatchNorm2d(dim)
        )

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        x = self.fuse(coarse, fine)
        gated = x * self.place_gate(x) + x * self.channel_gate(x)
        return F.relu6(self.project(gated) + self.shortcut(x))
