"""Windows of scenes with what a host says of them, to train on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from frozen_host import STRIDE, FeatureScene
from torch import Tensor

from hyseg_models import IGNORE_ID

CROP, BATCH = 256, 4


@dataclass(frozen=True)
class Crop:
    """What a correction sees of some places; the first axis is the batch."""

    image: Tensor
    """float32 (B, 3, H, W)."""
    labels: Tensor
    """int64 (B, H, W)."""
    logits: Tensor
    """Of the host, float32 (B, N, H/4, W/4)."""
    maps: tuple[Tensor, ...]
    """Features of the backbones, float32 (B, C_i, H / s_i, W / s_i)."""

    def maps_at(self, *strides: int) -> tuple[Tensor, ...]:
        """The features at some strides, in their order."""
        width = self.image.shape[-1]
        return tuple(x for x in self.maps if width // x.shape[-1] in strides)


def crop_of(
    scene: FeatureScene, logits: Tensor, row: int, col: int, height: int, width: int
) -> Crop:
    """A window of a scene, all numbers in pixels and multiples of 32."""
    sides = [scene.image.shape[-1] // x.shape[-1] for x in scene.maps]

    def cut(x: Tensor, stride: int) -> Tensor:
        rows = slice(row // stride, (row + height) // stride)
        cols = slice(col // stride, (col + width) // stride)
        return x[None, ..., rows, cols].float()

    return Crop(
        cut(scene.image, 1),
        cut(scene.labels, 1).long(),
        cut(logits, STRIDE),
        tuple(cut(x, s) for x, s in zip(scene.maps, sides, strict=True)),
    )


def crops(
    scenes: Mapping[str, FeatureScene], logits: Mapping[str, Tensor], seed: int
) -> Iterator[Crop]:
    """Crops of random scenes, not nearly all of one class, turned over at random, for ever."""
    rng = np.random.default_rng(seed)
    names = list(scenes)
    area = np.sqrt([scenes[name].labels.numel() for name in names])
    while True:
        name = names[rng.choice(len(names), p=area / area.sum())]
        height, width = scenes[name].labels.shape
        row, col = (32 * int(rng.integers((side - CROP) // 32 + 1)) for side in (height, width))
        crop = crop_of(scenes[name], logits[name], row, col, CROP, CROP)
        known = crop.labels[crop.labels != IGNORE_ID]
        if known.numel() < 0.3 * crop.labels.numel():
            continue
        if known.bincount().max() <= 0.75 * known.numel() or rng.random() < 0.1:
            yield _turned(crop, [axis for axis in (-1, -2) if rng.random() < 0.5])


def _turned(crop: Crop, axes: list[int]) -> Crop:
    return Crop(
        crop.image.flip(axes), crop.labels.flip(axes), crop.logits.flip(axes),
        tuple(x.flip(axes) for x in crop.maps),
    )  # fmt: skip


def stacked(parts: list[Crop]) -> Crop:
    """Crops of one size as a batch."""
    return Crop(
        torch.cat([part.image for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.logits for part in parts]),
        tuple(torch.cat(levels) for levels in zip(*(part.maps for part in parts), strict=True)),
    )
