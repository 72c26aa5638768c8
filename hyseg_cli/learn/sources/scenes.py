"""Scenes of a source, as scenes of the training: labels and bands in the common coding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import Chip, LabelledScene


class SourceScene:
    """A scene with label values of `LabelSets`, and all bands of the training.

    Args:
        scene: The scene; its bands are those of the training that it has, in their order.
        encoding: uint8 (256,), the label value of each of its channels.
        source: Number of its source.
        has_band: For each band of the training, whether the scene has it; others are zero.
        resolution_m: Ground size of its pixels, if it does not say it itself.
    """

    def __init__(
        self,
        scene: LabelledScene,
        encoding: npt.NDArray[np.uint8],
        *,
        source: int,
        has_band: tuple[bool, ...],
        resolution_m: float | None = None,
    ) -> None:
        self.name = scene.name
        self.height, self.width = scene.height, scene.width
        self.dtype, self.bands = scene.dtype, len(has_band)
        self.resolution_m = getattr(scene, "resolution_m", None) or resolution_m
        self.source = source
        self.has_band = has_band
        self._scene = scene
        self._encoding = encoding

    def read(self, window: Window) -> Chip:
        chip = self._scene.read(window)
        image = chip.image
        if not all(self.has_band):
            image = np.zeros((self.bands, *chip.valid.shape), chip.image.dtype)
            image[list(self.has_band)] = chip.image
        return Chip(image, chip.valid, self._encoding[chip.labels])


def weights_of_places(scenes: tuple[LabelledScene, ...], places: tuple[str, ...]) -> list[float]:
    """How often each scene is drawn: places by the root of their area, their scenes by area.

    So neither a large place nor one that is cut into many images drowns the others.
    """
    area: dict[str, float] = {}
    for scene, place in zip(scenes, places, strict=True):
        area[place] = area.get(place, 0.0) + scene.height * scene.width
    raw = [
        scene.height * scene.width / np.sqrt(area[place])
        for scene, place in zip(scenes, places, strict=True)
    ]
    return [float(one / sum(raw)) for one in raw]


LEAST_SHARE = 0.5
"""Of an equal share: what a source without a share of its own has at least."""


def shares_of_sources(asked: list[float | None], areas: list[float]) -> list[float]:
    """Part of the chips of each source, summing to one.

    What is left of the shares asked for is divided by the root of the area, none getting less
    than half of an equal share of it.

    Args:
        asked: Shares asked for; None for those that take a part of the rest. Together at most
            one, and less where there are others.
        areas: Pixels of each source.
    """
    rest = 1.0 - sum(share for share in asked if share is not None)
    open_roots = [np.sqrt(area) for share, area in zip(asked, areas, strict=True) if share is None]
    parts = []
    for share, area in zip(asked, areas, strict=True):
        if share is None:
            own = np.sqrt(area) / sum(open_roots)
            parts.append(rest * max(own, LEAST_SHARE / len(open_roots)))
        else:
            parts.append(share)
    free = sum(part for part, share in zip(parts, asked, strict=True) if share is None)
    scale = rest / free if free else 1.0 / sum(parts)
    return [
        float(part * scale if share is None or not free else part)
        for part, share in zip(parts, asked, strict=True)
    ]
