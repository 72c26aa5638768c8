"""How one stage of training is optimised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one stage is optimised."""

    steps: int
    learning_rate: float
    encoder_rate: float
    """Learning rate of pretrained encoders; equal to `learning_rate` when they start at random."""
    bandwidth_factor: float = 10.0
    """Learning rate of the bandwidths of P2A relative to `learning_rate`: at that rate itself they
    hardly change in a whole training."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    warmup: int = 100
    """Steps of linear warm-up, at most a tenth of all."""
    final_rate: float = 1e-6
    ema: float = 0.999
    """Decay of the averaged weights, reached as (1 + n) / (10 + n)."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    keeps_statistics: bool = False
    """Whether batch normalisation keeps its statistics. A few images may be darker or brighter than
    others: their statistics would spoil what a network has learned from many."""
    vary_features: float = 0.0
    """Share of the chips whose features are shown as another place might have them."""
    seed: int = 0
    """Seed of the random draws of its steps: noise, times, dropout."""

    def rate_factor(self, step: int) -> float:
        """Learning rate of a step relative to the base rate: linear warm-up, then half a cosine."""
        warmup = min(self.warmup, max(1, self.steps // 10))
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, self.steps - warmup))
        low = self.final_rate / self.learning_rate
        return low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * done))

    def seed_of(self, step: int, rank: int) -> int:
        """The seed of one step in one process, so that a continued run draws the same numbers."""
        words = np.random.SeedSequence((self.seed, step, rank)).generate_state(1, np.uint64)
        return int(words[0])

    def average(self, averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        """The next averaged weights (`torch.optim.swa_utils.AveragedModel`)."""
        if not averaged.is_floating_point():
            return current
        decay = min(self.ema, (1 + int(count)) / (10 + int(count)))
        # lerp leaves equal values as they are: the frozen prior must not drift.
        return torch.lerp(averaged, current, 1.0 - decay)
