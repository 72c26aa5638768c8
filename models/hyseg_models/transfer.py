"""Weights of one network as the start of another with other classes or bands.

Which axes of a parameter count classes or bands is not listed by name: the network is built once
more with one class (or band) more, and the axes that grow by one are those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from hyseg_models.config.config import HySegConfig
from hyseg_models.hyseg import HySeg, build

Origin = int | None
"""Index of the class or band that one is taken over from; None for a new one."""


@dataclass(frozen=True)
class Transfer:
    """What became of the parameters and buffers of the new network, by name."""

    whole: tuple[str, ...]
    """Taken over as they are."""
    mapped: tuple[str, ...]
    """Taken over class by class or band by band."""
    fresh: tuple[str, ...]
    """Left as they were."""


@torch.no_grad()
def transfer_weights(
    source: HySeg, target: HySeg, classes: Sequence[Origin], bands: Sequence[Origin]
) -> Transfer:
    """Copy what fits from one network into another, in place.

    A new class keeps its random start; a new band starts as the mean of the bands that the
    source knows. Where the class or band is ambiguous (an axis that grows by several), the
    parameter keeps its random start.

    Args:
        source: The network to start from.
        target: The network to fill; built like the source up to classes and bands.
        classes: Origin of each class of the target.
        bands: Origin of each band of the target.
    """
    class_axes = _counting_axes(target.config, "classes")
    band_axes = _counting_axes(target.config, "bands")
    known = source.state_dict()
    whole: list[str] = []
    mapped: list[str] = []
    fresh: list[str] = []
    for name, tensor in target.state_dict().items():
        value = known.get(name)
        if value is None or value.dim() != tensor.dim():
            fresh.append(name)
            continue
        filled = value
        if name in class_axes:
            filled = _select(filled, tensor, class_axes[name], classes, source.config.classes)
        if name in band_axes:
            filled = _select_bands(filled, band_axes[name], bands, source.config.bands)
        if filled.shape != tensor.shape:
            fresh.append(name)
            continue
        tensor.copy_(filled)
        (mapped if name in class_axes or name in band_axes else whole).append(name)
    return Transfer(tuple(whole), tuple(mapped), tuple(fresh))


def _counting_axes(
    config: HySegConfig, what: Literal["classes", "bands"]
) -> dict[str, tuple[int, int]]:
    """Of each tensor with an axis that counts: the axis, and by how much it grows with one more."""
    one = build(config).state_dict()
    count = getattr(config, what)
    more = build(replace(config, **{what: count + 1})).state_dict()
    found = {}
    for name, tensor in one.items():
        for axis, (short, long) in enumerate(zip(tensor.shape, more[name].shape, strict=True)):
            if long > short:
                found[name] = axis, long - short
    return found


def _select(
    value: Tensor, start: Tensor, axis: tuple[int, int], origins: Sequence[Origin], known: int
) -> Tensor:
    """Classes in the order of the target; other channels of the axis stand behind them."""
    dim, growth = axis
    if growth != 1:
        return value.new_empty(0)
    rest = value.narrow(dim, known, value.shape[dim] - known)
    parts = [
        start.narrow(dim, index, 1) if origin is None else value.narrow(dim, origin, 1)
        for index, origin in enumerate(origins)
    ]
    return torch.cat([*parts, rest], dim)


def _select_bands(
    value: Tensor, axis: tuple[int, int], origins: Sequence[Origin], known: int
) -> Tensor:
    dim, growth = axis
    if growth != 1 or value.shape[dim] != known:
        return value.new_empty(0)
    mean = value.mean(dim, keepdim=True)
    parts = [mean if origin is None else value.narrow(dim, origin, 1) for origin in origins]
    # The first layer sees as much as before, whatever the number of bands.
    return torch.cat(parts, dim) * (known / len(origins))
