"""What a HySeg network is made of, as frozen records.

A configuration is pure data: it is stored as JSON in every model file and is all that
`hyseg_models.build` needs. Training recipes (steps, learning rates) are not part of it;
the named configurations stand in `presets.py`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from hyseg_models.config.prior_config import PriorConfig, SampleConfig
from hyseg_models.config.probe_config import ProbeConfig
from hyseg_models.config.records import build_record, require

IGNORE_ID = 255
"""Label value of pixels without a label: they carry no loss and no score."""


@dataclass(frozen=True, kw_only=True)
class P2AConfig:
    """Prior-to-affinity module (method 3.1)."""

    kernel: int = 7
    """Side K of the neighbourhood, odd."""
    source: Literal["prior", "feature", "uniform"] = "prior"
    """What differs between neighbours: the prior, the host's features, or nothing."""
    affinity: Literal["gaussian", "softmax_exp"] = "gaussian"
    distance: Literal["sum", "mean"] = "sum"
    """Squared differences summed over channels, or their mean where channels are many."""
    sigma: Literal["learnable", "relu", "fixed"] = "learnable"
    """Bandwidth: softplus above `sigma_min`, the paper's ReLU, or a constant."""
    sigma_scope: Literal["level", "group", "class"] = "level"
    """What has a bandwidth of its own: a level, each group of channels, or each channel of what is
    compared, which in a class map is a class."""
    sigma_init: float = 0.5
    sigma_min: float = 0.05
    xi: float = 1e-6
    """Guard against division by zero in the exponent."""
    mask: bool = True
    """Give no weight to neighbours outside the map or without data."""
    dilations: tuple[int, ...] = (1,)
    """Cells between neighbours; several give several rings, normalised together."""
    groups: int = 1
    """Parts of the prior's channels with an affinity of their own, for as many parts of D."""
    steps: int = 1
    """How often the messages are passed with the same affinity."""
    backend: Literal["shift", "triton"] = "shift"
    """Implementation of the weighted sum; `triton` needs a CUDA device."""
    gate: bool = False
    """Fall back to the cell itself where the prior is unsure (its entropy is high)."""

    def __post_init__(self) -> None:
        require(self.kernel >= 3 and self.kernel % 2 == 1, "head.p2a.kernel: must be odd, >= 3")
        require(self.sigma_init > self.sigma_min, "head.p2a.sigma_init: must exceed sigma_min")
        require(
            len(self.dilations) > 0 and min(self.dilations) >= 1,
            "head.p2a.dilations: at least one, each at least 1",
        )
        require(self.groups >= 1, "head.p2a.groups: must be at least 1")
        require(
            self.sigma_scope != "class" or self.source != "uniform",
            "head.p2a.sigma_scope: nothing is compared, so there are no classes",
        )
        require(
            not self.gate or self.source == "prior",
            "head.p2a.gate: only a prior can be unsure, source must be prior",
        )
        require(self.steps >= 1, "head.p2a.steps: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Self-attention of DAS (method 3.3)."""

    kind: Literal["auto", "full", "pooled", "window", "none"] = "auto"
    """`auto`: full up to `max_full` tokens, then keys and values pooled to at most `kv`."""
    heads: int = 8
    window: int = 16
    """Side of the windows of `window`, in cells."""
    max_full: int = 4096
    kv: int = 1024
    pos: Literal["dw", "none"] = "dw"
    """Positional term: a depthwise 3 x 3 convolution of the values."""


@dataclass(frozen=True, kw_only=True)
class HostConfig:
    """The segmentation network that HySeg improves (method 4)."""

    name: Literal["unetformer", "dcswin", "lsknet", "d2ls", "probe"] = "unetformer"
    """`probe` is not a decoder but a linear layer on frozen tokens, see `ProbeConfig`."""
    backbone: str = "resnet18"
    """timm model name with feature maps at strides 4, 8, 16 and 32, or of a plain vision
    transformer, or lsknet_t or lsknet_s."""
    frozen: bool = False
    """Whether the backbone keeps the weights that it starts with, in both stages."""
    depths: tuple[int, ...] = (6, 12)
    """Blocks of a plain ViT, counted from 1, after which its tokens are taken."""
    token_px: int = 16
    """Image pixels along the side of a token: images are resampled for a plain ViT until a patch
    covers so many."""
    seen: tuple[int, ...] = (0, 1, 2)
    """Bands that a plain ViT sees as red, green and blue; the others reach its stem alone."""
    stem: int = 32
    """Channels at stride 4 of the convolutional stem beside a plain ViT; 0 for none."""
    stem_drop: float = 0.2
    """Share of the training chips on which that stem is silent."""
    dim: int = 64
    """Channels of the decoder; 256 is usual for D2LS, DCSwin has those of its backbone."""
    dropout: float = 0.1
    """Rate before the classifier."""
    drop_path: float = 0.0
    """Largest rate of stochastic depth in the backbone, for transformers."""
    decoder_extras: bool = False
    """UNetFormer only: down-connections, channel gates and a shuffle of the published code."""

    def __post_init__(self) -> None:
        require(
            len(self.depths) > 0
            and min(self.depths) >= 1
            and list(self.depths) == sorted(set(self.depths)),
            "host.depths: at least one block, counted from 1, ascending",
        )
        require(self.token_px in (8, 16, 32), "host.token_px: must be 8, 16 or 32")
        require(
            len(self.seen) == 3 and min(self.seen) >= 0,
            "host.seen: three bands, counted from 0",
        )
        require(self.stem >= 0, "host.stem: must not be negative")
        require(0 <= self.stem_drop < 1, "host.stem_drop: must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class PyramidConfig:
    """How the prior reaches the strides of the host (method 2.9)."""

    source: Literal["probabilities", "embedding"] = "probabilities"
    """What of the prior: class probabilities, or the drawn map in its label space."""
    channels: tuple[int, ...] = (32, 64, 128)
    """Channels of the stages for strides 8, 16 and 32."""
    out: Literal["softmax", "raw"] = "softmax"
    """`softmax`: N class probabilities per level; `raw`: `raw_channels` normalised features."""
    raw_channels: int = 16
    skip: bool = True
    """Start each level as the area-pooled probabilities of the prior (`softmax` only)."""

    def __post_init__(self) -> None:
        require(
            self.source == "probabilities" or self.out == "raw" or not self.skip,
            "head.pyramid.skip: only probabilities can be pooled, an embedding needs skip = false",
        )
        require(len(self.channels) == 3, "head.pyramid.channels: three, for strides 8, 16, 32")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """What HySeg adds to the host: prior pyramid, P2A and DAS (method 2.9 and 3)."""

    kind: Literal["das", "none"] = "das"
    """`none` is the bare host, the baseline of every comparison."""
    mode: Literal["replace", "append"] = "replace"
    """DAS in place of the host's context blocks, or after them."""
    levels: tuple[int, ...] = (8, 16, 32)
    """Strides at which DAS stands."""
    dim: int = 64
    """Channels D of the features that exchange messages."""
    prior: Literal["meanstruct", "segmentor", "gt", "shuffled", "none"] = "meanstruct"
    """Where class probabilities come from: the generative prior, another frozen segmentor, the
    labels (upper bound), the prior of another image (lower bound), or nowhere."""
    segmentor: HostConfig = field(default_factory=HostConfig)
    """The frozen segmentor of `prior = "segmentor"`."""
    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    p2a: P2AConfig = field(default_factory=P2AConfig)
    message: Literal[
        "affinity", "affinity_prior", "identity", "descriptor", "prior", "concat", "add"
    ] = "affinity"
    """What the first residual branch adds: messages along the affinity; such messages that report
    the prior of their cell, too; the features themselves;
    the affinity as a description of the place; the prior; the prior beside the features; or the
    prior without further layers."""
    fuse: Literal["mlp", "conv"] = "mlp"
    drop_path: float = 0.1
    zero_init: bool = True
    """Start the message and attention branches at zero, so DAS is the identity at step 0."""
    attention: AttentionConfig = field(default_factory=AttentionConfig)

    def __post_init__(self) -> None:
        require(set(self.levels) <= {8, 16, 32}, "head.levels: a subset of 8, 16, 32")
        needs_prior = self.message in ("affinity_prior", "prior", "concat", "add") or (
            self.message in ("affinity", "descriptor") and self.p2a.source == "prior"
        )
        require(
            self.pyramid.out == "softmax" or not self.p2a.gate,
            "head.p2a.gate: needs class probabilities, head.pyramid.out must be softmax",
        )
        require(
            self.prior != "none" or not needs_prior,
            f"head.message: {self.message} needs a prior, but head.prior is none",
        )
        require(
            self.dim % self.attention.heads == 0, "head.dim: must be a multiple of attention.heads"
        )

    @property
    def least_chip(self) -> int:
        """Side in pixels of the smallest image whose every level holds a whole neighbourhood."""
        reach = (self.p2a.kernel - 1) * max(self.p2a.dilations) + 1
        compares = self.kind == "das" and self.message in (
            "affinity", "affinity_prior", "descriptor"
        )  # fmt: skip
        return max(self.levels, default=1) * (reach if compares else 1)


@dataclass(frozen=True, kw_only=True)
class HySegConfig:
    """A whole network; `hyseg_models.build` turns it into a module."""

    bands: int = 3
    classes: int = 7
    prior: PriorConfig = field(default_factory=PriorConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    host: HostConfig = field(default_factory=HostConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    """Of `host.name = "probe"`."""

    def __post_init__(self) -> None:
        require(
            self.host.name != "probe" or self.head.kind == "none",
            "head.kind: a probe has no place for a prior, it must be none",
        )
        require(
            self.head.pyramid.source == "probabilities"
            or self.head.prior in ("meanstruct", "shuffled", "none"),
            f"head.pyramid.source: {self.head.prior} has no embedding, only probabilities",
        )
        require(self.bands >= 1, "bands: at least one band is needed")
        require(
            2 <= self.classes <= IGNORE_ID, f"classes: 2 to {IGNORE_ID} classes, not {self.classes}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as nested dictionaries, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> HySegConfig:
        """The configuration stored by `to_dict`.

        Raises:
            ConfigError: If a key is unknown or a value has the wrong type.
        """
        return build_record(cls, values)

    def override(self, changes: dict[str, Any]) -> HySegConfig:
        """A copy with some keys changed, each named by its path: `head.p2a.kernel`.

        Raises:
            ConfigError: If a key is unknown or a value does not fit.
        """
        values = self.to_dict()
        for path, value in changes.items():
            *tables, key = path.split(".")
            target = values
            for table in tables:
                target = target.get(table, {})
                require(isinstance(target, dict), f"unknown key {path}")
            require(key in target, f"unknown key {path}")
            target[key] = value
        return self.from_dict(values)
