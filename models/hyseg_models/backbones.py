"""Feature pyramids from timm."""

from __future__ import annotations

from collections.abc import Sequence

import timm
import torch
from torch import Tensor, nn

from hyseg_models.config import ConfigError


class WeightsUnavailableError(RuntimeError):
    """Pretrained weights were asked for and could not be fetched."""


class TimmPyramid(nn.Module):
    """Feature maps of any timm backbone at the strides asked for.

    Shapes: image (B, bands, H, W) -> one map (B, channels[i], H / strides[i], W / strides[i])
    per stride, finest first.

    Args:
        name: timm model name, with a tag for particular weights (`resnet18.a1_in1k`).
        bands: Bands of the image; pretrained filters are adapted by timm.
        strides: Pyramid levels, ascending.
        pretrained: Fetch the weights from the hub. BatchNorm then keeps its statistics.

    Raises:
        ConfigError: If timm has no such model or the model has no map at some stride.
        WeightsUnavailableError: If the weights could not be fetched.
    """

    def __init__(
        self, name: str, *, bands: int, strides: Sequence[int], pretrained: bool = False
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.frozen_statistics = pretrained
        if not timm.is_model(name.partition(".")[0]):
            message = f"backbone {name!r} is not a timm model"
            raise ConfigError(message)
        reductions = _reductions(name)
        missing = [stride for stride in strides if stride not in reductions]
        if missing:
            message = f"backbone {name!r} has no feature map at stride {missing[0]}"
            raise ConfigError(message)
        self.body = _create(
            name,
            bands=bands,
            levels=[reductions.index(stride) for stride in strides],
            pretrained=pretrained,
        )
        self.channels: tuple[int, ...] = tuple(self.body.feature_info.channels())  # type: ignore[union-attr, operator]

    def train(self, mode: bool = True) -> TimmPyramid:  # noqa: FBT001, FBT002 - torch's signature
        super().train(mode)
        if self.frozen_statistics:
            for module in self.body.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.body(image)
        return features


def _reductions(name: str) -> list[int]:
    with torch.device("meta"):
        model = timm.create_model(name.partition(".")[0], features_only=True)
    reductions: list[int] = model.feature_info.reduction()
    return reductions


def _create(name: str, *, bands: int, levels: list[int], pretrained: bool) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(
            name, features_only=True, out_indices=levels, in_chans=bands, pretrained=pretrained
        )
    except (OSError, RuntimeError, ValueError) as error:
        if not pretrained:
            raise
        message = f"the pretrained weights of {name} could not be fetched: {error}"
        raise WeightsUnavailableError(message) from error
    return model
