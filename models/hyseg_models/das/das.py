"""DAS: host features pass messages along the affinity of the prior, then attend to each other."""

from __future__ import annotations

import torch
from timm.layers import DropPath, LayerNorm2d
from torch import Tensor, nn

from hyseg_models.blocks.attention import SelfAttention2d
from hyseg_models.blocks.layers import zeroed
from hyseg_models.blocks.neighbourhood import aggregate
from hyseg_models.config.config import HeadConfig
from hyseg_models.config.records import ConfigError
from hyseg_models.das.p2a import P2A, certainty
from hyseg_models.das.pyramid import Guide


class DAS(nn.Module):
    """Dynamic affinity-driven segmentation block of one level.

    y' = y + phi_fuse(message(y, prior)),   out = y' + SA(norm(y'))

    where the message of the method is the one passed along the affinity; the others belong to
    the ablations. Both residual branches go through DropPath and, with `zero_init`, start at
    zero, so that the block is the identity at step 0.

    Shapes: features (B, D, h, w), Guide of the same h, w -> (B, D, h, w).

    Args:
        config: Options of the head.
        prior_channels: Channels of the guide's prior.

    Source: HySeg, section on DAS; pre-norm before the attention is ours.
    """

    def __init__(self, config: HeadConfig, prior_channels: int) -> None:
        super().__init__()
        dim = config.dim
        self.message = _make_message(config, prior_channels)
        last = nn.Conv2d(dim, dim, 1)
        if config.zero_init:
            last = zeroed(last)
        deep = config.fuse == "mlp" and config.message != "add"
        self.phi_fuse = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.GELU(), last) if deep else last
        self.drop_path = DropPath(config.drop_path)
        self.attention: SelfAttention2d | None = None
        if config.attention.kind != "none":
            self.attention_norm = LayerNorm2d(dim)
            self.attention = SelfAttention2d(dim, config.attention, zero_init=config.zero_init)

    def forward(self, features: Tensor, guide: Guide) -> Tensor:
        features = features + self.drop_path(self.heard(features, guide))
        if self.attention is not None:
            features = features + self.drop_path(self.attended(features, guide))
        return features

    def heard(self, features: Tensor, guide: Guide) -> Tensor:
        """The first residual, phi_fuse(message)."""
        residual: Tensor = self.phi_fuse(self.message(features, guide))
        return residual

    def attended(self, features: Tensor, guide: Guide) -> Tensor:
        """The second residual, the attention of features that have heard; zero without any."""
        if self.attention is None:
            return torch.zeros_like(features)
        residual: Tensor = self.attention(self.attention_norm(features), guide.valid)
        return residual


def _make_message(config: HeadConfig, prior_channels: int) -> nn.Module:
    dim = config.dim
    if config.message == "affinity":
        return AffinityMessage(config, prior_channels)
    if config.message == "affinity_prior":
        return AffinityMessage(config, prior_channels, with_prior=True)
    if config.message == "identity":
        return FeatureMessage(dim)
    if config.message == "descriptor":
        return DescriptorMessage(config, prior_channels)
    return PriorMessage(dim, prior_channels, beside_features=config.message == "concat")


class Affinity(nn.Module):
    """The affinity of a level, from whatever the configuration names as its source.

    Shapes: features (B, D, h, w), Guide -> (B * groups, dilations * K^2, h, w).
    """

    def __init__(self, config: HeadConfig, prior_channels: int) -> None:
        super().__init__()
        self.config = config.p2a
        channels = {"prior": prior_channels, "feature": config.dim, "uniform": 1}[config.p2a.source]
        if channels % config.p2a.groups or config.dim % config.p2a.groups:
            message = (
                f"head.p2a.groups: {config.p2a.groups} does not divide the {channels} channels "
                f"of the {config.p2a.source} and the {config.dim} of the features"
            )
            raise ConfigError(message)
        self.p2a = P2A(config.p2a, channels)
        self.norm = LayerNorm2d(config.dim) if config.p2a.source == "feature" else nn.Identity()

    def forward(self, features: Tensor, guide: Guide) -> Tensor:
        config = self.config
        affinity: Tensor = self.p2a(
            split_groups(self.compared(features, guide), config.groups),
            guide.valid.repeat_interleave(config.groups, dim=0),
        )
        if config.gate:
            sure = certainty(guide.prior).repeat_interleave(config.groups, dim=0)
            itself = torch.zeros_like(affinity)
            itself[:, config.kernel**2 // 2] = 1.0
            affinity = sure * affinity + (1.0 - sure) * itself
        return affinity

    def compared(self, features: Tensor, guide: Guide) -> Tensor:
        """The map (B, C, h, w) whose neighbours are compared."""
        if self.config.source == "prior":
            return guide.prior
        if self.config.source == "uniform":
            return torch.zeros_like(features[:, :1])
        normalised: Tensor = self.norm(features)
        return normalised


def split_groups(x: Tensor, groups: int) -> Tensor:
    """(B, C, h, w) -> (B * groups, C / groups, h, w)."""
    return x.reshape(-1, x.shape[1] // groups, *x.shape[2:])


class AffinityMessage(nn.Module):
    """M = phi_feat(norm(y)),   M'_j = sum_k A_jk M_{j+k}: the message of the method.

    With `with_prior` M = phi_feat([norm(y), s]) for the prior s: the affinity says where a
    structure ends, but not of which class it is. That is ours.
    """

    def __init__(
        self, config: HeadConfig, prior_channels: int, *, with_prior: bool = False
    ) -> None:
        super().__init__()
        self.config = config.p2a
        self.with_prior = with_prior
        self.affinity = Affinity(config, prior_channels)
        self.norm = nn.BatchNorm2d(config.dim)
        self.phi_feat = nn.Conv2d(config.dim + prior_channels * with_prior, config.dim, 1)

    def forward(self, features: Tensor, guide: Guide) -> Tensor:
        config = self.config
        rings = self.affinity(features, guide).chunk(len(config.dilations), dim=1)
        source = self.norm(features)
        if self.with_prior:
            source = torch.cat([source, guide.prior.to(source.dtype)], dim=1)
        messages = split_groups(self.phi_feat(source), config.groups)
        if messages.device.type == "cpu":
            # Sums of single numbers, which processors do not make faster in half precision.
            messages = messages.float()
        for _ in range(config.steps):
            messages = torch.stack(
                [
                    aggregate(
                        messages,
                        ring.to(messages.dtype),
                        config.kernel,
                        dilation,
                        backend=config.backend,
                    )
                    for ring, dilation in zip(rings, config.dilations, strict=True)
                ]
            ).sum(dim=0)
        return messages.reshape(features.shape)


class FeatureMessage(nn.Module):
    """Each cell hears only itself: an affinity that is the identity."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(dim)
        self.phi_feat = nn.Conv2d(dim, dim, 1)

    def forward(self, features: Tensor, _guide: Guide) -> Tensor:
        message: Tensor = self.phi_feat(self.norm(features))
        return message


class DescriptorMessage(nn.Module):
    """The affinity itself, as a description of the place, without any messages."""

    def __init__(self, config: HeadConfig, prior_channels: int) -> None:
        super().__init__()
        self.affinity = Affinity(config, prior_channels)
        slots = config.p2a.groups * len(config.p2a.dilations) * config.p2a.kernel**2
        self.phi = nn.Conv2d(slots, config.dim, 1)

    def forward(self, features: Tensor, guide: Guide) -> Tensor:
        affinity = self.affinity(features, guide)
        batch, _, height, width = features.shape
        message: Tensor = self.phi(affinity.reshape(batch, -1, height, width).to(features.dtype))
        return message


class PriorMessage(nn.Module):
    """The prior itself, alone or beside the features, without affinity and neighbours."""

    def __init__(self, dim: int, prior_channels: int, *, beside_features: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(dim) if beside_features else None
        self.phi = nn.Conv2d(prior_channels + dim * beside_features, dim, 1)

    def forward(self, features: Tensor, guide: Guide) -> Tensor:
        source = guide.prior
        if self.norm is not None:
            source = torch.cat([self.norm(features), source], dim=1)
        message: Tensor = self.phi(source)
        return message
