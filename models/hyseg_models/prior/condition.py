"""E_I: the image as the condition of the prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.blocks.backbones import Backbone, build_backbone
from hyseg_models.blocks.layers import norm2d, size_of, upsample
from hyseg_models.config.prior_config import PriorConfig


@dataclass(frozen=True)
class Condition:
    """What the prior network knows of the image, on the prior grid."""

    fused: Tensor
    """(B, W, h, w)."""
    valid: Tensor
    """float (B, 1, h, w): share of each cell that holds image data."""
    levels: dict[int, Tensor]
    """Extra features by stride, as wide as the prior network at that level."""

    def rows(self, index: Tensor) -> Condition:
        """The condition of some samples of the batch."""
        return replace(
            self,
            fused=self.fused[index],
            valid=self.valid[index],
            levels={stride: x[index] for stride, x in self.levels.items()},
        )


class ConditionEncoder(nn.Module):
    """Image -> Condition; computed once per image, outside of the flow.

    `timm`: the levels of a backbone, each projected by 1 x 1, brought to the prior grid and
    summed, then a 3 x 3 convolution; with `levels = "all"` each level of the prior network also
    receives the backbone's map of the same stride. `host`: the same from the host's backbone.
    `stem`: two strided 3 x 3 convolutions and two residual blocks, as the published code has.

    Shapes: image (B, bands, H, W) normalised, valid bool (B, 1, H, W); H and W multiples of 32;
    with `host`, the host's pyramid besides.

    Args:
        bands: Bands of the image.
        config: Options of the prior.
        host: The host's backbone, for its strides and channels; it is not kept.
        pretrained: Fetch weights for a backbone of its own.
    """

    def __init__(
        self, bands: int, config: PriorConfig, host: Backbone, *, pretrained: bool = False
    ) -> None:
        super().__init__()
        options = config.condition
        self.stride = config.stride
        self.kind = options.kind
        self.inner = nn.ModuleDict()
        if options.kind == "stem":
            self.body: nn.Module = _stem(bands, options.width, config.stride, config.net.norm)
            return
        source = host
        self.body = nn.Identity()
        if options.kind == "timm":
            source = build_backbone(
                options.backbone, bands=bands, strides=options.strides, pretrained=pretrained
            )
            self.body = source
        self.strides = [stride for stride in options.strides if stride in source.strides]
        self.taken = [source.strides.index(stride) for stride in self.strides]
        channels = [source.channels[index] for index in self.taken]
        self.lateral = nn.ModuleList(nn.Conv2d(c, options.width, 1) for c in channels)
        self.fuse = nn.Sequential(
            nn.Conv2d(options.width, options.width, 3, padding=1),
            norm2d(config.net.norm, options.width),
            nn.SiLU(),
        )
        self.detail: nn.Module | None = None
        if options.detail:
            self.detail = nn.Sequential(
                _stem(bands, options.detail, config.stride, config.net.norm),
                nn.Conv2d(options.detail, options.width, 1),
            )
        if options.levels == "all":
            for level, multiple in enumerate(config.net.mult):
                stride = config.stride * 2**level
                if stride in self.strides:
                    width = channels[self.strides.index(stride)]
                    self.inner[str(stride)] = nn.Conv2d(width, config.net.base * multiple, 1)

    def forward(
        self, image: Tensor, valid: Tensor, host_pyramid: Sequence[Tensor] = ()
    ) -> Condition:
        share = F.avg_pool2d(valid.to(image.dtype), self.stride)
        if self.kind == "stem":
            return Condition(self.body(image), share, {})
        pyramid = host_pyramid if self.kind == "host" else self.body(image)
        features = [pyramid[index] for index in self.taken]
        total = torch.zeros((), device=image.device)
        for lateral, level in zip(self.lateral, features, strict=True):
            total = total + _resize(lateral(level), size_of(share))
        if self.detail is not None:
            total = total + self.detail(image)
        levels = {
            int(stride): project(features[self.strides.index(int(stride))])
            for stride, project in self.inner.items()
        }
        return Condition(self.fuse(total), share, levels)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.adaptive_avg_pool2d(x, size) if x.shape[-2] > size[0] else upsample(x, size)


def _stem(bands: int, width: int, stride: int, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = bands
    for _ in range(stride.bit_length() - 1):
        layers += [
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            norm2d(norm, width),
            nn.SiLU(),
        ]
        channels = width
    return nn.Sequential(*layers, _Residual(width, norm), _Residual(width, norm))


class _Residual(nn.Module):
    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            norm2d(norm, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            norm2d(norm, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out
