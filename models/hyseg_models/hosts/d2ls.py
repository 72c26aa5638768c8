"""D2LS: one token per class, made for the image from a dictionary, finds its places in the map.

Source: Ye et al. 2025, Dynamic Dictionary Learning for Remote Sensing Image Segmentation
(arXiv 2503.06683); written from the description in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.blocks.layers import size_of, upsample
from hyseg_models.das.pyramid import Guide
from hyseg_models.hosts import Decoded

VARIANTS = 4
BLOCKS = 3
HEADS = 8
INNER = 128


class D2LSDecoder(nn.Module):
    """Fused map, dynamic class tokens, two-way attention between them, dot products as logits.

    In training the auxiliary logits are those of the static dictionary.

    Args:
        channels: Channels of the pyramid at strides 4, 8, 16 and 32.
        classes: Classes N, one token each.
        dim: Width of map and tokens, divisible by 16.
    """

    def __init__(self, channels: Sequence[int], classes: int, dim: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, dim, 1) for c in channels)
        self.fuse = nn.Conv2d(dim * len(channels), dim, 1)
        self.dictionary = DynamicDictionary(classes, dim, channels[-1])
        self.interact = TokenInteraction(dim)
        fine = dim // 16
        # Two pixel shuffles: each turns four channels into four pixels.
        self.enlarge = nn.Sequential(
            nn.PixelShuffle(2),
            nn.Conv2d(dim // 4, dim // 4, 3, padding=1),
            nn.GELU(),
            nn.PixelShuffle(2),
            nn.Conv2d(fine, fine, 3, padding=1),
        )
        self.to_kernel = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, fine)
        )

    def forward(
        self, pyramid: Sequence[Tensor], _guides: Mapping[int, Guide], size: tuple[int, int]
    ) -> Decoded:
        quarter = size_of(pyramid[0])
        levels = [
            upsample(project(x), quarter) for project, x in zip(self.lateral, pyramid, strict=True)
        ]
        fused = self.fuse(torch.cat(levels[::-1], dim=1))
        static, dynamic = self.dictionary(pyramid[-1])
        logits = self._logits(dynamic, fused, size)
        return Decoded(logits, self._logits(static, fused, size) if self.training else None)

    def _logits(self, tokens: Tensor, fused: Tensor, size: tuple[int, int]) -> Tensor:
        tokens, cells = self.interact(tokens, fused)
        kernels = self.to_kernel(tokens)  # (B, N, dim / 16)
        logits = torch.einsum("bnc,bchw->bnhw", kernels, self.enlarge(cells))
        return logits if size_of(logits) == size else upsample(logits, size)


class DynamicDictionary(nn.Module):
    """Base tokens, each with variants that the deepest features of the image mix.

    Shapes: deep (B, C, h, w) -> static and dynamic tokens (B, N, dim).
    """

    def __init__(self, classes: int, dim: int, deep_channels: int) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.randn(classes, dim) / math.sqrt(dim))
        self.vary = nn.Linear(dim, VARIANTS * dim)
        self.choose = nn.Sequential(
            nn.Linear(deep_channels, dim), nn.ReLU(), nn.Linear(dim, classes * VARIANTS)
        )

    def forward(self, deep: Tensor) -> tuple[Tensor, Tensor]:
        classes, dim = self.base.shape
        pooled = deep.mean(dim=(2, 3)) + deep.amax(dim=(2, 3))  # (B, C)
        shares = self.choose(pooled).view(-1, classes, VARIANTS).softmax(dim=-1)
        variants = self.vary(self.base).view(classes, VARIANTS, dim)
        dynamic = torch.einsum("bnr,nrd->bnd", shares, variants)
        return self.base.expand(len(deep), -1, -1), dynamic


class TokenInteraction(nn.Module):
    """Blocks in which tokens attend to the map and the map to the tokens, then tokens once more.

    Shapes: tokens (B, N, dim), map (B, dim, h, w) -> the same.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.positions = FourierPositions(dim)
        self.to_tokens = nn.ModuleList(CrossAttention(dim) for _ in range(BLOCKS + 1))
        self.to_cells = nn.ModuleList(CrossAttention(dim) for _ in range(BLOCKS))

    def forward(self, tokens: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        shape = cells.shape
        names = tokens
        places = self.positions(size_of(cells))  # (h * w, dim)
        flat = cells.flatten(2).transpose(1, 2)  # (B, h * w, dim)
        for to_tokens, to_cells in zip(self.to_tokens[:-1], self.to_cells, strict=True):
            tokens = to_tokens(tokens, names, flat, places)
            flat = to_cells(flat, places, tokens, names)
        tokens = self.to_tokens[-1](tokens, names, flat, places)
        return tokens, flat.transpose(1, 2).reshape(shape)


class CrossAttention(nn.Module):
    """One set asks another; residual, then LayerNorm. Positions are added to queries and keys."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, INNER) for _ in range(3))
        self.out = nn.Linear(INNER, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, asking: Tensor, who: Tensor, asked: Tensor, where: Tensor) -> Tensor:
        query, key, value = (
            project(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)  # (B, heads, n, d)
            for project, x in (
                (self.query, asking + who),
                (self.key, asked + where),
                (self.value, asked),
            )
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.norm(asking + self.out(attended.transpose(1, 2).flatten(2)))
        return out


class FourierPositions(nn.Module):
    """Random Fourier features of the place in the map: (height, width) -> (cells, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.randn(2, dim // 2))

    def forward(self, size: tuple[int, int]) -> Tensor:
        axes = [
            (torch.arange(n, device=self.frequencies.device) + 0.5) / n * 2.0 - 1.0 for n in size
        ]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)
        phase = 2.0 * math.pi * places @ self.frequencies
        return torch.cat([phase.sin(), phase.cos()], dim=-1)
