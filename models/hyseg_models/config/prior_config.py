"""What the prior is made of and how it is drawn, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hyseg_models.config.records import require


@dataclass(frozen=True, kw_only=True)
class ConditionConfig:
    """Encoder E_I that turns the image into the condition of the prior (method 2.5)."""

    kind: Literal["timm", "stem", "host"] = "timm"
    """`timm`: a feature pyramid of its own; `stem`: two strided convolutions and two residual
    blocks; `host`: the host's backbone, trained in stage 1 and frozen in stage 2."""
    backbone: str = "resnet18"
    """timm model name of the pyramid."""
    strides: tuple[int, ...] = (4, 8, 16, 32)
    """Pyramid levels in use, as pixels per cell."""
    width: int = 64
    """Channels of the condition map."""
    detail: int = 0
    """Channels of strided convolutions on the image itself besides, of use where the host's
    features are coarser than the prior; 0 for none."""
    levels: Literal["all", "input"] = "all"
    """`all` adds the matching scale at every level of the prior network too."""

    def __post_init__(self) -> None:
        require(len(self.strides) > 0, "prior.condition.strides: at least one level is needed")


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
    """Lower bound of t where the network's output is divided by it, in training."""
    noise_gate: bool = False
    """Multiply the state by 1 - r where it enters. At (1, 1), where it is noise alone and says
    nothing of the map, the network then cannot see it, and what it gives is a true mean.
    Without effect where a velocity is predicted, which must hold that noise (`prior.param = u`)."""

    def __post_init__(self) -> None:
        require(0 < self.time_scale <= 32, "prior.net.time_scale: must lie in (0, 32]")
        require(0 < self.t_min < 1, "prior.net.t_min: must lie in (0, 1)")
        require(len(self.mult) >= 1, "prior.net.mult: at least one level is needed")


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
            require(0 <= getattr(self, name) <= 1, f"prior.time.{name}: must lie in [0, 1]")
        quotas = self.endpoint_quota + self.mean_quota
        require(quotas <= 1, "prior.time: endpoint_quota + mean_quota must not exceed 1")


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
    """How du/dt is computed; see `hyseg_models.prior.meanflow`."""
    fm_warmup: float = 0.1
    """Share of the training in which every sample has r = t."""
    ramp: float = 0.3
    """Share of the training after it in which ratio and gap grow to their final values."""


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """MeanStruct, the generative prior over label maps (method 2)."""

    stride: int = 4
    """Image pixels per cell of the prior grid."""
    embed: Literal["analog", "sdf", "ae"] = "analog"
    """Label space: centred class shares, truncated signed distances to each class, or the features
    of an autoencoder of label maps, which is trained first."""
    channels: int = 16
    """Channels of these features."""
    training: Literal["meanflow", "discriminative"] = "meanflow"
    """`discriminative` trains the same network by cross-entropy: the control experiment."""
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
        require(self.stride in (4, 8), "prior.stride: must be 4 or 8")
        require(self.beta > 0, "prior.beta: must be positive")
        require(0 <= self.smooth < 1, "prior.smooth: must lie in [0, 1)")
        require(
            self.embed == "analog" or self.param != "x_softmax",
            "prior.param: x_softmax needs embed = analog, others do not hold class shares",
        )
        require(self.channels >= 1, "prior.channels: at least one channel is needed")
        require(
            self.embed != "ae" or self.training == "meanflow",
            "prior.training: a discriminative prior gives class shares, which need no embed = ae",
        )


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
        require(self.nfe >= 1, "sample.nfe: must be at least 1")
        require(self.temperature > 0, "sample.temperature: must be positive")
        kind, _, draws = self.noise.partition(":")
        known = kind in ("position", "random", "fixed", "zero", "mean") and not draws
        averaged = kind == "avg" and draws.isdigit() and int(draws) > 0
        require(
            known or averaged,
            f"sample.noise: {self.noise!r} is not position, random, fixed, zero, mean or avg:k",
        )

    @property
    def draws(self) -> int:
        """Samples that are averaged."""
        _, _, draws = self.noise.partition(":")
        return int(draws or 1)

    @property
    def is_keyed(self) -> bool:
        """Whether the noise of a place is always the same, wherever the image begins."""
        return self.noise not in ("random", "fixed", "zero")
