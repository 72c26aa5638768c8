"""E_M as the paper has it: label maps as points of a feature space that a network has learned."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from hyseg_models.prior.labels import pooled_shares

WIDTH = 32
"""Channels inside."""
RATE, DECAY = 3e-3, 1e-3
MEASURED = 10
"""Batches that mean and deviation are measured on."""
SMALLEST = 1e-6
"""Of a share whose logarithm is taken."""


class LearnedLabels(nn.Module):
    """An autoencoder of class shares, learned from label maps alone and fixed from then on.

    Its embedding has mean 0 and root mean square beta in each channel. An encoder that learned from
    the MeanFlow loss would collapse: a constant embedding makes the average velocity trivial.

    All its tensors are buffers: they travel with the weights, and no training of the network that
    it is a part of touches them.

    Args:
        classes: Classes N.
        channels: Channels C of the embedding.
        stride: Image pixels per cell.
        beta: Root mean square of the embedding.
    """

    mean: Tensor
    deviation: Tensor
    fitted: Tensor

    def __init__(self, classes: int, channels: int, stride: int, beta: float) -> None:
        super().__init__()
        self.classes = classes
        self.channels = channels
        self.stride = stride
        self.beta = beta
        self.encoder = _fixed(_two_layers(classes, channels))
        self.decoder = _fixed(_two_layers(channels, classes))
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("deviation", torch.ones(channels, 1, 1))
        self.register_buffer("fitted", torch.tensor(data=False))

    @property
    def is_fitted(self) -> bool:
        """Whether it has learned."""
        return bool(self.fitted)

    def encode(self, labels: Tensor, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embed a batch of label maps (`labels.LabelEmbedding`)."""
        shares, weight = pooled_shares(labels, self.classes, self.stride, allowed)
        return self.embed(shares) * (weight > 0), weight

    def embed(self, shares: Tensor) -> Tensor:
        """Shares (B, N, h, w) -> (B, C, h, w)."""
        found: Tensor = self.beta * (self.encoder(shares) - self.mean) / self.deviation
        return found

    def shares(self, embedded: Tensor) -> Tensor:
        """Embedded cells (B, C, h, w) -> shares (B, N, h, w) that sum to one."""
        found: Tensor = self.decoder(embedded * (self.deviation / self.beta) + self.mean)
        return found.softmax(dim=1)

    def fit(self, batches: Iterator[tuple[Tensor, Tensor]], steps: int) -> float:
        """Learn to give shares back.

        Args:
            batches: Shares (B, N, h, w), and weights of the cells (B, 1, h, w).
            steps: Batches to learn from; `MEASURED` more measure mean and deviation.

        Returns:
            The last loss, in nats above the entropy of the shares.
        """
        parts = [*self.encoder.buffers(), *self.decoder.buffers()]
        optimizer = torch.optim.AdamW(parts, lr=RATE, weight_decay=DECAY)
        gap = torch.zeros(())
        for part in parts:
            part.requires_grad_(True)
        for shares, weight in islice(batches, steps):
            predicted = self.decoder(self.encoder(shares)).log_softmax(dim=1)
            missed = shares * (shares.clamp_min(SMALLEST).log() - predicted)
            gap = (missed.sum(dim=1, keepdim=True) * weight).sum() / weight.sum().clamp_min(1.0)
            optimizer.zero_grad()
            gap.backward()
            optimizer.step()
        for part in parts:
            part.requires_grad_(False)
            part.grad = None
        self._measure(list(islice(batches, MEASURED)))
        return float(gap.detach())

    @torch.no_grad()
    def _measure(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        seen = torch.cat(
            [
                self.encoder(shares).movedim(1, 0)[:, weight[:, 0] > 0]  # (C, cells)
                for shares, weight in batches
            ],
            dim=1,
        )
        self.mean.copy_(seen.mean(dim=1)[:, None, None])
        self.deviation.copy_(seen.std(dim=1).clamp_min(1e-3)[:, None, None])
        self.fitted.fill_(value=True)


def _two_layers(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, WIDTH, 3, padding=1), nn.SiLU(), nn.Conv2d(WIDTH, outputs, 1)
    )


def _fixed(network: nn.Sequential) -> nn.Sequential:
    """The network with buffers in the place of its parameters."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach())
    return network
