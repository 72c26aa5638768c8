"""DAS: host features pass messages along the affinity of the prior, then attend to each other."""

from __future__ import annotations

from timm.layers import DropPath, LayerNorm2d
from torch import Tensor, nn

from hyseg_models.attention import SelfAttention2d
from hyseg_models.config import HeadConfig
from hyseg_models.layers import zeroed
from hyseg_models.neighbourhood import aggregate
from hyseg_models.p2a import P2A
from hyseg_models.pyramid import Guide


class DAS(nn.Module):
    """Dynamic affinity-driven segmentation block of one level.

    M = phi_feat(norm(y)),   M'_j = sum_k A_jk M_{j+k}
    y' = y + phi_fuse(M'),   out = y' + SA(norm(y'))

    with A = P2A(prior). Both residual branches go through DropPath and, with `zero_init`,
    start at zero, so that the block is the identity at step 0.

    Shapes: features (B, D, h, w), Guide of the same h, w -> (B, D, h, w).

    Source: HySeg, section on DAS; pre-norm before the attention is ours.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        dim = config.dim
        self.steps = config.p2a.steps
        self.p2a = P2A(config.p2a)
        self.norm = nn.BatchNorm2d(dim)
        self.phi_feat = nn.Conv2d(dim, dim, 1)
        last = nn.Conv2d(dim, dim, 1)
        if config.zero_init:
            last = zeroed(last)
        self.phi_fuse = (
            nn.Sequential(nn.Conv2d(dim, dim, 1), nn.GELU(), last) if config.fuse == "mlp" else last
        )
        self.drop_path = DropPath(config.drop_path)
        self.attention: SelfAttention2d | None = None
        if config.attention.kind != "none":
            self.attention_norm = LayerNorm2d(dim)
            self.attention = SelfAttention2d(dim, config.attention, zero_init=config.zero_init)

    def forward(self, features: Tensor, guide: Guide) -> Tensor:
        affinity = self.p2a(guide.prior, guide.valid)
        messages = self.phi_feat(self.norm(features))
        kernel, dilation = self.p2a.config.kernel, self.p2a.config.dilation
        for _ in range(self.steps):
            messages = aggregate(messages, affinity.to(messages.dtype), kernel, dilation)
        features = features + self.drop_path(self.phi_fuse(messages))
        if self.attention is not None:
            attended = self.attention(self.attention_norm(features), guide.valid)
            features = features + self.drop_path(attended)
        return features
