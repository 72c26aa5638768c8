"""E_I: the image as the condition of the prior."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.backbones import TimmPyramid
from hyseg_models.config import ConditionConfig, PriorConfig
from hyseg_models.layers import norm2d


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
    summed, then a 3 x 3 convolution. With `levels = "all"` each level of the prior network also
    receives the backbone's map of the same stride. `stem`: two strided 3 x 3 convolutions and
    two residual blocks, the reading of the published code.

    Shapes: image (B, bands, H, W) normalised, valid bool (B, 1, H, W); H and W multiples of 32.
    """

    def __init__(self, bands: int, config: PriorConfig, *, pretrained: bool = False) -> None:
        super().__init__()
        self.stride = config.stride
        options = config.condition
        self.lateral: nn.ModuleList | None = None
        self.inner = nn.ModuleDict()
        if options.kind == "stem":
            self.body: nn.Module = _stem(bands, options.width, config.stride, config.net.norm)
            return
        pyramid = TimmPyramid(
            options.backbone, bands=bands, strides=options.strides, pretrained=pretrained
        )
        self.body = pyramid
        self.strides = pyramid.strides
        self.lateral = nn.ModuleList(nn.Conv2d(c, options.width, 1) for c in pyramid.channels)
        self.fuse = nn.Sequential(
            nn.Conv2d(options.width, options.width, 3, padding=1),
            norm2d(config.net.norm, options.width),
            nn.SiLU(),
        )
        if options.levels == "all":
            self._add_inner_projections(options, pyramid.channels, config)

    def _add_inner_projections(
        self, options: ConditionConfig, channels: tuple[int, ...], config: PriorConfig
    ) -> None:
        for level, multiple in enumerate(config.net.mult):
            stride = config.stride * 2**level
            if stride in options.strides:
                source = channels[options.strides.index(stride)]
                self.inner[str(stride)] = nn.Conv2d(source, config.net.base * multiple, 1)

    def forward(self, image: Tensor, valid: Tensor) -> Condition:
        share = F.avg_pool2d(valid.to(image.dtype), self.stride)
        features = self.body(image)
        if self.lateral is None:
            return Condition(features, share, {})
        size = share.shape[-2:]
        total = torch.zeros((), device=image.device)
        for lateral, level in zip(self.lateral, features, strict=True):
            total = total + _resize(lateral(level), size)
        levels = {
            int(stride): project(features[self.strides.index(int(stride))])
            for stride, project in self.inner.items()
        }
        return Condition(self.fuse(total), share, levels)


def _resize(x: Tensor, size: torch.Size) -> Tensor:
    if x.shape[-2] > size[0]:
        return F.adaptive_avg_pool2d(x, (size[0], size[1]))
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


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
        return x + self.body(x)  # type: ignore[no-any-return]
