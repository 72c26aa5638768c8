"""Parts of labelled scenes, and the split of one scene into a training and a validation part."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.raster.reflect import read_reflected
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import Chip, LabelledScene
from hyseg_cli.legend import NODATA_ID

GUARD_PX = 32
"""Rows or columns between the parts that belong to neither, because objects may cross a line."""

SMALLEST_PX = 64
"""Least rows or columns of a part."""


class SceneView:
    """A window of a scene that acts as a separate scene: pixels beyond its edges are hidden."""

    def __init__(self, scene: LabelledScene, window: Window) -> None:
        self.name = scene.name
        self.height, self.width = window.height, window.width
        self.dtype, self.bands = scene.dtype, scene.bands
        self.resolution_m = getattr(scene, "resolution_m", None)
        self.window = window
        self._scene = scene

    def read(self, window: Window) -> Chip:
        return Chip(*read_reflected(self._read_inside, self.height, self.width, window))

    def _read_inside(self, window: Window) -> tuple[npt.NDArray[np.generic], ...]:
        row, col = self.window.row + window.row, self.window.col + window.col
        chip = self._scene.read(Window(row, col, window.height, window.width))
        return chip.image, chip.valid, chip.labels


class RelabelledScene:
    """A scene with renumbered classes.

    Args:
        scene: The scene.
        table: uint8 (256,), the new channel of each old one, 255 for unlabelled.
    """

    def __init__(self, scene: LabelledScene, table: npt.NDArray[np.uint8]) -> None:
        self.name = scene.name
        self.height, self.width = scene.height, scene.width
        self.dtype, self.bands = scene.dtype, scene.bands
        self.resolution_m = getattr(scene, "resolution_m", None)
        self._scene = scene
        self._table = table

    def read(self, window: Window) -> Chip:
        chip = self._scene.read(window)
        return Chip(chip.image, chip.valid, self._table[chip.labels])


def split_scene(scene: LabelledScene, share: float) -> tuple[list[SceneView], SceneView]:
    """A training part, in one or two pieces, and a validation part of one scene.

    The scene is cut across its longer side into slices; the one whose classes are most similar
    to those of all others is held out.

    Args:
        scene: What to split.
        share: Part of the scene to hold out, between 0 and 1.

    Raises:
        UsageProblemError: If the scene is too small, or no slice can be spared.
    """
    length = max(scene.height, scene.width)
    slices = max(2, round(1.0 / share))
    edges = np.linspace(0, length, slices + 1).round().astype(int)
    if length // slices < SMALLEST_PX + GUARD_PX:
        raise UsageProblemError(
            f"{scene.name} is too small to hold out {share:.0%} of it",
            hint="Name another scene to validate on, or train without `val_split`.",
        )
    counts = np.stack([_count(scene, _slice(scene, *ends)) for ends in _pairs(edges)])
    chosen = _most_typical(counts)
    if chosen is None:
        raise UsageProblemError(
            f"{scene.name} has labels in one part only: nothing can be held out",
            hint="Label more of it, or train without `val_split`.",
        )
    start, stop = int(edges[chosen]), int(edges[chosen + 1])
    ends = [(0, start - GUARD_PX), (stop + GUARD_PX, length)]
    training = [
        SceneView(scene, _slice(scene, *pair)) for pair in ends if pair[1] - pair[0] >= SMALLEST_PX
    ]
    return training, SceneView(scene, _slice(scene, start, stop))


def _pairs(edges: npt.NDArray[np.int_]) -> list[tuple[int, int]]:
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _slice(scene: LabelledScene, start: int, stop: int) -> Window:
    """Rows or columns of a scene, whichever it has more of."""
    if scene.height >= scene.width:
        return Window(start, 0, stop - start, scene.width)
    return Window(0, start, scene.height, stop - start)


def _count(scene: LabelledScene, window: Window) -> npt.NDArray[np.int_]:
    """Labelled pixels by class."""
    labels = scene.read(window).labels
    return np.bincount(labels.ravel(), minlength=NODATA_ID + 1)[:NODATA_ID]


def _most_typical(counts: npt.NDArray[np.int_]) -> int | None:
    """The slice with the shares of classes nearest to those of the other slices."""
    best, least = None, np.inf
    for index, own in enumerate(counts):
        rest = counts.sum(axis=0) - own
        if own.sum() == 0 or rest.sum() == 0:
            continue
        distance = np.abs(own / own.sum() - rest / rest.sum()).sum()
        if distance < least:
            best, least = index, distance
    return best
