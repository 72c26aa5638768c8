"""Plain vision transformers as backbones: tokens of one stride, and a pyramid made of them.

A transformer such as DINOv2 is run as it is and usually stays frozen. What is learned stands
behind it: the pyramid, and a light convolutional stem that sees the image at full resolution,
for detail that a token of 14 pixels cannot show.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from hyseg_models.blocks.backbones import Backbone, create_timm
from hyseg_models.blocks.layers import conv_norm_act, separable_conv, size_of
from hyseg_models.config.config import HostConfig
from hyseg_models.config.records import ConfigError


class PlainViT(Backbone):
    """Tokens of some depths of a plain ViT, as one map at their stride.

    The image is resampled until one patch covers `token_px` pixels, so that tokens lie on the
    grid of the host's strides whatever the patch size; positions are interpolated to any size.

    Shapes: image (B, bands, H, W), H and W multiples of `token_px` -> one map
    (B, depths * width, H / token_px, W / token_px).

    Args:
        bands: Bands of the image; the ViT sees three of them.
        config: Options of the host.
        pretrained: Fetch the weights from the hub.

    Raises:
        ConfigError: If the model has fewer blocks, or the image lacks a band.
    """

    seen: Tensor

    def __init__(self, bands: int, config: HostConfig, *, pretrained: bool) -> None:
        super().__init__()
        if max(config.seen) >= bands:
            message = f"host.seen: there is no band {max(config.seen)} among {bands}"
            raise ConfigError(message)
        self.body = create_timm(
            config.backbone,
            pretrained=pretrained,
            options={
                "num_classes": 0,
                "dynamic_img_size": True,
                "drop_path_rate": config.drop_path,
            },
        )
        self.blocks = len(self.body.blocks)  # type: ignore[arg-type]
        if max(config.depths) > self.blocks:
            message = (
                f"host.depths: {config.backbone} has {self.blocks} blocks, not {config.depths[-1]}"
            )
            raise ConfigError(message)
        self.taken = [depth - 1 for depth in config.depths]
        self.patch = int(self.body.patch_embed.patch_size[0])  # type: ignore[union-attr, index]
        self.strides = (config.token_px,)
        self.channels = (len(self.taken) * int(self.body.embed_dim),)  # type: ignore[arg-type]
        self.register_buffer("seen", torch.tensor(config.seen), persistent=False)

    def parameters_up_to(self, block: int) -> list[nn.Parameter]:
        """The parameters of the first blocks and of everything outside the blocks."""
        last = [f"blocks.{index}." for index in range(block, self.blocks)]
        named = self.body.named_parameters()
        return [value for name, value in named if not name.startswith(tuple(last))]

    def forward(self, image: Tensor) -> list[Tensor]:
        # On a CPU, tokens in half precision change a class in every 200 pixels of some maps.
        with torch.autocast("cpu", enabled=False):
            return self._tokens(image)

    def _tokens(self, image: Tensor) -> list[Tensor]:
        rows, columns = (side // self.strides[0] for side in size_of(image))
        size = (rows * self.patch, columns * self.patch)
        pixels = image.index_select(1, self.seen)
        if size != size_of(pixels):
            pixels = F.interpolate(
                pixels, size=size, mode="bilinear", align_corners=False, antialias=True
            )
        depths = self.body.forward_intermediates(  # type: ignore[operator]
            pixels, indices=self.taken, intermediates_only=True, output_fmt="NCHW"
        )
        return [torch.cat(depths, dim=1)]


class HalfMLP(nn.Module):
    """The MLP of a transformer's block in bfloat16, between tokens in single precision.

    Its layers are more than half of the products of a small ViT. In half precision they change a
    class in one to three of 1,000 pixels, about as many as the attention's much cheaper layers do.
    """

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.body = mlp.to(torch.bfloat16)

    def forward(self, tokens: Tensor) -> Tensor:
        changes: Tensor = self.body(tokens.to(torch.bfloat16))
        return changes.float()


def halve_mlps(network: nn.Module) -> None:
    """Let the MLPs of all plain ViTs in a network run in bfloat16, for networks that only map."""
    for vit in [module for module in network.modules() if isinstance(module, PlainViT)]:
        for block in vit.body.blocks:  # type: ignore[union-attr]
            block.mlp = HalfMLP(block.mlp)


class TokenPyramid(nn.Module):
    """Tokens and image -> maps at strides 4, 8, 16 and 32, for a decoder.

    Tokens of each depth are normalised by themselves and projected together; transposed
    convolutions double their map until stride 4, strided ones halve it until stride 32 (a simple
    feature pyramid, Li et al. 2022, ViTDet). At strides 4 and 8 stand the channels of the stem
    besides, which is silent on a share of the chips in training: a decoder that leans on the
    looks of one place forgets what the tokens know of others.

    Shapes: image (B, bands, H, W), features from `PlainViT` -> (B, channels[i], H/s_i, W/s_i).
    """

    strides = (4, 8, 16, 32)

    def __init__(self, bands: int, config: HostConfig, tokens: Backbone) -> None:
        super().__init__()
        (stride,), (width,) = tokens.strides, tokens.channels
        dim = config.dim
        self.norms = nn.ModuleList(LayerNorm2d(width // len(config.depths)) for _ in config.depths)
        self.enter = conv_norm_act(width, 2 * dim, 1)
        self.stride = stride
        self.to16 = _resampled(2 * dim, 2 * dim, stride, 16)
        self.to32 = _resampled(2 * dim, 2 * dim, stride, 32)
        self.to8 = _resampled(2 * dim, dim, stride, 8)
        self.to4 = _resampled(dim, dim, 8, 4)
        self.stem = ConvStem(bands, config.stem) if config.stem else None
        self.stem_drop = config.stem_drop
        self.channels = (dim + config.stem, dim + 2 * config.stem, 2 * dim, 2 * dim)

    def forward(self, image: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        depths = features[0].chunk(len(self.norms), dim=1)
        normed = [norm(depth) for norm, depth in zip(self.norms, depths, strict=True)]
        tokens = self.enter(torch.cat(normed, dim=1))
        at8 = self.to8(tokens)
        at4 = self.to4(at8)
        if self.stem is not None:
            fine, coarse = self._seen_by_stem(self.stem, image)
            at4, at8 = torch.cat([at4, fine], dim=1), torch.cat([at8, coarse], dim=1)
        return [at4, at8, self.to16(tokens), self.to32(tokens)]

    def _seen_by_stem(self, stem: ConvStem, image: Tensor) -> tuple[Tensor, Tensor]:
        fine, coarse = stem(image)
        if self.training and self.stem_drop > 0:
            heard = torch.rand(len(image), 1, 1, 1, device=image.device) >= self.stem_drop
            fine, coarse = fine * heard, coarse * heard
        return fine, coarse


class ConvStem(nn.Module):
    """A few convolutions on the image: (B, bands, H, W) -> maps at strides 4 and 8.

    Channels: `width` and `2 * width`.
    """

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            conv_norm_act(bands, width // 2, 3, stride=2),
            conv_norm_act(width // 2, width, 3, stride=2),
            _Separable(width),
        )
        self.coarse = nn.Sequential(
            conv_norm_act(width, 2 * width, 3, stride=2), _Separable(2 * width)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(image)
        return fine, self.coarse(fine)


class _Separable(nn.Module):
    """x + a separable 5 x 5 convolution of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            separable_conv(width, width, 5, padding=2), nn.BatchNorm2d(width), nn.ReLU6()
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def _resampled(inputs: int, outputs: int, stride: int, wanted: int) -> nn.Module:
    """Layers that bring a map from one stride to another, a power of two away."""
    layers: list[nn.Module] = []
    channels = inputs
    while stride > wanted:
        layers += [
            nn.ConvTranspose2d(channels, outputs, 2, stride=2),
            LayerNorm2d(outputs),
            nn.GELU(),
        ]
        channels, stride = outputs, stride // 2
    while stride < wanted:
        layers.append(conv_norm_act(channels, outputs, 3, stride=2))
        channels, stride = outputs, stride * 2
    if channels != outputs:
        layers.append(nn.Conv2d(channels, outputs, 1))
    return nn.Sequential(*layers)
