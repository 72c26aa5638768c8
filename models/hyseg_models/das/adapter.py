"""DAS for hosts that have no place for it inside: the pyramid is refined before the decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from hyseg_models.blocks.layers import zeroed
from hyseg_models.config.config import HeadConfig
from hyseg_models.das.das import DAS
from hyseg_models.das.pyramid import Guide


class PyramidAdapter(nn.Module):
    """y + Up(DAS(Down(y)) - Down(y)) at each stride of the head; other levels pass unchanged.

    Down and Up are 1 x 1 convolutions to D channels and back; Up starts at zero, so the host
    starts as it is.

    Shapes: maps (B, C_i, H/s_i, W/s_i) and Guides by stride -> maps of the same shapes.
    """

    def __init__(
        self,
        strides: Sequence[int],
        channels: Sequence[int],
        config: HeadConfig,
        prior_channels: int,
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        levels = [(s, c) for s, c in zip(strides, channels, strict=True) if s in config.levels]
        self.down = nn.ModuleDict({str(s): nn.Conv2d(c, config.dim, 1) for s, c in levels})
        self.das = nn.ModuleDict({str(s): DAS(config, prior_channels) for s, _ in levels})
        self.up = nn.ModuleDict({str(s): zeroed(nn.Conv2d(config.dim, c, 1)) for s, c in levels})

    def forward(self, pyramid: Sequence[Tensor], guides: Mapping[int, Guide]) -> list[Tensor]:
        return [
            self._refine(y, str(stride), guides[stride]) if str(stride) in self.das else y
            for stride, y in zip(self.strides, pyramid, strict=True)
        ]

    def _refine(self, y: Tensor, key: str, guide: Guide) -> Tensor:
        reduced = self.down[key](y)
        out: Tensor = y + self.up[key](self.das[key](reduced, guide) - reduced)
        return out
