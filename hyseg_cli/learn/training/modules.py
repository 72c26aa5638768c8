"""The two stages of training, as Lightning modules: first the prior, then the whole network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_cli.learn.data.chips import Sample
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.scores.metrics import ConfusionMatrix
from hyseg_cli.learn.training.recipe import Recipe
from hyseg_cli.learn.training.stages import Stage
from hyseg_models import IGNORE_ID, HySeg, segmentation_loss
from hyseg_models.prior.diagnostics import binned_means
from hyseg_models.prior.labels import pooled_shares
from hyseg_models.prior.meanflow import MeanFlowLoss
from hyseg_models.prior.meanstruct import MeanStruct


class PriorStage(Stage):
    """Stage 1: MeanStruct learns the structure of label maps by the MeanFlow objective."""

    def __init__(self, network: HySeg, standardise: Standardise, recipe: Recipe) -> None:
        super().__init__(network, standardise, recipe)
        # Processes that train together wait for the gradient of everything that has one.
        network.requires_grad_(False)
        self.learned().requires_grad_(True)

    @property
    def prior(self) -> MeanStruct:
        return prior_of(self.network)

    def learned(self) -> nn.Module:
        if self.network.shares_backbone and not self.network.config.host.frozen:
            return nn.ModuleList([self.prior, self.network.backbone])
        return self.prior

    def encoder(self) -> nn.Module:
        shared = self.network.shares_backbone
        return self.network.backbone if shared else self.prior.condition.body

    def on_fit_end(self) -> None:
        self.network.requires_grad_(True)
        self.learned().requires_grad_(False)
        if self.network.keeps_backbone:
            self.network.backbone.requires_grad_(False)

    def loss(self, batch: Sample, index: int, part: tuple[int, int]) -> Tensor:
        # The same source for all parts: each takes its own of what is drawn for the whole.
        generator = torch.Generator(self.device).manual_seed(self.recipe.seed_of(index, 0))
        terms = self.network.prior_objective(
            *self.inputs(batch), progress=self.progress, generator=generator, part=part
        )
        self.log("speed_ratio", terms.speed_ratio)
        self._log_errors("flow_error_at_t", terms.times.t, terms, gapped=False)
        self._log_errors("mean_error_at_gap", terms.times.t - terms.times.r, terms, gapped=True)
        return terms.loss

    def _log_errors(
        self, name: str, positions: Tensor, terms: MeanFlowLoss, *, gapped: bool
    ) -> None:
        """Errors of the samples with (or without) a gap between r and t, by fifths of [0, 1]."""
        chosen = (terms.times.t > terms.times.r) == gapped
        means = binned_means(terms.squared_error[chosen], positions[chosen])
        for index, mean in enumerate(means):
            if mean.isfinite():
                self.log(f"{name}_{(index + 0.5) / len(means):.1f}", mean)

    @property
    def watched(self) -> float:
        return self.scores["position"].mean_iou

    def drawn(self, batch: Sample) -> dict[str, Tensor]:
        image, valid, labels = self.inputs(batch)
        condition = self.network.condition(image, valid)
        found = {}
        for name, policy in (("prior", "position"), ("mean of the prior", "mean")):
            settings = replace(self.network.config.sample, noise=policy)
            winner = self.prior.draw(condition, batch["origin"], settings).argmax(dim=1)
            found[name] = enlarged(winner, labels)
        return found

    def on_validation_epoch_start(self) -> None:
        classes = self.network.config.classes
        self._matrices = {policy: ConfusionMatrix(classes) for policy in ("position", "mean")}

    def validation_step(self, batch: Sample, _index: int) -> None:
        image, valid, labels = self.inputs(batch)
        reference = pooled_labels(self.prior, labels)
        condition = self.network.condition(image, valid)
        for policy, matrix in self._matrices.items():
            settings = replace(self.network.config.sample, noise=policy)
            drawn = self.prior.draw(condition, batch["origin"], settings)
            matrix.update(as_bytes(reference), as_bytes(drawn.argmax(dim=1)))

    def on_validation_epoch_end(self) -> None:
        self.scores = {name: self.total(matrix) for name, matrix in self._matrices.items()}
        for name, scores in self.scores.items():
            self.log(f"miou_{name}", scores.mean_iou, sync_dist=True)


class SegmentationStage(Stage):
    """Stage 2: host, P2A and DAS learn to segment, with the prior frozen.

    Args:
        network: What to train.
        standardise: From pixel values to its input.
        recipe: How.
        frozen: A part of the network that keeps its weights and statistics.
        weights: Weight of each class in the loss; None for one.
    """

    def __init__(
        self,
        network: HySeg,
        standardise: Standardise,
        recipe: Recipe,
        *,
        frozen: nn.Module | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(network, standardise, recipe)
        self.weights: Tensor | None
        # Not stored: it follows from the settings and the labels.
        self.register_buffer(
            "weights", None if weights is None else torch.tensor(weights), persistent=False
        )
        if network.keeps_backbone:
            # The prior was learned with it; a run that goes on here has not just frozen it.
            network.backbone.requires_grad_(requires_grad=False)
        self.frozen = [] if frozen is None else [frozen]  # a list: no second registration
        for module in self.frozen:
            module.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - as in the base class
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def learned(self) -> nn.Module:
        return self.network

    def encoder(self) -> nn.Module:
        return self.network.backbone

    def loss(self, batch: Sample, index: int, part: tuple[int, int]) -> Tensor:  # noqa: ARG002 - nothing is drawn for the whole
        image, valid, labels = self.inputs(batch)
        output = self.network(image, valid, labels=labels)
        return segmentation_loss(output, labels, weights=self.weights)

    @property
    def watched(self) -> float:
        return self.scores["segmentation"].mean_iou

    def drawn(self, batch: Sample) -> dict[str, Tensor]:
        image, valid, labels = self.inputs(batch)
        output = self.network(image, valid, batch["origin"], labels)
        found = {} if output.prior is None else {"prior": output.prior.argmax(dim=1)}
        found["prediction"] = output.logits.argmax(dim=1)
        return {name: enlarged(channels, labels) for name, channels in found.items()}

    def on_validation_epoch_start(self) -> None:
        self._matrix = ConfusionMatrix(self.network.config.classes)

    def validation_step(self, batch: Sample, _index: int) -> None:
        image, valid, labels = self.inputs(batch)
        logits = self.network(image, valid, batch["origin"], labels).logits
        self._matrix.update(as_bytes(labels), as_bytes(logits.argmax(dim=1)))

    def on_validation_epoch_end(self) -> None:
        self.scores = {"segmentation": self.total(self._matrix)}
        self.log("miou", self.watched, sync_dist=True)


def prior_of(network: HySeg) -> MeanStruct:
    """The prior of a network that has one."""
    if network.prior is None:
        message = "a network without DAS has no prior"
        raise TypeError(message)
    return network.prior


def pooled_labels(prior: MeanStruct, labels: Tensor) -> Tensor:
    """Most frequent class of each cell of the prior grid: (B, H, W) -> int64 (B, h, w)."""
    shares, weight = pooled_shares(labels, prior.classes, prior.config.stride)
    return shares.argmax(dim=1).where(weight[:, 0] > 0, IGNORE_ID)


def enlarged(cells: Tensor, labels: Tensor) -> Tensor:
    """Cells (B, h, w) as pixels, each as often as it takes to cover labels (B, H, W)."""
    height, width = labels.shape[-2:]
    factor = -(-height // cells.shape[-2])
    pixels = cells.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    return pixels[:, :height, :width]


def fit_temperature(network: HySeg, standardise: Standardise, batches: Iterable[Sample]) -> float:
    """The inverse temperature at which the prior's probabilities fit labelled chips best.

    A search from 1 to 64, evenly spaced in the logarithm, for the least cross-entropy.
    """
    prior = prior_of(network)
    candidates = torch.logspace(0, math.log10(64), 25)
    losses = torch.zeros(len(candidates))
    with torch.inference_mode():
        for batch in batches:
            image = standardise(batch["image"], batch["valid"])
            condition = network.condition(image, batch["valid"])
            drawn = prior.draw(condition, batch["origin"], network.config.sample)
            target = pooled_labels(prior, batch["labels"])
            shares = prior.labels.shares(drawn)
            for i, temperature in enumerate(candidates):
                losses[i] += F.cross_entropy(
                    temperature * shares, target, ignore_index=IGNORE_ID, reduction="sum"
                ).cpu()
    return float(candidates[int(losses.argmin())])


def as_bytes(channels: Tensor) -> npt.NDArray[np.uint8]:
    """Channels, `IGNORE_ID` among them, as an array for `ConfusionMatrix`."""
    array: npt.NDArray[np.uint8] = channels.to(torch.uint8).cpu().numpy()
    return array
