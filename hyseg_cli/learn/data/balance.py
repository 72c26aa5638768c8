"""Rare classes: where they occur, and how much their pixels weigh in the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hyseg_cli.legend import NODATA_ID

CELL_PX = 64
"""Side of the cells in which it is known whether a class occurs."""

MAX_RATIO = 50.0
"""Largest weight over the smallest: a class of ten pixels must not rule the loss."""

Weighting = Literal["none", "sqrt", "inverse"]

_POWER = {"sqrt": 0.5, "inverse": 1.0}


def occurrence(labels: npt.NDArray[np.uint8], classes: int) -> npt.NDArray[np.bool_]:
    """Whether each class has a pixel in each cell.

    Args:
        labels: Channels (height, width), 255 where unknown.
        classes: Number of channels N.

    Returns:
        bool (N, rows, cols) of cells; those at the lower and right edge may be smaller.
    """
    height, width = labels.shape
    margins = ((0, -height % CELL_PX), (0, -width % CELL_PX))
    padded = np.pad(labels, margins, constant_values=NODATA_ID)
    rows, cols = padded.shape[0] // CELL_PX, padded.shape[1] // CELL_PX
    blocks = padded.reshape(rows, CELL_PX, cols, CELL_PX)
    found = np.zeros((classes, rows, cols), bool)
    for channel in np.flatnonzero(np.bincount(labels.ravel(), minlength=classes)[:classes]):
        found[channel] = (blocks == channel).any(axis=(1, 3))
    return found


@dataclass(frozen=True)
class Places:
    """The cells in which each class occurs, over all scenes."""

    cells: tuple[npt.NDArray[np.int64], ...]
    """Of each class that occurs, (n, 3): scene, row and column of the cell's first pixel."""
    channels: tuple[int, ...]
    """Of these classes."""

    @classmethod
    def of(cls, found: Sequence[npt.NDArray[np.bool_]]) -> Places:
        """The places of some scenes, from their `occurrence`."""
        cells, channels = [], []
        for channel in range(len(found[0])):
            where = [
                (scene, row * CELL_PX, col * CELL_PX)
                for scene, grids in enumerate(found)
                for row, col in np.argwhere(grids[channel]).tolist()
            ]
            if where:
                cells.append(np.array(where, np.int64))
                channels.append(channel)
        return cls(tuple(cells), tuple(channels))

    def draw_class(self, rng: np.random.Generator) -> int:
        """A class that occurs, all of them equally often."""
        return self.channels[int(rng.integers(len(self.channels)))]

    def draw_pixel(self, channel: int, rng: np.random.Generator) -> tuple[int, int, int]:
        """Scene, row and column of a pixel in a cell where a class occurs."""
        cells = self.cells[self.channels.index(channel)]
        scene, row, col = cells[int(rng.integers(len(cells)))].tolist()
        down, right = rng.integers(CELL_PX, size=2).tolist()
        return scene, row + down, col + right


def class_weights(labelled: Sequence[int], weighting: Weighting) -> tuple[float, ...] | None:
    """Weight of each class in the cross-entropy, one on average over the labelled pixels.

    Inverse to the class's number of pixels, or to its square root; classes without any weigh one.

    Args:
        labelled: Labelled pixels of each class.
        weighting: Which; None comes of `none`.
    """
    if weighting == "none":
        return None
    counts = np.asarray(labelled, float)
    present = counts > 0
    raw = np.ones(len(counts))
    raw[present] = (counts.max() / counts[present]) ** _POWER[weighting]
    raw = raw.clip(max=MAX_RATIO)
    weights = raw * counts.sum() / (raw * counts).sum()
    return tuple(np.where(present, weights, 1.0).tolist())
