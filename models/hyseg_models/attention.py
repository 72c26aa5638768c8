"""Self-attention over the cells of a feature map, with a bound on its cost."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.config import AttentionConfig
from hyseg_models.layers import zeroed

# Added to the scores of cells without data: e^-30 of the weight of a usual cell, and still
# finite, so that a tile without any data gives numbers and not NaN.
_NO_DATA = -30.0


class SelfAttention2d(nn.Module):
    """Multi-head self-attention, residual branch only; starts at zero if asked to.

    The published code calls an `EU_MHSA` it does not contain, by its name a Euclidean, that is
    ordinary, multi-head self-attention. Beyond `max_full` cells the keys and values are pooled
    to at most `kv` cells (`auto` and `pooled`), which bounds time and memory on large tiles.

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
        height, width = features.shape[-2:]
        query, key, value = self.qkv(features).chunk(3, dim=1)
        local = self.position(value) if self.position is not None else 0.0
        presence = valid.to(features.dtype)
        factor = self._pool_factor(height, width)
        if factor > 1:
            key, value, presence = (
                F.avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False)
                for x in (key, value, presence)
            )
        attended = F.scaled_dot_product_attention(
            self._tokens(query),
            self._tokens(key),
            self._tokens(value),
            # (B, 1, 1, cells): one value per key, for all heads and queries
            attn_mask=((1.0 - presence) * _NO_DATA).flatten(2).unsqueeze(1),
        )  # (B, heads, h * w, d)
        out: Tensor = self.out(attended.transpose(-1, -2).reshape(features.shape) + local)
        return out

    def _tokens(self, x: Tensor) -> Tensor:
        batch, dim = x.shape[:2]
        heads = self.config.heads
        return x.view(batch, heads, dim // heads, -1).transpose(-1, -2)  # (B, heads, h * w, d)

    def _pool_factor(self, height: int, width: int) -> int:
        cells = height * width
        pooled = self.config.kind == "pooled" or (
            self.config.kind == "auto" and cells > self.config.max_full
        )
        if not pooled:
            return 1
        return max(1, math.ceil(math.sqrt(cells / self.config.kv)))
