"""The look of single pixels, for detail that tokens of 8 or 16 pixels cannot show."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.config.probe_config import ProbeConfig

ROWS = 32
"""Rows of an image whose random features are held at once: more do not fit into caches."""
SPAN = 32
"""Pixels that are smoothed by one matrix."""


class PixelBank(nn.Module):
    """Colours, edges and roughness of each pixel at several scales.

    For each standard deviation of a Gaussian: the colours smoothed by it, the length of the
    gradient of their mean, and the standard deviation of that mean within the Gaussian; besides,
    the colours as they are.

    Shapes: image (B, bands, H, W) -> (B, 3 + 5 * scales, H, W).

    Source: the features of ilastik (Berg et al. 2019) and of scikit-image's trainable
    segmentation, without their Hessians.
    """

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        self.seen = list(config.seen)
        self.scales = config.detail_scales
        self.channels = 3 + 5 * len(self.scales)

    def forward(self, image: Tensor) -> Tensor:
        colours = image[:, self.seen].float()
        gray = colours.mean(dim=1, keepdim=True)
        stack = torch.cat([colours, gray, gray.square()], dim=1)
        parts = [colours]
        for scale in self.scales:
            smooth = gaussian(stack, scale)
            mean, squares = smooth[:, 3:4], smooth[:, 4:5]
            roughness = (squares - mean.square()).clamp_min(0.0).sqrt()
            parts += [smooth[:, :3], scale * _slope(mean), roughness]
        return torch.cat(parts, dim=1)


class RandomFeatures(nn.Module):
    """Standardised values -> cosines of random mixtures of them, of which a linear layer is made.

    cos(W^T (x - mean) * scale + b) * weight * sqrt(2 / n): a linear model of these is one of a
    Gaussian kernel. What is random is drawn from a fixed seed and stored with the weights.

    Shapes: (B, C, H, W) -> (B, features, H, W).

    Source: Rahimi and Recht 2007, Random Features for Large-Scale Kernel Machines.
    """

    mean: Tensor
    scale: Tensor
    mixture: Tensor
    phase: Tensor

    def __init__(self, channels: int, config: ProbeConfig) -> None:
        super().__init__()
        drawn = torch.Generator().manual_seed(0)
        bandwidth = config.detail_bandwidth / math.sqrt(channels)
        mixture = torch.randn(channels, config.detail, generator=drawn) * bandwidth
        phase = torch.rand(config.detail, generator=drawn) * (2 * math.pi)
        self.weight = config.detail_weight * math.sqrt(2 / config.detail)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("mixture", mixture)
        self.register_buffer("phase", phase)

    def forward(self, values: Tensor) -> Tensor:
        return self.of_pixels(values.movedim(1, -1)).movedim(-1, 1)

    def of_pixels(self, values: Tensor) -> Tensor:
        """The same with channels last: (..., C) -> (..., features)."""
        # ((values - mean) * scale) @ mixture, without two more passes over all pixels.
        mixture = self.mixture.float() * self.scale[:, None]
        phase = self.phase - self.mean @ mixture
        return (values @ mixture).add_(phase).cos_().mul_(self.weight)


class PixelScores(nn.Module):
    """Linear scores of the random features of pixels: image (B, bands, H, W) -> (B, N, H, W)."""

    def __init__(self, classes: int, config: ProbeConfig) -> None:
        super().__init__()
        self.bank = PixelBank(config)
        self.random = RandomFeatures(self.bank.channels, config)
        self.classify = nn.Linear(config.detail, classes, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        bank = self.bank(image).movedim(1, -1)
        rows = [self.classify(self.random.of_pixels(part)) for part in bank.split(ROWS, dim=1)]
        return torch.cat(rows, dim=1).movedim(-1, 1)


def gaussian(image: Tensor, sigma: float) -> Tensor:
    """Each channel smoothed by a Gaussian that is cut at three standard deviations.

    Shapes: (B, C, H, W) -> the same; beyond the edges the edge values count on.
    """
    radius = math.ceil(3 * sigma)
    at = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (at / sigma).square())
    return smoothed(image, kernel / kernel.sum())


def smoothed(image: Tensor, kernel: Tensor) -> Tensor:
    """Each channel smoothed along its rows and columns by a kernel of odd length.

    Rows are cut into spans, each of which a banded matrix smooths, then columns: on a CPU this
    takes a seventh of the time of a convolution of single channels, and less than pooling.

    Shapes: (B, C, H, W), (2 radius + 1,) -> (B, C, H, W); beyond the edges the edge values count
    on.
    """
    band = image.new_zeros(SPAN + len(kernel) - 1, SPAN)
    for pixel in range(SPAN):
        band[pixel : pixel + len(kernel), pixel] = kernel
    across = _along_rows(image, band)
    return _along_rows(across.transpose(-1, -2), band).transpose(-1, -2)


def _along_rows(image: Tensor, band: Tensor) -> Tensor:
    """Each span of a row and what is beside it, times the band (span + 2 radius, span)."""
    length, wide = image.shape[-1], len(band)
    radius = (wide - SPAN) // 2
    padded = F.pad(image, (radius, radius, 0, 0), mode="replicate")
    spans = F.pad(padded, (0, -length % SPAN)).unfold(-1, wide, SPAN)  # (B, C, H, spans, wide)
    return (spans @ band).flatten(-2)[..., :length]


def _slope(x: Tensor) -> Tensor:
    """Length of the gradient, by central differences."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    return torch.sqrt(down.square() + across.square() + 1e-12) / 2
