"""Predictor: a batch of windows -> class probabilities."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hyseg_cli.learn.card import Model
from hyseg_cli.learn.radiometry import Standardise


class Predictor:
    """Runs a model on windows of scenes.

    Args:
        model: The network and its card.
        device: Where it runs; bfloat16 autocast on CUDA, float32 on the CPU.
        seed: Seed of the prior's noise field.
    """

    def __init__(self, model: Model, device: torch.device, *, seed: int = 0) -> None:
        network = model.network
        network.config = replace(network.config, sample=replace(network.config.sample, seed=seed))
        self.device = device
        self.network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.standardise = Standardise(model.card.radiometry).to(device)
        self.classes = len(model.card.legend)

    def __call__(self, image: Tensor, valid: Tensor, origin: Tensor) -> Tensor:
        """Class probabilities of some windows.

        Args:
            image: (B, bands, H, W) in the scene's values.
            valid: bool (B, 1, H, W).
            origin: int64 (B, 2), row and column of each window on the noise grid.

        Returns:
            float32 (B, N, H, W) on the device, summing to one over N.
        """
        image, valid, origin = (x.to(self.device) for x in (image, valid, origin))
        autocast = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"
        )
        with torch.inference_mode(), autocast:
            standard = self.standardise(image, valid)
            logits = self.network(
                standard.contiguous(memory_format=torch.channels_last), valid, origin
            ).logits
            probabilities: Tensor = logits.float().softmax(dim=1)
            return probabilities
