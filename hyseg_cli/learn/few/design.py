"""Features of pixels as a linear head sees them, and its weights in the network."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from hyseg_cli.learn.few.probe import Fit
from hyseg_models import HySeg
from hyseg_models.tokens.head import ProbeHead


@torch.no_grad()
def set_moments(network: HySeg, mean: Tensor, scale: Tensor) -> None:
    """Give a probe what was measured of its features.

    Args:
        network: The probe, changed in place.
        mean: (C,) of all features: those of the tokens, finest first, then of the pixels.
        scale: (C,) 1 / their deviation.
    """
    start, head = 0, head_of(network)
    for norm in [*head.norms, *([head.detail.random] if head.detail is not None else [])]:
        part = slice(start, start + len(norm.mean))
        start = part.stop
        cast("Tensor", norm.mean).copy_(mean[part])
        cast("Tensor", norm.scale).copy_(scale[part])


@torch.no_grad()
def design(network: HySeg, features: Tensor) -> Tensor:
    """Features as one linear layer sees them: (n, C) -> (n, C'').

    Tokens are standardised and share one unit of variance; looks of pixels become random
    features, whose weight is part of the configuration.
    """
    start, head = 0, head_of(network)
    width = sum(len(cast("Tensor", norm.mean)) for norm in head.norms)
    parts = []
    for norm in head.norms:
        mean, scale = cast("Tensor", norm.mean), cast("Tensor", norm.scale)
        own = features[:, start : start + len(mean)]
        start += len(mean)
        parts.append((own - mean) * scale / width**0.5)
    if head.detail is not None:
        parts.append(head.detail.random.of_pixels(features[:, start:]))
    return torch.cat(parts, dim=1)


@torch.no_grad()
def set_head(network: HySeg, fitted: Fit) -> None:
    """Give a probe the weights that were fitted to `design`, in place."""
    start, head = 0, head_of(network)
    width = sum(len(cast("Tensor", norm.mean)) for norm in head.norms)
    for level, classify in enumerate(head.classify):
        weight, bias = cast("Tensor", classify.weight), cast("Tensor", classify.bias)
        part = fitted.weight[:, start : start + weight.shape[1]]
        start += weight.shape[1]
        weight.copy_(part[:, :, None, None] / width**0.5)
        bias.copy_(fitted.bias if level == 0 else torch.zeros_like(bias))
    if head.detail is not None:
        head.detail.classify.weight.copy_(fitted.weight[:, start:])


def head_of(network: HySeg) -> ProbeHead:
    """The head of a probe.

    Raises:
        TypeError: If the network is not a probe.
    """
    if not isinstance(network.decoder, ProbeHead):
        message = "this network is not a probe"
        raise TypeError(message)
    return network.decoder
