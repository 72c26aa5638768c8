"""The prior network: a U-Net over the prior grid, conditioned on times and image."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.blocks.layers import norm2d, zeroed
from hyseg_models.config.prior_config import PriorConfig
from hyseg_models.prior.condition import Condition


class PriorUNet(nn.Module):
    """u or x_hat of a label map in flow, given its times and the image's condition.

    Residual blocks with scale and shift from the time embedding, average pooling down,
    nearest neighbour up, skip connections from every block; no BatchNorm (its running
    statistics cannot be updated under a JVP) and no dropout. The last convolution starts at zero.
    With `noise_gate` the state enters as (1 - r) x, which leaves the one-step sample, at r = 0,
    what it is.

    Shapes: x (B, N, h, w), r and t (B,) -> (B, N, h, w); h and w divisible by 2^(levels - 1).

    Source: the flags of the published code name an ADM-style U-Net; sizes in method 2.6.
    """

    def __init__(self, classes: int, config: PriorConfig) -> None:
        super().__init__()
        net = config.net
        self.stride = config.stride
        self.noise_gate = net.noise_gate and config.param != "u"
        self.time = TimeEmbedding(net.base, net.time_scale)
        make = partial(TimedBlock, embedding=self.time.width, norm=net.norm)
        self.stem = nn.Conv2d(classes + config.condition.width + 1, net.base, 3, padding=1)

        widths = [net.base * multiple for multiple in net.mult]
        heads = [net.heads if 2**level in net.attn_ds else 0 for level in range(len(widths))]
        channels, skips = net.base, [net.base]
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            inputs = [channels] + [width] * (net.blocks - 1)
            blocks = [make(i, width, heads=heads[level]) for i in inputs]
            self.down.append(DownLevel(blocks, halves=level > 0))
            skips += [channels] * (level > 0) + [width] * net.blocks
            channels = width
        mid_heads = net.heads if net.mid_attn else 0
        self.middle = nn.ModuleList(
            [make(channels, channels, heads=mid_heads), make(channels, channels)]
        )
        self.up = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            blocks = []
            for _ in range(net.blocks + 1):
                blocks.append(make(channels + skips.pop(), width, heads=heads[level]))
                channels = width
            self.up.append(UpLevel(blocks, doubles=level < len(widths) - 1))
        self.head = nn.Sequential(
            norm2d(net.norm, channels),
            nn.SiLU(),
            zeroed(nn.Conv2d(channels, classes, 3, padding=1)),
        )

    def forward(self, x: Tensor, r: Tensor, t: Tensor, condition: Condition) -> Tensor:
        time = self.time(r, t)
        if self.noise_gate:
            x = x * (1.0 - r).view(-1, 1, 1, 1)
        x = self.stem(torch.cat([x, condition.fused, condition.valid], dim=1))
        skips = [x]
        for level, down in enumerate(self.down):
            extra = condition.levels.get(self.stride * 2**level)
            skips += down(skips[-1], time, extra)
        x = skips[-1]
        for block in self.middle:
            x = block(x, time)
        for up in self.up:
            x = up(x, time, skips)
        out: Tensor = self.head(x)
        return out


class DownLevel(nn.Module):
    """Blocks of one resolution on the way down: x -> all maps that the way up will need."""

    def __init__(self, blocks: list[TimedBlock], *, halves: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.halves = halves

    def forward(self, x: Tensor, time: Tensor, extra: Tensor | None) -> list[Tensor]:
        maps = []
        if self.halves:
            x = F.avg_pool2d(x, 2)
            maps.append(x)
        for index, block in enumerate(self.blocks):
            x = block(x, time)
            if index == 0 and extra is not None:
                x = x + extra
            maps.append(x)
        return maps


class UpLevel(nn.Module):
    """Blocks of one resolution on the way up; each takes the last map left by the way down."""

    def __init__(self, blocks: list[TimedBlock], *, doubles: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.doubles = doubles

    def forward(self, x: Tensor, time: Tensor, skips: list[Tensor]) -> Tensor:
        if self.doubles:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        for block in self.blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), time)
        return x


class TimeEmbedding(nn.Module):
    """Embedding (B, 4 base) of the times t and t - r, each with its own network.

    Raw times in [0, 1] enter the sinusoids: multiplying them by 1000, as diffusion models do,
    makes the network's derivative in t drown that in x (method 1.3).
    """

    def __init__(self, base: int, scale: float) -> None:
        super().__init__()
        self.waves = base // 2
        self.scale = scale
        self.width = 4 * base
        self.of_time, self.of_gap = (
            nn.Sequential(
                nn.Linear(2 * self.waves, self.width), nn.SiLU(), nn.Linear(self.width, self.width)
            )
            for _ in range(2)
        )

    def forward(self, r: Tensor, t: Tensor) -> Tensor:
        embedded: Tensor = self.of_time(self._sinusoid(t)) + self.of_gap(self._sinusoid(t - r))
        return embedded

    def _sinusoid(self, time: Tensor) -> Tensor:
        powers = torch.arange(self.waves, device=time.device, dtype=time.dtype) / self.waves
        frequencies = torch.exp(-math.log(1e4) * powers)
        phase = self.scale * time.unsqueeze(1) * frequencies  # (B, waves)
        return torch.cat([phase.cos(), phase.sin()], dim=1)


class TimedBlock(nn.Module):
    """Residual block whose second normalisation is scaled and shifted by the time embedding."""

    def __init__(
        self, inputs: int, outputs: int, *, embedding: int, norm: str, heads: int = 0
    ) -> None:
        super().__init__()
        self.first = nn.Sequential(
            norm2d(norm, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * outputs))
        self.norm = norm2d(norm, outputs)
        self.second = nn.Sequential(nn.SiLU(), zeroed(nn.Conv2d(outputs, outputs, 3, padding=1)))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = CellAttention(outputs, norm, heads) if heads else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.time(time)[..., None, None].chunk(2, dim=1)
        hidden = self.norm(self.first(x)) * (1.0 + scale) + shift
        out: Tensor = self.attention(self.skip(x) + self.second(hidden))
        return out


class CellAttention(nn.Module):
    """Residual multi-head self-attention over all cells; starts as the identity."""

    def __init__(self, channels: int, norm: str, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = norm2d(norm, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels = x.shape[:2]
        tokens = self.qkv(self.norm(x)).view(batch, 3, self.heads, channels // self.heads, -1)
        query, key, value = tokens.transpose(-1, -2).unbind(1)  # (B, heads, h * w, d)
        attended = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out(attended.transpose(-1, -2).reshape(x.shape))
        return x + out
