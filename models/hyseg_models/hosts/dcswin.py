"""DCSwin: attention over channels and places, shared densely between the levels of a Swin pyramid.

Source: Wang et al. 2022, A Novel Transformer Based Semantic Segmentation Scheme for
Fine-Resolution Remote Sensing Images (densely connected Swin); written from its description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.blocks.layers import conv_norm_act, separable_conv, size_of, upsample
from hyseg_models.das.pyramid import Guide
from hyseg_models.hosts import Decoded

ATROUS_RATES = (6, 12)


class DCSwinDecoder(nn.Module):
    """Densely connected feature aggregation; no auxiliary head.

    out4 = 1x1(x4) + down(S(down(x2))),   out3 = S(x3) + down(C(down(x1))),
    out2 = C(x2) + L(out4),   out1 = L(out3) + 1x1(x1),   y = out1 + up(out2)

    with shared attention over places S, over channels C, and L that enlarges fourfold.
    (`down` doubles the stride; S and C carry their own residual.)

    Args:
        channels: Channels of the pyramid at strides 4, 8, 16 and 32.
        classes: Classes N.
        dropout: Rate before the classifier.
    """

    def __init__(self, channels: Sequence[int], classes: int, *, dropout: float) -> None:
        super().__init__()
        c1, c2, c3, c4 = channels
        self.project4 = conv_norm_act(c4, c4, 1)
        self.project1 = conv_norm_act(c1, c1, 1)
        self.x2_to_3 = conv_norm_act(c2, c3, 3, stride=2)
        self.x2_to_4 = conv_norm_act(c3, c4, 3, stride=2)
        self.x1_to_2 = conv_norm_act(c1, c2, 3, stride=2)
        self.x1_to_3 = conv_norm_act(c2, c3, 3, stride=2)
        self.places4, self.places3 = SharedPlaceAttention(c3), SharedPlaceAttention(c3)
        self.channels3, self.channels2 = SharedChannelAttention(), SharedChannelAttention()
        self.enlarge4 = Enlarge(c4, c2)
        self.enlarge3 = Enlarge(c3, c1)
        self.to_fine = conv_norm_act(c2, c1, 3)
        self.classify = nn.Sequential(
            nn.Dropout2d(dropout), conv_norm_act(c1, c1, 3), nn.Conv2d(c1, classes, 1)
        )

    def forward(
        self, pyramid: Sequence[Tensor], _guides: Mapping[int, Guide], size: tuple[int, int]
    ) -> Decoded:
        x1, x2, x3, x4 = pyramid
        out4 = self.project4(x4) + self.x2_to_4(self.places4(self.x2_to_3(x2)))
        out3 = self.places3(x3) + self.x1_to_3(self.channels3(self.x1_to_2(x1)))
        out2 = self.channels2(x2) + self.enlarge4(out4)
        out1 = self.project1(x1) + self.enlarge3(out3)
        fine = out1 + upsample(self.to_fine(out2), size_of(out1))
        return Decoded(upsample(self.classify(fine), size), None)


class SharedChannelAttention(nn.Module):
    """Linear attention between channels, y + gamma * A(y); gamma starts at zero.

    Shapes: (B, C, h, w) -> the same. Cost grows with cells * C^2, not with cells^2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, y: Tensor) -> Tensor:
        tokens = y.flatten(2)  # (B, C, cells)
        query = F.normalize(tokens, dim=-1)
        attended = _linear_attention(query, query, tokens)
        return y + self.gamma * attended.view(y.shape)


class SharedPlaceAttention(nn.Module):
    """Linear attention between places, y + gamma * A(y); gamma starts at zero.

    Shapes: (B, C, h, w) -> the same. Queries and keys have C / 8 channels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key = (nn.Conv2d(dim, max(1, dim // 8), 1) for _ in range(2))
        self.value = nn.Conv2d(dim, dim, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, y: Tensor) -> Tensor:
        query = F.normalize(self.query(y).flatten(2).transpose(1, 2), dim=-1)  # (B, cells, c)
        key = F.normalize(self.key(y).flatten(2).transpose(1, 2), dim=-1)
        value = self.value(y).flatten(2).transpose(1, 2)  # (B, cells, C)
        attended = _linear_attention(query, key, value).transpose(1, 2)
        return y + self.gamma * attended.reshape(y.shape)


def _linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention with weights 1 + q.k of unit vectors, summed in linear time.

    out_i = sum_j (1 + q_i . k_j) v_j / sum_j (1 + q_i . k_j)

    Shapes: query, key (B, n, c), value (B, n, d) -> (B, n, d).
    """
    summed = value.sum(dim=1, keepdim=True) + query @ (key.transpose(1, 2) @ value)
    total = value.shape[1] + query @ key.sum(dim=1).unsqueeze(-1)  # (B, n, 1)
    return summed / total.clamp_min(1e-6)


class Enlarge(nn.Module):
    """Two separable atrous convolutions, each followed by doubling the size.

    Shapes: (B, C, h, w) -> (B, C', 4 h, 4 w).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        widths = (inputs, outputs, outputs)
        self.steps = nn.ModuleList(
            nn.Sequential(
                separable_conv(widths[i], widths[i + 1], 3, padding=rate, dilation=rate),
                nn.BatchNorm2d(widths[i + 1]),
                nn.ReLU6(),
            )
            for i, rate in enumerate(ATROUS_RATES)
        )

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = F.interpolate(step(x), scale_factor=2.0, mode="nearest")
        return x
