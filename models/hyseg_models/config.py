"""What a HySeg network is made of, as frozen records.

A configuration is pure data: it is stored as JSON in every model file and is all that
`hyseg_models.build` needs. Training recipes (steps, learning rates) are not part of it;
the named configurations stand in `presets.py`.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

_Record = TypeVar("_Record")

IGNORE_ID = 255
"""Label value of pixels without a label: they carry no loss and no score."""


class ConfigError(ValueError):
    """A configuration that cannot describe a network; the message names the key."""


def _require(condition: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class ConditionConfig:
    """Encoder E_I that turns the image into the condition of the prior (method 2.5)."""

    kind: Literal["timm", "stem"] = "timm"
    """`timm`: a feature pyramid; `stem`: two strided convolutions and two residual blocks."""
    backbone: str = "resnet18"
    """timm model name of the pyramid."""
    strides: tuple[int, ...] = (4, 8, 16, 32)
    """Pyramid levels in use, as pixels per cell."""
    width: int = 64
    """Channels of the condition map."""
    levels: Literal["all", "input"] = "all"
    """`all` adds the matching scale at every level of the prior network too."""

    def __post_init__(self) -> None:
        _require(len(self.strides) > 0, "prior.condition.strides: at least one level is needed")


@dataclass(frozen=True, kw_only=True)
class PriorNetConfig:
    """U-Net that predicts the average velocity or the clean label map (method 2.6)."""

    base: int = 32
    """Channels at the finest level."""
    mult: tuple[int, ...] = (1, 2, 2, 4)
    """Channels of each level, as multiples of `base`; each level halves the resolution."""
    blocks: int = 2
    """Residual blocks per level on the way down (one more on the way up)."""
    attn_ds: tuple[int, ...] = ()
    """Downsampling factors, relative to the prior grid, at which blocks carry self-attention."""
    mid_attn: bool = False
    """Self-attention at the bottleneck."""
    heads: int = 2
    norm: Literal["layer2d", "group"] = "layer2d"
    """`layer2d` keeps the receptive field finite, so overlapping tiles can agree."""
    time_scale: float = 1.0
    """Factor on t before the sinusoid. Large values drown du/dt (method 1.3)."""
    t_min: float = 0.05
    """Lower bound of t where the network's output is divided by it."""

    def __post_init__(self) -> None:
        _require(0 < self.time_scale <= 32, "prior.net.time_scale: must lie in (0, 32]")
        _require(0 < self.t_min < 1, "prior.net.t_min: must lie in (0, 1)")
        _require(len(self.mult) >= 1, "prior.net.mult: at least one level is needed")


@dataclass(frozen=True, kw_only=True)
class TimeConfig:
    """Law of the two times r <= t drawn for each training sample (method 1.2)."""

    kind: Literal["v1", "logit_normal", "uniform"] = "v1"
    """`v1`: t and r from their own laws, r cut at t; the others: two draws from one law, sorted."""
    t: tuple[float, float] = (0.4, 1.0)
    """Mean and standard deviation of logit(t); the only law of `logit_normal`."""
    r: tuple[float, float] = (-1.2, 1.2)
    """Mean and standard deviation of logit(r), for `v1`."""
    ratio: float = 0.5
    """Share of the batch with r < t; the rest is plain flow matching (r = t)."""
    endpoint_quota: float = 0.10
    """Share forced to (r, t) = (0, 1), the only point used at inference."""
    mean_quota: float = 0.05
    """Share forced to (1, 1), where the output is the posterior mean."""

    def __post_init__(self) -> None:
        for name in ("ratio", "endpoint_quota", "mean_quota"):
            _require(0 <= getattr(self, name) <= 1, f"prior.time.{name}: must lie in [0, 1]")
        quotas = self.endpoint_quota + self.mean_quota
        _require(quotas <= 1, "prior.time: endpoint_quota + mean_quota must not exceed 1")


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """MeanFlow regression (method 1.1, 1.4, 1.5)."""

    p: float = 0.75
    """Exponent of the adaptive weight; 0 is the plain mean square."""
    c: float = 1e-3
    """Constant of the adaptive weight, in units of the squared label scale."""
    tangent: Literal["cond", "pred_v"] = "pred_v"
    """Direction of the JVP: the sampled velocity, or the network's own u(x_t, t, t)."""
    jvp: Literal["graph", "split_subset", "fd", "alpha"] = "split_subset"
    """How du/dt is computed; see `hyseg_models.meanflow`."""
    fm_warmup: float = 0.1
    """Share of the training in which every sample has r = t."""
    ramp: float = 0.3
    """Share of the training after it in which ratio and gap grow to their final values."""


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """MeanStruct, the generative prior over label maps (method 2)."""

    stride: int = 4
    """Image pixels per cell of the prior grid."""
    beta: float = 0.25
    """Root mean square of an embedded hard label."""
    smooth: float = 0.05
    """Label smoothing of the embedding, towards 1/N."""
    param: Literal["x", "x_softmax", "u"] = "x"
    """What the network predicts: the clean map, its class logits, or the average velocity."""
    condition: ConditionConfig = field(default_factory=ConditionConfig)
    net: PriorNetConfig = field(default_factory=PriorNetConfig)
    time: TimeConfig = field(default_factory=TimeConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    def __post_init__(self) -> None:
        _require(self.stride in (4, 8), "prior.stride: must be 4 or 8")
        _require(self.beta > 0, "prior.beta: must be positive")
        _require(0 <= self.smooth < 1, "prior.smooth: must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How the prior is sampled when the network is used (method 2.7)."""

    noise: str = "position"
    """`position`, `random`, `fixed`, `zero`, `mean`, or `avg:k` with k keyed draws."""
    seed: int = 0
    nfe: int = 1
    """Network evaluations per sample; 1 is the method."""
    temperature: float = 8.0
    """Inverse temperature of the decoded class probabilities, fitted after stage 1."""

    def __post_init__(self) -> None:
        _require(self.nfe >= 1, "sample.nfe: must be at least 1")
        _require(self.temperature > 0, "sample.temperature: must be positive")
        kind, _, draws = self.noise.partition(":")
        known = kind in ("position", "random", "fixed", "zero", "mean") and not draws
        averaged = kind == "avg" and draws.isdigit() and int(draws) > 0
        _require(
            known or averaged,
            f"sample.noise: {self.noise!r} is none of position, random, fixed, zero, mean, avg:k",
        )


@dataclass(frozen=True, kw_only=True)
class P2AConfig:
    """Prior-to-affinity module (method 3.1)."""

    kernel: int = 7
    """Side K of the neighbourhood, odd."""
    affinity: Literal["gaussian", "softmax_exp"] = "gaussian"
    sigma: Literal["learnable", "relu", "fixed"] = "learnable"
    """Bandwidth: softplus above `sigma_min`, the paper's ReLU, or a constant."""
    sigma_init: float = 0.5
    sigma_min: float = 0.05
    xi: float = 1e-6
    """Guard against division by zero in the exponent."""
    mask: bool = True
    """Give no weight to neighbours outside the map or without data."""
    dilation: int = 1
    """Cells between neighbours."""
    steps: int = 1
    """How often the messages are passed with the same affinity."""

    def __post_init__(self) -> None:
        _require(self.kernel >= 3 and self.kernel % 2 == 1, "head.p2a.kernel: must be odd, >= 3")
        _require(self.sigma_init > self.sigma_min, "head.p2a.sigma_init: must exceed sigma_min")
        _require(self.dilation >= 1, "head.p2a.dilation: must be at least 1")
        _require(self.steps >= 1, "head.p2a.steps: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Self-attention of DAS (method 3.3)."""

    kind: Literal["auto", "full", "pooled", "none"] = "auto"
    """`auto`: full up to `max_full` tokens, then keys and values pooled to at most `kv`."""
    heads: int = 8
    max_full: int = 4096
    kv: int = 1024
    pos: Literal["dw", "none"] = "dw"
    """Positional term: a depthwise 3 x 3 convolution of the values."""


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
    """Decoder channels D."""
    pyramid: tuple[int, ...] = (32, 64, 128)
    """Channels of the three stages that bring the prior to strides 8, 16 and 32."""
    pyramid_skip: bool = True
    """Start each level as the area-pooled class probabilities of the prior."""
    p2a: P2AConfig = field(default_factory=P2AConfig)
    fuse: Literal["mlp", "conv"] = "mlp"
    drop_path: float = 0.1
    zero_init: bool = True
    """Start the message and attention branches at zero, so DAS is the identity at step 0."""
    attention: AttentionConfig = field(default_factory=AttentionConfig)

    def __post_init__(self) -> None:
        _require(set(self.levels) <= {8, 16, 32}, "head.levels: a subset of 8, 16, 32")
        _require(len(self.pyramid) == 3, "head.pyramid: three stages, for strides 8, 16 and 32")
        _require(
            self.dim % self.attention.heads == 0, "head.dim: must be a multiple of attention.heads"
        )


@dataclass(frozen=True, kw_only=True)
class HostConfig:
    """The segmentation network that HySeg improves (method 4)."""

    name: Literal["unetformer"] = "unetformer"
    backbone: str = "resnet18"
    """timm model name with feature maps at strides 4, 8, 16 and 32."""
    dropout: float = 0.1


@dataclass(frozen=True, kw_only=True)
class HySegConfig:
    """A whole network; `hyseg_models.build` turns it into a module."""

    bands: int = 3
    classes: int = 7
    prior: PriorConfig = field(default_factory=PriorConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    host: HostConfig = field(default_factory=HostConfig)

    def __post_init__(self) -> None:
        _require(self.bands >= 1, "bands: at least one band is needed")
        _require(
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
        return _build_record(cls, values, "")


def _build_record(cls: type[_Record], values: Any, path: str) -> _Record:
    _require(isinstance(values, dict), f"{path or 'configuration'}: expected a table of keys")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    _require(not unknown, f"unknown key {path}{''.join(unknown[:1])}")
    parts = {key: _convert(hints[key], value, path + key) for key, value in values.items()}
    return cls(**parts)


def _convert(hint: Any, value: Any, path: str) -> Any:
    """`value`, read from JSON or TOML, as the annotated type `hint`."""
    if dataclasses.is_dataclass(hint):
        return _build_record(typing.cast("type[Any]", hint), value, path + ".")
    if typing.get_origin(hint) is tuple:
        _require(isinstance(value, list | tuple), f"{path}: expected a list")
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, entry, path) for entry in value)
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        _require(value in choices, f"{path}: {value!r} is none of {', '.join(map(str, choices))}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    fits = isinstance(value, hint) and isinstance(value, bool) == (hint is bool)
    _require(fits, f"{path}: expected {hint.__name__}, not {value!r}")
    return value
