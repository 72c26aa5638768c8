"""MeanStruct: a generative prior over label maps, conditioned on the image, drawn in one step."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from hyseg_models.condition import Condition, ConditionEncoder
from hyseg_models.config import PriorConfig, SampleConfig
from hyseg_models.labels import AnalogLabels
from hyseg_models.meanflow import (
    MeanFlowLoss,
    draw_times,
    meanflow_loss,
    posterior_mean,
    sample,
)
from hyseg_models.noise import position_noise
from hyseg_models.unet import PriorUNet


class MeanStruct(nn.Module):
    """The prior of HySeg (stage 1): image -> plausible label map at 1/4 or 1/8 resolution.

    Training minimises the MeanFlow objective over embedded labels. Sampling takes one network
    evaluation, f = e - u(e, 0, 1 | image).

    By default the network predicts the clean map x_hat and u = (x_t - x_hat) / t; then f is
    x_hat itself and holds no residue of the noise. P2A compares neighbouring cells of f, so a
    network that had to reproduce e to the pixel (`param = "u"`, the paper's) would hand on its
    error as white noise.
    """

    def __init__(
        self, bands: int, classes: int, config: PriorConfig, *, pretrained: bool = False
    ) -> None:
        super().__init__()
        self.classes = classes
        self.config = config
        self.labels = AnalogLabels(classes, config.stride, config.beta, config.smooth)
        self.condition = ConditionEncoder(bands, config, pretrained=pretrained)
        self.net = PriorUNet(classes, config)

    def objective(
        self,
        image: Tensor,
        valid: Tensor,
        labels: Tensor,
        *,
        progress: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> MeanFlowLoss:
        """The MeanFlow loss of a batch.

        Args:
            image: Normalised (B, bands, H, W), H and W multiples of 32.
            valid: bool (B, 1, H, W).
            labels: int64 (B, H, W), `IGNORE_ID` where unknown.
            progress: Share of the training done, for the curriculum.
            generator: Source of times and noise.
        """
        condition = self.condition(image, valid)
        data, weight = self.labels.encode(labels)
        noise = torch.randn(data.shape, device=data.device, generator=generator)
        times = draw_times(
            len(data),
            self.config.time,
            objective=self.config.objective,
            progress=progress,
            device=data.device,
            generator=generator,
        )
        return meanflow_loss(
            partial(self.velocity, condition),
            data,
            weight,
            noise,
            times,
            self.config.objective,
            scale=self.config.beta,
            progress=progress,
        )

    def velocity(
        self, condition: Condition, x: Tensor, r: Tensor, t: Tensor, rows: Tensor
    ) -> Tensor:
        """Average velocity u(x, r, t) of the samples `rows` of a batch (`meanflow.Velocity`)."""
        predicted: Tensor = self.net(x, r, t, condition.rows(rows))
        if self.config.param == "u":
            return predicted
        if self.config.param == "x_softmax":
            predicted = self.labels.embed(predicted.softmax(dim=1))
        return (x - predicted) / t.clamp_min(self.config.net.t_min).view(-1, 1, 1, 1)

    def draw(
        self, image: Tensor, valid: Tensor, origin: Tensor | None, settings: SampleConfig
    ) -> Tensor:
        """One label map per image, in label space (B, N, H/s, W/s).

        Args:
            image: Normalised (B, bands, H, W), H and W multiples of 32.
            valid: bool (B, 1, H, W).
            origin: int64 (B, 2), absolute row and column of each image's first pixel; None is
                the origin for all. Only `position` and `avg:k` use it.
            settings: Noise policy and number of evaluations.
        """
        condition = self.condition(image, valid)
        velocity = partial(self.velocity, condition)
        if settings.noise == "mean":
            return posterior_mean(velocity, self._noise(condition, origin, settings, draw=0))
        kind, _, draws = settings.noise.partition(":")
        samples = [
            sample(velocity, self._noise(condition, origin, settings, draw=draw), nfe=settings.nfe)
            for draw in range(int(draws) if kind == "avg" else 1)
        ]
        return torch.stack(samples).mean(dim=0)

    def _noise(
        self, condition: Condition, origin: Tensor | None, settings: SampleConfig, *, draw: int
    ) -> Tensor:
        batch, _, height, width = condition.valid.shape
        device = condition.valid.device
        shape = (batch, self.classes, height, width)
        if settings.noise == "zero":
            return torch.zeros(shape, device=device)
        if settings.noise == "random":
            return torch.randn(shape, device=device)
        if settings.noise == "fixed":
            generator = torch.Generator(device).manual_seed(settings.seed)
            return torch.randn(shape, device=device, generator=generator)
        if origin is None:
            origin = torch.zeros(batch, 2, dtype=torch.int64, device=device)
        cells = origin.div(self.config.stride, rounding_mode="floor")
        # Draws come in antithetic pairs e, -e: their errors of first order cancel in the mean.
        pair, sign = draw // 2, 1.0 - 2.0 * (draw % 2)
        return sign * position_noise(cells, self.classes, height, width, settings.seed + pair)
