"""Feature pyramids: any timm backbone, or LSKNet, which timm lacks; and tokens of plain ViTs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import timm
import torch
from torch import Tensor, nn

from hyseg_models.blocks.lsknet import LSKNET_SIZES, LSKNet
from hyseg_models.config.records import ConfigError


class WeightsUnavailableError(RuntimeError):
    """Pretrained weights were asked for and could not be fetched."""


class Backbone(nn.Module):
    """Image (B, bands, H, W) -> one map (B, channels[i], H/strides[i], W/strides[i]) per stride.

    H and W are multiples of 32; strides ascend. A plain ViT has a single map, at the stride of its
    tokens.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]


def build_backbone(
    name: str,
    *,
    bands: int,
    strides: Sequence[int],
    pretrained: bool = False,
    drop_path: float = 0.0,
) -> Backbone:
    """The backbone called `name`, with random or pretrained weights.

    Args:
        name: timm model name, with a tag for particular weights (`resnet18.a1_in1k`), or
            `lsknet_t`, `lsknet_s`.
        bands: Bands of the image; timm adapts pretrained filters to them.
        strides: Pyramid levels, ascending.
        pretrained: Fetch the weights from the hub.
        drop_path: Largest rate of stochastic depth, for backbones that have it.

    Raises:
        ConfigError: If there is no such model, or it has no map at some stride.
        WeightsUnavailableError: If the weights could not be fetched.
    """
    if is_plain_vit(name):
        message = f"backbone {name!r} is a plain ViT, which only a host has: one map at one stride"
        raise ConfigError(message)
    if name in LSKNET_SIZES:
        return LSKPyramid(name, bands, strides, pretrained=pretrained, drop_path=drop_path)
    return TimmPyramid(name, bands, strides, pretrained=pretrained, drop_path=drop_path)


class TimmPyramid(Backbone):
    """Some feature maps of a timm backbone.

    Pretrained BatchNorm keeps its statistics: the crops of a fine-tuning are few and alike.
    """

    def __init__(
        self, name: str, bands: int, strides: Sequence[int], *, pretrained: bool, drop_path: float
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.frozen_statistics = pretrained
        if not timm.is_model(name.partition(".")[0]):
            message = f"backbone {name!r} is not a timm model"
            raise ConfigError(message)
        reductions = _reductions(name)
        levels = [_level_of(stride, reductions, name) for stride in strides]
        options: dict[str, object] = {"drop_path_rate": drop_path} if drop_path else {}
        if name.startswith("swin"):
            # Windows are cut from any size; the default refuses all but the pretraining's.
            options |= {"strict_img_size": False}
        self.body = _create(
            name, bands=bands, levels=levels, pretrained=pretrained, options=options
        )
        self.channels_last = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")
        self.channels = tuple(self.body.feature_info.channels())  # type: ignore[union-attr, operator]

    def train(self, mode: bool = True) -> TimmPyramid:  # noqa: FBT001, FBT002 - torch's signature
        super().train(mode)
        if self.frozen_statistics:
            for module in self.body.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.body(image)
        return [x.permute(0, 3, 1, 2) for x in features] if self.channels_last else features


class LSKPyramid(Backbone):
    """Some feature maps of LSKNet."""

    def __init__(
        self, name: str, bands: int, strides: Sequence[int], *, pretrained: bool, drop_path: float
    ) -> None:
        super().__init__()
        if pretrained:
            message = f"no weights of {name} under a free licence are known"
            raise WeightsUnavailableError(message)
        self.strides = tuple(strides)
        self.taken = [_level_of(stride, [4, 8, 16, 32], name) for stride in strides]
        self.body = LSKNet(name, bands, drop_path=drop_path)
        self.channels = tuple(self.body.channels[level] for level in self.taken)

    def forward(self, image: Tensor) -> list[Tensor]:
        features = self.body(image)
        return [features[level] for level in self.taken]


def _level_of(stride: int, reductions: list[int], name: str) -> int:
    if stride not in reductions:
        message = f"backbone {name!r} has no feature map at stride {stride}"
        raise ConfigError(message)
    return reductions.index(stride)


def is_plain_vit(name: str) -> bool:
    """Whether a timm model has one resolution from its first block to its last."""
    is_known = name not in LSKNET_SIZES and timm.is_model(name.partition(".")[0])
    return is_known and len(set(_reductions(name))) == 1


@cache
def _reductions(name: str) -> list[int]:
    with torch.device("meta"):
        model = timm.create_model(name.partition(".")[0], features_only=True)
    reductions: list[int] = model.feature_info.reduction()
    return reductions


def _create(
    name: str, *, bands: int, levels: list[int], pretrained: bool, options: dict[str, object]
) -> nn.Module:
    options = {"features_only": True, "out_indices": levels, "in_chans": bands, **options}
    return create_timm(name, pretrained=pretrained, options=options)


def create_timm(name: str, *, pretrained: bool, options: Mapping[str, object]) -> nn.Module:
    """A timm model.

    Raises:
        WeightsUnavailableError: If its pretrained weights could not be fetched.
    """
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except (OSError, RuntimeError, ValueError) as error:
        if not pretrained:
            raise
        message = f"the pretrained weights of {name} could not be fetched: {error}"
        raise WeightsUnavailableError(message) from error
    return model
