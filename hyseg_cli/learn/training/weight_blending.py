"""Mixes of the weights that a network started from and its new ones.

When a network learns from a few images, it forgets some of what it knew. A straight-line mix of old
and new weights keeps most of both.

Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Interpolation:
    """The weights of a network, and those that it started from.

    Args:
        network: Holds the new weights.
        before: Weights by name, shaped as they are in the network; others keep the new value.
    """

    def __init__(self, network: nn.Module, before: Mapping[str, Tensor]) -> None:
        self._network = network
        self._before = before
        self._taught = {name: network.state_dict()[name].clone() for name in before}

    @torch.no_grad()
    def go(self, share: float) -> None:
        """Set the network's weights: 0 for the old ones, 1 for the new ones."""
        own = self._network.state_dict()
        for name, taught in self._taught.items():
            if taught.is_floating_point():
                own[name].copy_(torch.lerp(self._before[name].to(taught), taught, share))
