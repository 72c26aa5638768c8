"""The network that a few polygons teach: a linear probe on a frozen transformer."""

from __future__ import annotations

from dataclasses import dataclass

from hyseg_models.config.records import require


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Host `probe`: tokens of a vision transformer at several sizes, one linear layer each."""

    backbone: str = "vit_small_patch14_dinov2"
    """timm name of the transformer; blocks after the last of `depths` are left out."""
    depths: tuple[int, ...] = (6, 9)
    """Blocks, counted from 1, after which tokens are taken. The last blocks of DINOv2 know what
    an image is about, the middle ones what stands where."""
    token_px: tuple[int, ...] = (8, 16)
    """Sides of a token in image pixels, finest first: the image is resampled for each."""
    window: int = 40
    """Largest side, in tokens, of what the transformer sees at once."""
    overlap: int = 4
    """Least tokens that neighbouring windows share; their features are blended there."""
    seen: tuple[int, ...] = (0, 1, 2)
    """Bands, counted from 0, that the transformer sees as red, green and blue."""
    detail: int = 256
    """Random features of single pixels beside the tokens; 0 for none."""
    detail_scales: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    """Standard deviations in pixels of the Gaussians that they see the image through."""
    detail_bandwidth: float = 0.67
    """Typical turn of their cosines, in radians, for a pixel one standard deviation off."""
    detail_weight: float = 1.0
    """How much they count beside tokens, which are richer but blind to single pixels."""
    radius: int = 12
    """Half the side, in pixels, of the windows of the guided filter; 0 for no filter."""
    smoothness: float = 0.02
    """Squared contrast, in standard deviations of the image, that still counts as flat."""

    def __post_init__(self) -> None:
        depths, sizes = self.depths, self.token_px
        require(
            len(depths) > 0 and depths[0] >= 1 and list(depths) == sorted(set(depths)),
            "probe.depths: at least one block, counted from 1, ascending",
        )
        require(
            len(sizes) > 0 and set(sizes) <= {4, 8, 16, 32} and list(sizes) == sorted(set(sizes)),
            "probe.token_px: some of 4, 8, 16 and 32, ascending",
        )
        require(
            0 <= self.overlap <= self.window // 2,
            "probe.overlap: between 0 and half of probe.window",
        )
        require(
            len(self.seen) == 3 and min(self.seen) >= 0, "probe.seen: three bands, counted from 0"
        )
        require(self.detail >= 0, "probe.detail: must not be negative")
        require(
            len(self.detail_scales) > 0 and min(self.detail_scales) > 0,
            "probe.detail_scales: at least one, each above 0",
        )
        require(self.radius >= 0, "probe.radius: must not be negative")
        require(self.smoothness > 0, "probe.smoothness: must be above 0")
