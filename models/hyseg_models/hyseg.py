"""The assembled network: backbone, prior, pyramid, host with DAS; one output type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.blocks.backbones import Backbone, build_backbone, is_plain_vit
from hyseg_models.blocks.layers import in_single
from hyseg_models.blocks.vit import PlainViT, TokenPyramid
from hyseg_models.config.config import IGNORE_ID, HeadConfig, HySegConfig
from hyseg_models.config.records import ConfigError
from hyseg_models.das.adapter import PyramidAdapter
from hyseg_models.das.das import DAS
from hyseg_models.das.p2a import Bandwidth
from hyseg_models.das.pyramid import PriorPyramid, empty_guides
from hyseg_models.hosts.d2ls import D2LSDecoder
from hyseg_models.hosts.dcswin import DCSwinDecoder
from hyseg_models.hosts.unetformer import UNetFormerDecoder
from hyseg_models.prior.condition import Condition
from hyseg_models.prior.labels import LabelEmbedding, decode, pooled_shares
from hyseg_models.prior.meanflow import MeanFlowLoss
from hyseg_models.prior.meanstruct import MeanStruct
from hyseg_models.tokens.head import BesideImage, ProbeHead
from hyseg_models.tokens.scaled import ScaledTokens
from hyseg_models.variation import varied

STRIDES = (4, 8, 16, 32)
SIZE_MULTIPLE = STRIDES[-1]
"""Inputs are padded to a multiple of the coarsest stride."""

HOSTS_WITH_CONTEXT_BLOCKS = ("unetformer", "lsknet")
"""Hosts whose decoder has blocks that DAS replaces; others get DAS on their pyramid."""


@dataclass(frozen=True)
class HySegOutput:
    """What the network says about a batch; the same type in training and in evaluation."""

    logits: Tensor
    """(B, N, H, W), before softmax."""
    aux: Tensor | None
    """Logits of the host's auxiliary head (B, N, H, W); None in evaluation."""
    prior: Tensor | None
    """The prior as the pyramid takes it (B, C, h, w): class probabilities, or a map in label space
    (`HySeg.classes_of_prior`); None without a prior."""


class HySeg(nn.Module):
    """Image -> class logits, guided by the structure prior.

    The prior is trained first, by its own objective (`prior_objective`), and stays frozen and
    in evaluation mode in `forward`; with it the backbone, where the prior is conditioned on the
    host. With `head.kind = "none"` this is the bare host. A backbone that the configuration calls
    frozen keeps the weights that it starts with in both stages.

    Shapes: image (B, bands, H, W) normalised, with zeros where invalid; valid bool (B, 1, H, W),
    None if all is; origin int64 (B, 2), absolute row and column of the first pixel on the noise
    grid. Any H, W of at least 2.
    """

    def __init__(self, config: HySegConfig, *, pretrained: bool = False) -> None:
        super().__init__()
        self.config = config
        head, host = config.head, config.host
        self.backbone, self.neck = _build_encoder(config, pretrained=pretrained)
        self.prior: MeanStruct | None = None
        self.segmentor: HySeg | None = None
        self.pyramid: PriorPyramid | None = None
        self.adapter: PyramidAdapter | None = None
        prior_channels = 0
        if head.kind == "das" and head.prior != "none":
            self._add_prior(pretrained=pretrained)
            inputs = config.classes if self._space is None else self._space.channels
            stride = config.prior.stride
            self.pyramid = PriorPyramid(inputs, config.classes, stride, head.pyramid)
            prior_channels = self.pyramid.out_channels
        channels = self.backbone.channels if self.neck is None else self.neck.channels
        inside = host.name in HOSTS_WITH_CONTEXT_BLOCKS
        if head.kind == "das" and not inside:
            self.adapter = PyramidAdapter(STRIDES, channels, head, prior_channels)
        self.decoder = _build_decoder(config, channels, prior_channels)
        self._learned_after: int | None = None
        if host.frozen:
            self.backbone.requires_grad_(requires_grad=False)

    def _add_prior(self, *, pretrained: bool) -> None:
        config = self.config
        if config.head.prior in ("meanstruct", "shuffled"):
            self.prior = MeanStruct(
                config.bands, config.classes, config.prior, self.backbone, pretrained=pretrained
            )
            self.prior.requires_grad_(False).eval()
            self.temperature: Tensor
            # Fitted on validation chips after stage 1, so it travels with the weights.
            self.register_buffer("temperature", torch.tensor(config.sample.temperature))
        if config.head.prior == "segmentor":
            bare = replace(config, host=config.head.segmentor, head=HeadConfig(kind="none"))
            self.segmentor = HySeg(bare, pretrained=pretrained)
            self.segmentor.requires_grad_(False).eval()

    @property
    def shares_backbone(self) -> bool:
        """Whether the prior is conditioned on the host's own features."""
        return self.prior is not None and self.config.prior.condition.kind == "host"

    @property
    def _space(self) -> LabelEmbedding | None:
        """The label space that the pyramid takes the prior in; None for class probabilities."""
        is_embedded = self.config.head.pyramid.source == "embedding"
        return self.prior.labels if is_embedded and self.prior is not None else None

    @property
    def keeps_backbone(self) -> bool:
        """Whether the segmentation is learned with the backbone as it is."""
        return self.shares_backbone or (self.config.host.frozen and self._learned_after is None)

    def unfreeze(self, *, after: int = 0) -> None:
        """Let the backbone learn in this training, although the configuration keeps it.

        Args:
            after: How many blocks of a plain ViT, from the first, stay as they are, together with
                everything outside its blocks; 0 to learn everything.

        Raises:
            ConfigError: If some blocks are to stay and the backbone has no others.
        """
        blocks = self.backbone.blocks if isinstance(self.backbone, PlainViT) else 0
        if after and after >= blocks:
            message = f"{self.config.host.backbone} has no blocks after the first {after}"
            raise ConfigError(message)
        self._learned_after = after
        self.backbone.requires_grad_(requires_grad=True)
        for parameter in self.kept_parameters():
            parameter.requires_grad_(False)

    def keeps_blocks(self, count: int) -> bool:
        """Whether the segmentation is learned with the first blocks of a plain ViT as they are."""
        learned_after = self._learned_after
        return self.keeps_backbone or (learned_after is not None and learned_after >= count)

    def kept_parameters(self) -> list[nn.Parameter]:
        """Parameters of the backbone that the training of the segmentation leaves as they are."""
        if self.keeps_backbone:
            return list(self.backbone.parameters())
        if isinstance(self.backbone, PlainViT) and self._learned_after:
            return self.backbone.parameters_up_to(self._learned_after)
        return []

    def bandwidths(self) -> list[nn.Parameter]:
        """The sigmas of all affinities, which want a learning rate of their own."""
        found = (module for module in self.modules() if isinstance(module, Bandwidth))
        return [parameter for module in found for parameter in module.parameters()]

    def train(self, mode: bool = True) -> HySeg:  # noqa: FBT001, FBT002 - torch's signature
        super().train(mode)
        for frozen in (self.prior, self.segmentor):
            if frozen is not None:
                frozen.eval()
        if self.keeps_backbone:
            self.backbone.eval()
        return self

    def forward(
        self,
        image: Tensor,
        valid: Tensor | None = None,
        origin: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        symmetry: int = 0,
        features: Sequence[Tensor] | None = None,
        prior: Tensor | None = None,
        vary: float = 0.0,
    ) -> HySegOutput:
        """Segment a batch.

        `labels` (B, H, W) serve the oracle `head.prior = "gt"` alone; `symmetry` is what the
        images were put through (`symmetry.turned`), so that the noise goes along; `features` are
        what the backbone makes of the images, if that is known: it is not run then. They are
        those of images padded to multiples of 32. `prior`, as the output has it, takes the place
        of the network's own. `vary` is the share of images whose features the decoder is shown
        as another place might have them (`variation.varied`); the prior sees them as they are.
        """
        height, width = image.shape[-2:]
        if min(height, width) < 2:
            message = f"images of at least 2 x 2 pixels are needed, not {height} x {width}"
            raise ConfigError(message)
        if valid is None:
            valid = image.new_ones(len(image), 1, height, width, dtype=torch.bool)
        margin = (0, -width % SIZE_MULTIPLE, 0, -height % SIZE_MULTIPLE)
        if any(margin):
            image = F.pad(image, margin, mode="replicate")
            valid = F.pad(valid, margin, value=False)
        features = self._encode(image) if features is None else features
        if self.pyramid is None:
            needs_validity = self.config.head.kind == "das"
            guides = empty_guides(valid) if needs_validity else {}
        else:
            if prior is None:
                prior = self._own_prior(image, valid, origin, labels, features, symmetry)
            guides = self.pyramid(prior, valid)
        features = varied(features, vary)
        pyramid = features if self.neck is None else self.neck(image, features)
        if self.adapter is not None:
            pyramid = self.adapter(pyramid, guides)
        decoded = self.decoder(pyramid, guides, (image.shape[-2], image.shape[-1]))
        crop = (..., slice(height), slice(width))
        return HySegOutput(
            logits=decoded.logits[crop],
            aux=None if decoded.aux is None else decoded.aux[crop],
            prior=prior,
        )

    def prior_objective(
        self,
        image: Tensor,
        valid: Tensor,
        labels: Tensor,
        *,
        allowed: Tensor | None = None,
        progress: float = 1.0,
        generator: torch.Generator | None = None,
        part: tuple[int, int] = (0, 1),
        features: Sequence[Tensor] | None = None,
    ) -> MeanFlowLoss:
        """The loss of stage 1 (`MeanStruct.objective`); H and W are multiples of 32."""
        prior = self._require_prior()
        condition = self.condition(image, valid, features)
        return prior.objective(
            condition,
            labels,
            allowed=allowed,
            progress=progress,
            generator=generator,
            part=part,
        )

    def condition(
        self, image: Tensor, valid: Tensor, features: Sequence[Tensor] | None = None
    ) -> Condition:
        """The condition of the prior; `features` save a second run of the backbone."""
        prior = self._require_prior()
        if self.shares_backbone and features is None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.host.frozen):
                features = self.backbone(image)
        condition: Condition = prior.condition(image, valid, features or ())
        return condition

    @torch.no_grad()
    def draw_prior(
        self,
        image: Tensor,
        valid: Tensor,
        origin: Tensor | None,
        features: Sequence[Tensor] | None = None,
        symmetry: int = 0,
    ) -> Tensor:
        """The prior as the pyramid takes it (B, C, h, w), by the policy of `config.sample`.

        In training, noise that would be keyed to the place is drawn anew at every call.
        """
        prior = self._require_prior()
        with in_single(image):
            if features is not None:
                features = [level.float() for level in features]
            condition = self.condition(image.float(), valid, features)
            drawn = prior.draw(condition, origin, self.config.sample, symmetry, fresh=self.training)
            return drawn if self._space else decode(prior.labels, drawn, self.temperature)

    def classes_of_prior(self, prior: Tensor) -> Tensor:
        """Class probabilities (B, N, h, w) of a prior as the output has it."""
        return decode(self._space, prior, self.temperature) if self._space else prior

    def flat_prior(self, prior: Tensor) -> Tensor:
        """One of the same shape that knows nothing: all classes are alike in each cell."""
        classes = self.config.classes
        shares = prior.new_full((len(prior), classes, *prior.shape[2:]), 1.0 / classes)
        return self._space.embed(shares) if self._space else shares

    def _encode(self, image: Tensor) -> list[Tensor]:
        # A shared backbone stays what the prior was trained on.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.keeps_backbone):
            features: list[Tensor] = self.backbone(image)
        return features

    def _require_prior(self) -> MeanStruct:
        if self.prior is None:
            message = "this network has no generative prior (head.kind or head.prior)"
            raise ConfigError(message)
        return self.prior

    def _own_prior(
        self,
        image: Tensor,
        valid: Tensor,
        origin: Tensor | None,
        labels: Tensor | None,
        features: Sequence[Tensor],
        symmetry: int,
    ) -> Tensor:
        """The prior (B, C, h, w) from where the configuration says."""
        if self.config.head.prior == "gt":
            return self._shares_of(labels, image)
        if self.segmentor is not None:
            return _segment(self.segmentor, image, valid, self.config.prior.stride)
        prior = self.draw_prior(image, valid, origin, features, symmetry)
        return of_another_image(prior) if self.config.head.prior == "shuffled" else prior

    def _shares_of(self, labels: Tensor | None, image: Tensor) -> Tensor:
        if labels is None:
            message = "head.prior = gt is an oracle: it needs the labels of the images"
            raise ConfigError(message)
        margin = (0, image.shape[-1] - labels.shape[-1], 0, image.shape[-2] - labels.shape[-2])
        labels = F.pad(labels, margin, value=IGNORE_ID)
        shares, weight = pooled_shares(labels, self.config.classes, self.config.prior.stride)
        return torch.where(weight > 0, shares, 1.0 / self.config.classes)


@torch.no_grad()
def _segment(segmentor: HySeg, image: Tensor, valid: Tensor, stride: int) -> Tensor:
    """Class probabilities of a frozen segmentor, pooled to the prior grid."""
    probabilities = segmentor(image, valid).logits.float().softmax(dim=1)
    return F.avg_pool2d(probabilities, stride)


def of_another_image(prior: Tensor) -> Tensor:
    """The prior of the next image of the batch, or of this one upside down if it is alone."""
    return prior.flip(-1, -2) if len(prior) == 1 else prior.roll(1, dims=0)


def _build_encoder(
    config: HySegConfig, *, pretrained: bool
) -> tuple[Backbone, TokenPyramid | BesideImage | None]:
    """The backbone and, behind a plain ViT, what makes a pyramid of its tokens."""
    host, bands = config.host, config.bands
    if host.name == "probe":
        scaled = ScaledTokens(bands, config.probe)
        return scaled, BesideImage(bands, scaled)
    if is_plain_vit(host.backbone):
        tokens = PlainViT(bands, host, pretrained=pretrained)
        return tokens, TokenPyramid(bands, host, tokens)
    pyramid = build_backbone(
        host.backbone,
        bands=bands,
        strides=STRIDES,
        pretrained=pretrained,
        drop_path=host.drop_path,
    )
    return pyramid, None


def _build_decoder(config: HySegConfig, channels: Sequence[int], prior_channels: int) -> nn.Module:
    head, host = config.head, config.host
    if host.name == "probe":
        return ProbeHead(channels[:-1], config.classes, config.probe)
    if host.name == "dcswin":
        return DCSwinDecoder(channels, config.classes, dropout=host.dropout)
    if host.name == "d2ls":
        return D2LSDecoder(channels, config.classes, host.dim)
    levels = head.levels if head.kind == "das" else ()
    if levels and head.dim != host.dim:
        message = f"head.dim {head.dim} must equal host.dim {host.dim} in a {host.name}"
        raise ConfigError(message)
    return UNetFormerDecoder(
        channels,
        config.classes,
        host.dim,
        {stride: DAS(head, prior_channels) for stride in levels},
        keep_context=head.mode == "append",
        dropout=host.dropout,
        extras=host.decoder_extras,
    )


def build(config: HySegConfig, *, pretrained: bool = False) -> HySeg:
    """The network that `config` describes, with random or ImageNet backbone weights.

    Raises:
        ConfigError: If the configuration cannot be built.
        WeightsUnavailableError: If `pretrained` weights could not be fetched.
    """
    return HySeg(config, pretrained=pretrained)
