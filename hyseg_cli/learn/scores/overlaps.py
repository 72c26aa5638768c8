"""Do neighbouring tiles of a model agree where they overlap, before they are blended?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.learn.inference.stitch import Classify
from hyseg_cli.legend import NODATA_ID, ClassIndices


class OverlapProbe:
    """A classifier that compares each tile with its left and upper neighbour; mutable.

    Args:
        classify: The network.
        grid: The tiles of one scene; it sees them row by row.
        noise_origin: Row and column of the scene's first pixel on the noise grid.
    """

    def __init__(self, classify: Classify, grid: TileGrid, noise_origin: tuple[int, int]) -> None:
        self.classes = classify.classes
        self.device: torch.device = classify.device
        self.pixels = 0
        """Pixels compared so far, each pair of tiles by itself."""
        self.disagreements = 0
        """Those of them on which the two tiles have another class."""
        self._classify = classify
        self._grid = grid
        self._origin = noise_origin
        self._recent: dict[tuple[int, int], ClassIndices] = {}

    def __call__(self, image: Tensor, valid: Tensor, origin: Tensor) -> Tensor:
        """What the network says; see `Classify`."""
        probabilities = self._classify(image, valid, origin)
        channels = probabilities.max(dim=1).indices.to(torch.uint8).cpu().numpy()
        channels[~valid[:, 0].cpu().numpy()] = NODATA_ID
        for tile, (row, col) in zip(channels, origin.tolist(), strict=True):
            self._compare(tile, row - self._origin[0], col - self._origin[1])
        return probabilities

    def _compare(self, tile: ClassIndices, row: int, col: int) -> None:
        grid = self._grid
        # Pixels outside the scene are reflections and not part of the map.
        rows, cols = row + np.arange(tile.shape[0]), col + np.arange(tile.shape[1])
        tile[(rows < 0) | (rows >= grid.rows.size)] = NODATA_ID
        tile[:, (cols < 0) | (cols >= grid.cols.size)] = NODATA_ID
        left = self._recent.get((row, col - grid.cols.step))
        above = self._recent.get((row - grid.rows.step, col))
        if left is not None and grid.cols.overlap:
            self._count(left[:, grid.cols.step :], tile[:, : grid.cols.overlap])
        if above is not None and grid.rows.overlap:
            self._count(above[grid.rows.step :], tile[: grid.rows.overlap])
        self._recent = {
            place: kept
            for place, kept in self._recent.items()
            if place[0] == row or (place[0] == row - grid.rows.step and place[1] > col)
        }
        self._recent[row, col] = tile

    def _count(self, one: ClassIndices, other: ClassIndices) -> None:
        known = (one != NODATA_ID) & (other != NODATA_ID)
        self.pixels += int(known.sum())
        self.disagreements += int((known & (one != other)).sum())
