"""The assembled network: prior, pyramid, host with DAS; one output type."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.backbones import TimmPyramid
from hyseg_models.config import ConfigError, HySegConfig
from hyseg_models.das import DAS
from hyseg_models.hosts.unetformer import UNetFormerDecoder
from hyseg_models.meanstruct import MeanStruct
from hyseg_models.pyramid import Guide, PriorPyramid

SIZE_MULTIPLE = 32
"""Inputs are padded to a multiple of the coarsest stride."""


@dataclass(frozen=True)
class HySegOutput:
    """What the network says about a batch; the same type in training and in evaluation."""

    logits: Tensor
    """(B, N, H, W), before softmax."""
    aux: Tensor | None
    """Logits of the host's auxiliary head (B, N, H, W); None in evaluation."""
    prior: Tensor | None
    """Class probabilities of the prior (B, N, h, w); None without DAS."""


class HySeg(nn.Module):
    """Image -> class logits, guided by the structure prior.

    The prior is trained first, by its own objective (`MeanStruct.objective`), and stays frozen
    and in evaluation mode here. With `head.kind = "none"` this is the bare host.

    Shapes: image (B, bands, H, W) normalised, with zeros where invalid; valid bool (B, 1, H, W),
    None if all is; origin int64 (B, 2), absolute row and column of the first pixel on the noise
    grid. Any H, W of at least 2.
    """

    def __init__(self, config: HySegConfig, *, pretrained: bool = False) -> None:
        super().__init__()
        self.config = config
        self.backbone = TimmPyramid(
            config.host.backbone,
            bands=config.bands,
            strides=(4, 8, 16, 32),
            pretrained=pretrained,
        )
        self.prior: MeanStruct | None = None
        das = {}
        if config.head.kind == "das":
            self.prior = MeanStruct(
                config.bands, config.classes, config.prior, pretrained=pretrained
            )
            self.prior.requires_grad_(False).eval()
            self.pyramid = PriorPyramid(
                config.classes,
                config.prior.stride,
                config.head.pyramid,
                skip=config.head.pyramid_skip,
            )
            das = {stride: DAS(config.head) for stride in config.head.levels}
            self.temperature: Tensor
            # Fitted on validation chips after stage 1, so it travels with the weights.
            self.register_buffer("temperature", torch.tensor(config.sample.temperature))
        self.decoder = UNetFormerDecoder(
            self.backbone.channels,
            config.classes,
            config.head.dim,
            das,
            keep_context=config.head.mode == "append",
            dropout=config.host.dropout,
        )

    def train(self, mode: bool = True) -> HySeg:  # noqa: FBT001, FBT002 - torch's signature
        super().train(mode)
        if self.prior is not None:
            self.prior.eval()
        return self

    def forward(
        self, image: Tensor, valid: Tensor | None = None, origin: Tensor | None = None
    ) -> HySegOutput:
        height, width = image.shape[-2:]
        if min(height, width) < 2:
            message = f"images of at least 2 x 2 pixels are needed, not {height} x {width}"
            raise ConfigError(message)
        if valid is None:
            valid = image.new_ones(len(image), 1, height, width, dtype=torch.bool)
        margin = (0, -width % SIZE_MULTIPLE, 0, -height % SIZE_MULTIPLE)
        image = F.pad(image, margin, mode="replicate")
        valid = F.pad(valid, margin, value=False)
        prior, guides = self._guide(image, valid, origin)
        decoded = self.decoder(self.backbone(image), guides, image.shape[-2:])
        crop = (..., slice(height), slice(width))
        return HySegOutput(
            logits=decoded.logits[crop],
            aux=None if decoded.aux is None else decoded.aux[crop],
            prior=prior,
        )

    @torch.no_grad()
    def draw_prior(self, image: Tensor, valid: Tensor, origin: Tensor | None) -> Tensor:
        """Class probabilities of the prior (B, N, h, w); fresh noise at every call in training."""
        if self.prior is None:
            message = "this network has no prior (head.kind is none)"
            raise ConfigError(message)
        settings = self.config.sample
        if self.training:
            settings = replace(settings, noise="random")
        with torch.autocast(image.device.type, enabled=False):
            drawn = self.prior.draw(image.float(), valid, origin, settings)
            return self.prior.labels.decode(drawn, self.temperature)

    def _guide(
        self, image: Tensor, valid: Tensor, origin: Tensor | None
    ) -> tuple[Tensor | None, dict[int, Guide]]:
        if self.prior is None:
            return None, {}
        probabilities = self.draw_prior(image, valid, origin)
        return probabilities, self.pyramid(probabilities, valid)


def build(config: HySegConfig, *, pretrained: bool = False) -> HySeg:
    """The network that `config` describes, with random or ImageNet backbone weights.

    Raises:
        ConfigError: If the configuration cannot be built.
        WeightsUnavailableError: If `pretrained` weights could not be fetched.
    """
    return HySeg(config, pretrained=pretrained)
