"""MeanStruct: a generative prior over label maps, conditioned on the image, drawn in one step."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_models.blocks.backbones import Backbone
from hyseg_models.blocks.symmetry import turned
from hyseg_models.config.prior_config import PriorConfig, SampleConfig
from hyseg_models.prior.autoencoder import LearnedLabels
from hyseg_models.prior.condition import Condition, ConditionEncoder
from hyseg_models.prior.labels import (
    AnalogLabels,
    DistanceLabels,
    LabelEmbedding,
    pooled_shares,
)
from hyseg_models.prior.meanflow import (
    MeanFlowLoss,
    Times,
    draw_times,
    meanflow_loss,
    posterior_mean,
    sample,
)
from hyseg_models.prior.noise import position_noise
from hyseg_models.prior.unet import PriorUNet


class MeanStruct(nn.Module):
    """The prior of HySeg (stage 1): image -> plausible label map at 1/4 or 1/8 resolution.

    Training minimises the MeanFlow objective over embedded labels. Sampling takes one network
    evaluation, f = e - u(e, 0, 1 | image).

    By default the network predicts the clean map x_hat and u = (x_t - x_hat) / t; then f is
    x_hat itself and holds no residue of the noise. P2A compares neighbouring cells of f, so a
    network that had to reproduce e to the pixel (`param = "u"`, the paper's) would hand on its
    error as white noise.

    With `training = "discriminative"` the same network, fed with zeros, learns the class shares
    by cross-entropy: the control that shows what the generative objective is worth.

    Args:
        bands: Bands of the image.
        classes: Classes N.
        config: Options.
        host: The host's backbone, whose maps condition the prior if the options say so.
        pretrained: Fetch weights for a backbone of its own.
    """

    def __init__(
        self,
        bands: int,
        classes: int,
        config: PriorConfig,
        host: Backbone,
        *,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.config = config
        self.labels = _embedding(classes, config)
        self.condition = ConditionEncoder(bands, config, host, pretrained=pretrained)
        self.net = PriorUNet(self.labels.channels, config)

    def objective(
        self,
        condition: Condition,
        labels: Tensor,
        *,
        allowed: Tensor | None = None,
        progress: float = 1.0,
        generator: torch.Generator | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> MeanFlowLoss:
        """The loss of a batch, or of one of the equal parts of a larger one.

        Times and noise are drawn for the whole of it: processes with one source of randomness
        that share a batch compute together what one would alone.

        Args:
            condition: What the images say (`self.condition`).
            labels: int64 (B, H, W), `IGNORE_ID` where unknown.
            allowed: The classes that each label allows, as `labels.pooled_shares` takes them.
            progress: Share of the training done, for the curriculum.
            generator: Source of times and noise.
            part: Number of the part, from 0, and of all parts.
        """
        if self.config.training == "discriminative":
            return self._discriminative_loss(condition, labels, allowed)
        data, weight = self.labels.encode(labels, allowed)
        index, parts = part
        own = slice(index * len(data), (index + 1) * len(data))
        whole = (parts * len(data), *data.shape[1:])
        noise = torch.randn(whole, device=data.device, generator=generator)[own]
        drawn = draw_times(
            whole[0],
            self.config.time,
            objective=self.config.objective,
            progress=progress,
            device=data.device,
            generator=generator,
        )
        return meanflow_loss(
            partial(self.velocity, condition, t_min=self.config.net.t_min),
            data,
            weight,
            noise,
            Times(drawn.r[own], drawn.t[own]),
            self.config.objective,
            scale=self.config.beta,
            progress=progress,
        )

    def velocity(
        self,
        condition: Condition,
        x: Tensor,
        r: Tensor,
        t: Tensor,
        rows: Tensor,
        *,
        t_min: float = 0.0,
    ) -> Tensor:
        """Average velocity u(x, r, t) of the samples `rows` of a batch (`meanflow.Velocity`).

        `t_min` bounds the division by t from below. Training needs that; a sample must go
        without, or its last step would stop short of the clean map.
        """
        predicted: Tensor = self.net(x, r, t, condition.rows(rows))
        if self.config.param == "u":
            return predicted
        if self.config.param == "x_softmax":
            predicted = self.labels.embed(predicted.softmax(dim=1))
        return (x - predicted) / t.clamp_min(t_min).view(-1, 1, 1, 1)

    def draw(
        self,
        condition: Condition,
        origin: Tensor | None,
        settings: SampleConfig,
        symmetry: int = 0,
        *,
        fresh: bool = False,
    ) -> Tensor:
        """One label map per image, in label space (B, C, H/s, W/s).

        Args:
            condition: What the images say.
            origin: int64 (B, 2), absolute row and column of each image's first pixel; None is
                the origin for all. Only `position` and `avg:k` use it.
            settings: Noise policy and number of evaluations.
            symmetry: What the images were put through after they were cut out at `origin`; the
                noise is put through it, too.
            fresh: Draw anew what would be keyed to the place (`position`, `avg:k`), as training
                does: all its chips have the same origin.
        """
        if self.config.training == "discriminative":
            return self.labels.embed(self._class_logits(condition).softmax(dim=1))
        velocity = partial(self.velocity, condition)
        noises = self._noises(condition, origin, settings, symmetry, fresh=fresh)
        if settings.noise == "mean":
            return posterior_mean(velocity, noises[0])
        samples = [sample(velocity, noise, nfe=settings.nfe) for noise in noises]
        return torch.stack(samples).mean(dim=0)

    def _noises(
        self,
        condition: Condition,
        origin: Tensor | None,
        settings: SampleConfig,
        symmetry: int,
        *,
        fresh: bool,
    ) -> list[Tensor]:
        """The noise of each draw; keyed ones come in antithetic pairs e, -e.

        Their errors of first order cancel in the mean.
        """
        if not settings.is_keyed:
            return [self._unkeyed_noise(condition, settings)]
        batch, _, height, width = condition.valid.shape
        device, channels = condition.valid.device, self.labels.channels
        if origin is None:
            origin = torch.zeros(batch, 2, dtype=torch.int64, device=device)
        cells = origin.div(self.config.stride, rounding_mode="floor")
        if symmetry & 4:
            height, width = width, height
        noises: list[Tensor] = []
        for pair in range(-(-settings.draws // 2)):
            if fresh:
                noise = torch.randn(batch, channels, height, width, device=device)
            else:
                seed = settings.seed + pair
                noise = position_noise(cells, channels, height, width, seed)
            noise = turned(noise, symmetry)
            noises += [noise, -noise]
        return noises[: settings.draws]

    def _unkeyed_noise(self, condition: Condition, settings: SampleConfig) -> Tensor:
        """Noise that does not depend on the place, as the settings want it."""
        batch, _, height, width = condition.valid.shape
        device = condition.valid.device
        shape = (batch, self.labels.channels, height, width)
        if settings.noise == "zero":
            return torch.zeros(shape, device=device)
        generator = None
        if settings.noise == "fixed":
            generator = torch.Generator(device).manual_seed(settings.seed)
        return torch.randn(shape, device=device, generator=generator)

    def _class_logits(self, condition: Condition) -> Tensor:
        batch, _, height, width = condition.valid.shape
        nothing = condition.valid.new_zeros(batch, self.classes, height, width)
        zero, one = nothing.new_zeros(batch), nothing.new_ones(batch)
        logits: Tensor = self.net(nothing, zero, one, condition)
        return logits

    def _discriminative_loss(
        self, condition: Condition, labels: Tensor, allowed: Tensor | None
    ) -> MeanFlowLoss:
        shares, weight = pooled_shares(labels, self.classes, self.config.stride, allowed)
        logits = self._class_logits(condition)
        error = F.cross_entropy(logits, shares, reduction="none").unsqueeze(1) * weight
        per_sample = error.sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3)).clamp_min(1e-6)
        endpoint = Times(torch.zeros_like(per_sample), torch.ones_like(per_sample))
        loss = error.sum() / weight.sum().clamp_min(1e-6)
        return MeanFlowLoss(loss, per_sample.detach(), endpoint, loss.new_zeros(()))


def _embedding(classes: int, config: PriorConfig) -> LabelEmbedding:
    """The label embedding that a configuration names."""
    if config.embed == "sdf":
        return DistanceLabels(classes, config.stride, config.beta)
    if config.embed == "ae":
        return LearnedLabels(classes, config.channels, config.stride, config.beta)
    return AnalogLabels(classes, config.stride, config.beta, config.smooth)
