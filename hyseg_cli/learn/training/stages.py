"""The two stages of training, as Lightning modules: first the prior, then the whole network."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyseg_cli.errors import HysegError, StateMismatchError
from hyseg_cli.learn.data.chips import Sample
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.scores.metrics import ConfusionMatrix, Scores
from hyseg_cli.learn.sources.label_sets import LabelSets
from hyseg_cli.learn.sources.source_scores import Collapse
from hyseg_cli.learn.training.batches import Batch, require_batch
from hyseg_cli.learn.training.features import features_of
from hyseg_cli.learn.training.recipe import Recipe
from hyseg_models import IGNORE_ID, HySeg, HySegOutput, segmentation_loss
from hyseg_models.prior.diagnostics import binned_means
from hyseg_models.prior.labels import definite, pooled_shares
from hyseg_models.prior.meanflow import MeanFlowLoss
from hyseg_models.prior.meanstruct import MeanStruct


class Stage(pl.LightningModule, ABC):
    """What both stages share: input, optimiser and schedule."""

    # With few validation chips a process may have none.
    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(
        self,
        network: HySeg,
        standardise: Standardise,
        recipe: Recipe,
        *,
        labels: LabelSets | None = None,
    ) -> None:
        super().__init__()
        self.allowed: Tensor | None
        # Which classes each label allows, where some allow several; it follows from the sources.
        table = None if labels is None or labels.is_plain else torch.from_numpy(labels.table())
        self.register_buffer("allowed", table, persistent=False)
        self.network = network.to(memory_format=torch.channels_last)
        self.standardise = standardise
        self.recipe = recipe
        self.parts = 1
        """Parts in which each batch is computed; more if the whole does not fit into memory."""
        self.scores: dict[str, Scores] = {}
        """Scores of the last validation, by name."""

    @abstractmethod
    def learned(self) -> nn.Module:
        """The part of the network this stage trains."""

    @abstractmethod
    def encoder(self) -> nn.Module:
        """The part of it that may start from pretrained weights."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another network, such as one of an earlier version.

        Raises:
            StateMismatchError: If its weights have other names or shapes.
        """
        saved, own = checkpoint["state_dict"], self.state_dict()
        odd = sorted(
            name
            for name in saved.keys() | own.keys()
            if name not in saved or name not in own or saved[name].shape != own[name].shape
        )
        if odd:
            raise StateMismatchError(
                f"the checkpoint holds another network ({odd[0]} differs)",
                hint="Start over with `overwrite` and no `resume`; an earlier version may have "
                "begun this run.",
            )

    @property
    @abstractmethod
    def watched(self) -> float:
        """The mean IoU of the last validation by which weights are compared."""

    @abstractmethod
    def drawn(self, batch: Sample) -> dict[str, Tensor]:
        """The class maps of a batch, by name: class indices (B, H, W) each."""

    @abstractmethod
    def loss(self, batch: Sample, index: int, part: tuple[int, int]) -> Tensor:
        """The loss of a batch, a scalar with gradient.

        Args:
            batch: A part of the batch of a step.
            index: Number of the step, from 0.
            part: Its index among how many equal parts of the whole batch.
        """

    def total(self, matrix: ConfusionMatrix, excluded: Collection[int] = ()) -> Scores:
        """The scores of what all processes have counted together, with or without some classes."""
        counts = torch.from_numpy(matrix.counts).to(self.device)
        summed = self.trainer.strategy.reduce(counts, reduce_op="sum")
        whole = ConfusionMatrix(len(matrix.counts))
        whole.counts += summed.cpu().numpy()
        return whole.scores(excluded)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        super().train(mode)
        if self.recipe.keeps_statistics:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001
                    module.eval()
        return self

    @property
    def progress(self) -> float:
        """Share of the training done."""
        return min(1.0, self.global_step / self.recipe.steps)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Sample:  # noqa: ARG002 - the interface has it
        return require_batch(batch)

    def inputs(self, batch: Sample) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised image (B, bands, H, W), valid (B, 1, H, W) and labels (B, H, W).

        The labels are values of the training's `LabelSets`: classes, where there is one source.
        """
        image = self.standardise(batch["image"], batch["valid"], batch.get("has_band"))
        return image.contiguous(memory_format=torch.channels_last), batch["valid"], batch["labels"]

    def training_step(self, batch: Sample, index: int) -> Tensor:
        """The loss of a step; alone, a process has computed the gradients too."""
        if self.trainer.world_size > 1:
            # Gradients are exchanged in a backward pass of their own.
            torch.manual_seed(self.recipe.seed_of(index, self.global_rank))
            loss = self.loss(batch, index, (self.global_rank, self.trainer.world_size))
        else:
            loss = self._in_parts(batch, index)
        self.log("loss", loss, sync_dist=True)
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        if loss.requires_grad:
            super().backward(loss, *args, **kwargs)

    def optimizer_zero_grad(self, *args: Any, **kwargs: Any) -> None:
        # Called between the step and `backward`: the gradients of the step must be kept.
        if self.trainer.world_size > 1:
            super().optimizer_zero_grad(*args, **kwargs)

    def _in_parts(self, batch: Sample, index: int) -> Tensor:
        """Compute loss and gradients, in more parts if memory does not suffice.

        Raises:
            HysegError: If it does not suffice for one chip.
        """
        size = len(batch["labels"])
        while True:
            torch.manual_seed(self.recipe.seed_of(index, 0))
            self.zero_grad(set_to_none=True)
            try:
                return self._accumulated(batch, index)
            except torch.OutOfMemoryError as error:
                # Only the text: the error would keep frames and their tensors alive.
                problem = str(error)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            larger = (n for n in range(self.parts + 1, size + 1) if size % n == 0)
            self.parts = next(larger, 0)
            if self.parts == 0:
                raise HysegError(
                    f"one chip of {batch['labels'].shape[-1]} pixels does not fit ({problem})",
                    hint="Use a smaller `chip_size` or `preset`.",
                )

    def _accumulated(self, batch: Sample, index: int) -> Tensor:
        """The loss of a batch, its parts one by one, and the sum of their gradients."""
        size = len(batch["labels"]) // self.parts
        total = torch.zeros((), device=self.device)
        for part in range(self.parts):
            own = {name: x[part * size : (part + 1) * size] for name, x in batch.items()}
            loss = self.loss(own, index, (part, self.parts)) / self.parts
            with torch.autocast(self.device.type, enabled=False):
                torch.autograd.backward(loss)
            total += loss.detach()
        return total

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        rates = dict.fromkeys(map(id, self.encoder().parameters()), recipe.encoder_rate)
        bandwidths = set(map(id, self.network.bandwidths()))
        rates |= dict.fromkeys(bandwidths, recipe.bandwidth_factor * recipe.learning_rate)
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in self.learned().parameters():
            if not parameter.requires_grad:
                continue
            rate = rates.get(id(parameter), recipe.learning_rate)
            # Biases, normalisation scales and bandwidths need no weight decay.
            shrinks = parameter.dim() > 1 and id(parameter) not in bandwidths
            decay = recipe.weight_decay if shrinks else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
        optimizer = torch.optim.AdamW(
            [
                {"params": params, "lr": rate, "weight_decay": decay}
                for (rate, decay), params in groups.items()
            ],
            betas=recipe.betas,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.rate_factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class PriorStage(Stage):
    """Stage 1: MeanStruct learns the structure of label maps by the MeanFlow objective."""

    def __init__(
        self,
        network: HySeg,
        standardise: Standardise,
        recipe: Recipe,
        *,
        labels: LabelSets | None = None,
    ) -> None:
        super().__init__(network, standardise, recipe, labels=labels)
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
        for parameter in self.network.kept_parameters():
            parameter.requires_grad_(False)

    def loss(self, batch: Sample, index: int, part: tuple[int, int]) -> Tensor:
        # One generator for all parts: each takes its own share of the draws for the whole batch.
        generator = torch.Generator(self.device).manual_seed(self.recipe.seed_of(index, 0))
        terms = self.network.prior_objective(
            *self.inputs(batch),
            allowed=self.allowed,
            progress=self.progress,
            generator=generator,
            part=part,
            features=features_of(batch),
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
        condition = self.network.condition(image, valid, features_of(batch))
        found = {}
        for name, policy in (("prior", "position"), ("mean of the prior", "mean")):
            settings = replace(self.network.config.sample, noise=policy)
            drawn = self.prior.draw(condition, batch["origin"], settings)
            found[name] = enlarged(self.prior.labels.shares(drawn).argmax(dim=1), labels)
        return found

    def on_validation_epoch_start(self) -> None:
        classes = self.network.config.classes
        self._matrices = {policy: ConfusionMatrix(classes) for policy in ("position", "mean")}

    def validation_step(self, batch: Sample, _index: int) -> None:
        image, valid, labels = self.inputs(batch)
        reference = pooled_labels(self.prior, definite(labels, self.allowed))
        condition = self.network.condition(image, valid, features_of(batch))
        for policy, matrix in self._matrices.items():
            settings = replace(self.network.config.sample, noise=policy)
            drawn = self.prior.draw(condition, batch["origin"], settings)
            winner = self.prior.labels.shares(drawn).argmax(dim=1)
            matrix.update(as_bytes(reference), as_bytes(winner))

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
        labels: What the labels stand for; None for the classes.
        collapses: How predictions are compared with the labels of each source, by its name, in
            the order of the sources; empty where there is one legend.
    """

    def __init__(
        self,
        network: HySeg,
        standardise: Standardise,
        recipe: Recipe,
        *,
        frozen: nn.Module | None = None,
        weights: Sequence[float] | None = None,
        labels: LabelSets | None = None,
        collapses: Mapping[str, Collapse] | None = None,
    ) -> None:
        super().__init__(network, standardise, recipe, labels=labels)
        self.collapses = dict(collapses or {})
        self.weights: Tensor | None
        # Not stored: it follows from the settings and the labels.
        self.register_buffer(
            "weights", None if weights is None else torch.tensor(weights), persistent=False
        )
        for parameter in network.kept_parameters():
            # The prior was learned with it; a run that continues here has not just frozen it.
            parameter.requires_grad_(False)
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
        known = definite(labels, self.allowed)
        output = self.network(
            image,
            valid,
            labels=known,
            features=features_of(batch),
            vary=self.recipe.vary_features,
        )
        return segmentation_loss(output, labels, allowed=self.allowed, weights=self.weights)

    def _look(self, batch: Sample, image: Tensor, valid: Tensor, labels: Tensor) -> HySegOutput:
        features = features_of(batch)
        output: HySegOutput = self.network(image, valid, batch["origin"], labels, features=features)
        return output

    @property
    def watched(self) -> float:
        found = [self.scores[name].mean_iou for name in self.collapses]
        measured = [score for score in found if not math.isnan(score)]
        if measured:
            return sum(measured) / len(measured)  # a large source counts as a small one does
        return self.scores["segmentation"].mean_iou

    def drawn(self, batch: Sample) -> dict[str, Tensor]:
        image, valid, labels = self.inputs(batch)
        output = self._look(batch, image, valid, definite(labels, self.allowed))
        found = {}
        if output.prior is not None:
            found["prior"] = self.network.classes_of_prior(output.prior).argmax(dim=1)
        found["prediction"] = output.logits.argmax(dim=1)
        return {name: enlarged(channels, labels) for name, channels in found.items()}

    def on_validation_epoch_start(self) -> None:
        self._matrix = ConfusionMatrix(self.network.config.classes)
        self._matrices = [ConfusionMatrix(len(x.legend)) for x in self.collapses.values()]

    def validation_step(self, batch: Sample, _index: int) -> None:
        image, valid, labels = self.inputs(batch)
        known = definite(labels, self.allowed)
        predicted = as_bytes(self._look(batch, image, valid, known).logits.argmax(dim=1))
        self._matrix.update(as_bytes(known), predicted)
        pairs = zip(self.collapses.values(), self._matrices, strict=True)
        for source, (collapse, matrix) in enumerate(pairs):
            rows = (batch["source"] == source).cpu().numpy()
            own = as_bytes(labels)[rows]
            matrix.update(collapse.reference[own], collapse.mapped(own, predicted[rows]))

    def on_validation_epoch_end(self) -> None:
        self.scores = {"segmentation": self.total(self._matrix)}
        pairs = zip(self.collapses.items(), self._matrices, strict=True)
        for (name, collapse), matrix in pairs:
            self.scores[name] = self.total(matrix, collapse.excluded)
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
    """Cells (B, h, w) as pixels, repeated to cover labels (B, H, W)."""
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
            image = standardise(batch["image"], batch["valid"], batch.get("has_band"))
            condition = network.condition(image, batch["valid"], features_of(batch))
            drawn = prior.draw(condition, batch["origin"], network.config.sample)
            target = pooled_labels(prior, batch["labels"])
            shares = prior.labels.shares(drawn)
            for i, temperature in enumerate(candidates):
                losses[i] += F.cross_entropy(
                    temperature * shares, target, ignore_index=IGNORE_ID, reduction="sum"
                ).cpu()
    return float(candidates[int(losses.argmin())])


def as_bytes(channels: Tensor) -> npt.NDArray[np.uint8]:
    """Class indices, `IGNORE_ID` among them, as an array for `ConfusionMatrix`."""
    array: npt.NDArray[np.uint8] = channels.to(torch.uint8).cpu().numpy()
    return array
