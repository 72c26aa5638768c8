"""Weights between those that a network went on from and those it was taught.

What a few images teach a network costs it some of what it knew. Part of the way back, in a straight
line through its weights, it keeps most of both.

Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Interpolation:
    """The weights of a network, and those that it went on from.

    Args:
        network: Holds what it was taught.
        before: Weights by name, shaped as they are in the network; others stay as taught.
    """

    def __init__(self, network: nn.Module, before: Mapping[str, Tensor]) -> None:
        self._network = network
        self._before = before
        self._taught = {name: network.state_dict()[name].clone() for name in before}

    @torch.no_grad()
    def go(self, share: float) -> None:
        """Set the network's weights: 0 for those from before, 1 for those that it was taught."""
        own = self._network.state_dict()
        for name, taught in self._taught.items():
            if taught.is_floating_point():
                own[name].copy_(torch.lerp(self._before[name].to(taught), taught, share))
