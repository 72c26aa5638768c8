"""What both stages of training share, as a Lightning module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from hyseg_cli.errors import HysegError
from hyseg_cli.learn.data.chips import Sample
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.scores.metrics import ConfusionMatrix, Scores
from hyseg_cli.learn.training.batches import Batch, require_batch
from hyseg_cli.learn.training.recipe import Recipe
from hyseg_models import HySeg


class Stage(pl.LightningModule, ABC):
    """What both stages share: input, optimiser and schedule."""

    # With few validation chips a process may have none.
    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(self, network: HySeg, standardise: Standardise, recipe: Recipe) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.standardise = standardise
        self.recipe = recipe
        self.parts = 1
        """Parts that each batch is computed in, more when memory does not suffice for the whole."""
        self.scores: dict[str, Scores] = {}
        """Scores of the last validation, by name."""

    @abstractmethod
    def learned(self) -> nn.Module:
        """The part of the network this stage trains."""

    @abstractmethod
    def encoder(self) -> nn.Module:
        """The part of it that may start from pretrained weights."""

    @property
    @abstractmethod
    def watched(self) -> float:
        """The mean IoU of the last validation by which weights are compared."""

    @abstractmethod
    def drawn(self, batch: Sample) -> dict[str, Tensor]:
        """What the network makes of a batch, by name: channels of classes (B, H, W) each."""

    @abstractmethod
    def loss(self, batch: Sample, index: int, part: tuple[int, int]) -> Tensor:
        """The loss of a batch, a scalar with gradient.

        Args:
            batch: A part of the batch of a step.
            index: Number of the step, from 0.
            part: Which of how many equal parts of the whole batch that is.
        """

    def total(self, matrix: ConfusionMatrix) -> Scores:
        """The scores of what all processes have counted together."""
        counts = torch.from_numpy(matrix.counts).to(self.device)
        summed = self.trainer.strategy.reduce(counts, reduce_op="sum")
        whole = ConfusionMatrix(len(matrix.counts))
        whole.counts += summed.cpu().numpy()
        return whole.scores()

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
        """Standardised image (B, bands, H, W), valid (B, 1, H, W) and labels (B, H, W)."""
        image = self.standardise(batch["image"], batch["valid"])
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
        # Called between the step and `backward`: what the step has computed must stay.
        if self.trainer.world_size > 1:
            super().optimizer_zero_grad(*args, **kwargs)

    def _in_parts(self, batch: Sample, index: int) -> Tensor:
        """Compute loss and gradients, in more parts whenever memory does not suffice.

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
                # The text alone: the error holds on to frames and all that they have computed.
                problem = str(error)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            larger = (n for n in range(self.parts + 1, size + 1) if size % n == 0)
            self.parts = next(larger, 0)
            if self.parts == 0:
                raise HysegError(
                    f"one chip of {batch['labels'].shape[-1]} pixels does not fit ({problem})",
                    hint="Use a smaller --chip-size or --preset.",
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
        encoder = {id(p) for p in self.encoder().parameters()}
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in self.learned().parameters():
            if not parameter.requires_grad:
                continue
            rate = recipe.encoder_rate if id(parameter) in encoder else recipe.learning_rate
            # Biases, normalisation scales and bandwidths have no reason to shrink.
            decay = recipe.weight_decay if parameter.dim() > 1 else 0.0
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
