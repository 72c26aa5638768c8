"""Self-attention over the cells of a feature map, with a bound on its cost."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.blocks.layers import merge_windows, size_of, split_windows, zeroed
from hyseg_models.config.config import AttentionConfig

# Added to the scores of cells without data: e^-30 of the weight of a usual cell, and still
# finite, so that a tile without any data gives numbers and not NaN.
_NO_DATA = -30.0


class SelfAttention2d(nn.Module):
    """Multi-head self-attention, residual branch only; starts at zero if asked to.

    The published code calls an `EU_MHSA` it does not contain, by its name a Euclidean, that is
    ordinary, multi-head self-attention. Beyond `max_full` cells the keys and values are pooled
    to at most `kv` cells (`auto` and `pooled`), which bounds time and memory on large tiles;
    `window` confines attention to windows instead.

    Shapes: features (B, D, h, w), valid bool (B, 1, h, w) -> (B, D, h, w).
    """

    def __init__(self, dim: int, config: AttentionConfig, *, zero_init: bool) -> None:
        super().__init__()
        self.config = config
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.position = (
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim) if config.pos == "dw" else None
        )
        out = nn.Conv2d(dim, dim, 1)
        self.out = zeroed(out) if zero_init else out

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        query, key, value = self.qkv(features).chunk(3, dim=1)
        local = self.position(value) if self.position is not None else 0.0
        absence = 1.0 - valid.to(features.dtype)
        if self.config.kind == "window":
            attended = self._attend_in_windows(query, key, value, absence)
        else:
            factor = self._pool_factor(features.shape[-2] * features.shape[-1])
            if factor > 1:
                key, value, absence = (
                    F.avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False)
                    for x in (key, value, absence)
                )
            attended = self._attend(*(x.flatten(2) for x in (query, key, value, absence)))
            attended = attended.view(features.shape)
        out: Tensor = self.out(attended + local)
        return out

    def _attend_in_windows(
        self, query: Tensor, key: Tensor, value: Tensor, absence: Tensor
    ) -> Tensor:
        side, size = self.config.window, size_of(query)
        parts = [split_windows(x, side) for x in (query, key, value, absence)]
        return merge_windows(self._attend(*parts), side, size)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, absence: Tensor) -> Tensor:
        """Sequences (B, D, cells) -> (B, D, cells); absence (B, 1, key cells) in [0, 1]."""
        attended = F.scaled_dot_product_attention(
            self._heads(query),
            self._heads(key),
            self._heads(value),
            # (B, 1, 1, cells): one value per key, for all heads and queries
            attn_mask=(absence * _NO_DATA).unsqueeze(1),
        )  # (B, heads, cells, d)
        return attended.transpose(-1, -2).reshape(query.shape)

    def _heads(self, x: Tensor) -> Tensor:
        batch, dim, cells = x.shape
        heads = self.config.heads
        return x.reshape(batch, heads, dim // heads, cells).transpose(-1, -2)

    def _pool_factor(self, cells: int) -> int:
        """Side of the squares in which keys and values are averaged; 1 for full attention."""
        pooled = self.config.kind == "pooled" or (
            self.config.kind == "auto" and cells > self.config.max_full
        )
        return max(1, math.ceil(math.sqrt(cells / self.config.kv))) if pooled else 1
