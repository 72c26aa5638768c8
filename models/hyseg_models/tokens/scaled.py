"""Tokens of a plain vision transformer, at several sizes of the image."""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.blocks.backbones import Backbone
from hyseg_models.blocks.layers import size_of
from hyseg_models.config.probe_config import ProbeConfig
from hyseg_models.config.records import ConfigError


class ScaledTokens(Backbone):
    """Normalised tokens of some depths, each for several sizes of the image.

    For each of `token_px` the image is resampled until a patch covers so many pixels, cut into
    overlapping windows of at most `window` tokens, which is what the transformer was made for,
    and the tokens are blended where windows overlap. The weights never change.

    Shapes: image (B, bands, H, W), H and W multiples of 32 -> for each size s a float16 map
    (B, depths * width, H / s, W / s), finest first. float16, so that tokens which were kept in
    half the space are those which were computed.

    Source: Oquab et al. 2023, DINOv2; a second, magnified look as in their linear evaluation of
    segmentation at several sizes.
    """

    seen: Tensor

    def __init__(self, bands: int, config: ProbeConfig) -> None:
        super().__init__()
        if max(config.seen) >= bands:
            message = f"probe.seen: there is no band {max(config.seen)} among {bands}"
            raise ConfigError(message)
        self.config = config
        self.body = _cut_transformer(config)
        self.taken = [depth - 1 for depth in config.depths]
        self.patch = int(self.body.patch_embed.patch_size[0])  # type: ignore[union-attr, index]
        self.strides = config.token_px
        width = len(self.taken) * int(self.body.embed_dim)  # type: ignore[arg-type]
        self.channels = (width,) * len(config.token_px)
        self.register_buffer("seen", torch.tensor(config.seen), persistent=False)
        self.requires_grad_(requires_grad=False)
        self.recall: Callable[[Tensor, Callable[[], list[Tensor]]], list[Tensor]] | None = None
        """Gives tokens of pixels (B, 3, H, W) that it may remember, or has them computed."""

    def forward(self, image: Tensor) -> list[Tensor]:
        pixels = self.pixels_of(image)
        if self.recall is None:
            return self._compute(pixels)
        return self.recall(pixels, lambda: self._compute(pixels))

    def pixels_of(self, image: Tensor) -> Tensor:
        """What the transformer sees of an image: (B, bands, H, W) -> (B, 3, H, W)."""
        # Kernels for other orders in memory round otherwise.
        return image.index_select(1, self.seen).contiguous()

    def _compute(self, pixels: Tensor) -> list[Tensor]:
        return [self._tokens(pixels, side).half() for side in self.strides]

    def _tokens(self, pixels: Tensor, side: int) -> Tensor:
        height, width = (length // side for length in size_of(pixels))
        size = (height * self.patch, width * self.patch)
        if size != size_of(pixels):
            pixels = F.interpolate(
                pixels, size=size, mode="bicubic", align_corners=False, antialias=True
            )
        config = self.config
        rows, cols = (cut_windows(n, config.window, config.overlap) for n in (height, width))
        total = pixels.new_zeros(len(pixels), self.channels[0], height, width)
        weight = pixels.new_zeros(height, width)
        for row in rows:
            for col in cols:
                tokens = self._run(pixels, row, col)
                ramp = _ramp(len(row), config.overlap)[:, None]
                ramp = (ramp * _ramp(len(col), config.overlap)).to(tokens)
                place = (..., slice(row.start, row.stop), slice(col.start, col.stop))
                total[place] += tokens * ramp
                weight[place] += ramp
        return total / weight

    def _run(self, pixels: Tensor, row: range, col: range) -> Tensor:
        window = pixels[
            ...,
            row.start * self.patch : row.stop * self.patch,
            col.start * self.patch : col.stop * self.patch,
        ]
        depths = self.body.forward_intermediates(  # type: ignore[operator]
            window, indices=self.taken, norm=True, intermediates_only=True, output_fmt="NCHW"
        )
        return torch.cat(depths, dim=1)


def cut_windows(length: int, window: int, overlap: int) -> list[range]:
    """The fewest, equally long and as short ranges that cover `length` tokens.

    None is longer than `window`, and neighbours share at least `overlap`.
    """
    if length <= window:
        return [range(length)]
    count = -(-(length - overlap) // (window - overlap))
    side = -(-(length + (count - 1) * overlap) // count)
    last = length - side
    starts = [round(index * last / (count - 1)) for index in range(count)]
    return [range(start, start + side) for start in starts]


def _ramp(length: int, overlap: int) -> Tensor:
    """Weights that fall linearly towards both ends, over the overlap."""
    near = torch.arange(1, length + 1)
    return torch.minimum(near, near.flip(0)).clamp(max=max(1, overlap)).float()


def _cut_transformer(config: ProbeConfig) -> nn.Module:
    name = config.backbone
    if not timm.is_model(name.partition(".")[0]):
        message = f"probe.backbone: {name!r} is not a timm model"
        raise ConfigError(message)
    try:
        model: nn.Module = timm.create_model(
            name, num_classes=0, dynamic_img_size=True, depth=config.depths[-1]
        )
    except TypeError as error:
        message = f"probe.backbone: {name!r} is not a plain vision transformer"
        raise ConfigError(message) from error
    return model
