"""From tiles to rows: weighted probabilities are added up and finished rows become classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyseg_cli.geo.blend import blend_weights
from hyseg_cli.geo.grid import Band, TileGrid
from hyseg_cli.geo.mosaic import SHARE_LEVELS
from hyseg_cli.geo.strips import Strip
from hyseg_cli.legend import NODATA_ID


class Classify(Protocol):
    """Anything that turns windows into class probabilities; see `infer.Predictor`."""

    classes: int
    device: torch.device

    def __call__(self, image: Tensor, valid: Tensor, origin: Tensor) -> Tensor:
        """(B, bands, H, W), (B, 1, H, W), (B, 2) -> probabilities (B, N, H, W)."""
        ...


@dataclass(frozen=True)
class FinishedRows:
    """Some rows of the map."""

    channels: npt.NDArray[np.uint8]
    """(rows, width): channels of the legend, 255 where the scene holds no data."""
    levels: npt.NDArray[np.uint8] | None
    """(classes, rows, width): probabilities from 0 to 254, 255 without data; None unless asked."""


class Stitcher:
    """Sums of weighted probabilities of the band of tiles in work; mutable.

    Tiles are added in raster order, so the sums do not depend on the batch size. Only one band
    is held: (N, tile height, scene width) float32.
    """

    def __init__(self, grid: TileGrid, classes: int, device: torch.device) -> None:
        self._grid = grid
        self._row_weights = torch.from_numpy(blend_weights(grid.rows)).to(device)
        self._col_weights = torch.from_numpy(blend_weights(grid.cols)).to(device)
        width = grid.cols.starts[-1] + grid.cols.length - grid.cols.first
        self._sums = torch.zeros(classes, grid.rows.length, width, device=device)

    def add(self, band: Band, column: int, probabilities: Tensor) -> None:
        """Add tile number `column` of a band: probabilities (N, tile height, tile width)."""
        weight = self._row_weights[band.index].unsqueeze(1) * self._col_weights[column]
        start = column * self._grid.cols.step
        self._sums[:, :, start : start + self._grid.cols.length].addcmul_(probabilities, weight)

    def finish(
        self, band: Band, *, levels: bool = False
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
        """Channels (rows, scene width) of the band's finished rows, and levels if asked for."""
        rows = slice(band.finished.start - band.row, band.finished.stop - band.row)
        left = -self._grid.cols.first
        done = self._sums[:, rows, left : left + self._grid.cols.size]
        # max, not argmax: five times faster on the CPU in this layout.
        channels: npt.NDArray[np.uint8] = done.max(dim=0).indices.to(torch.uint8).cpu().numpy()
        found = (done * SHARE_LEVELS).round().to(torch.uint8).cpu().numpy() if levels else None
        overlap = self._grid.rows.overlap
        self._sums[:, :overlap] = self._sums[:, self._sums.shape[1] - overlap :].clone()
        self._sums[:, overlap:] = 0.0
        return channels, found


def map_strips(
    strips: Iterable[Strip],
    grid: TileGrid,
    classify: Classify,
    *,
    batch_size: int,
    noise_origin: tuple[int, int] = (0, 0),
    levels: bool = False,
) -> Iterator[FinishedRows]:
    """Classify a scene and hand out its rows, top to bottom.

    Args:
        strips: The pixels, one strip per band of the grid.
        grid: The tiles.
        classify: The network.
        batch_size: Tiles per call of it.
        noise_origin: Row and column of the scene's first pixel on the noise grid.
        levels: Hand out probabilities, too.
    """
    stitcher = Stitcher(grid, classify.classes, classify.device)
    for strip in strips:
        band = strip.band
        tiles = _tiles_with_data(strip, grid)
        for start in range(0, len(tiles), batch_size):
            columns = tiles[start : start + batch_size]
            probabilities = classify(*_gather(strip, grid, columns, noise_origin))
            for column, tile in zip(columns, probabilities, strict=True):
                stitcher.add(band, column, tile)
        channels, found = stitcher.finish(band, levels=levels)
        is_empty = ~_finished_validity(strip, grid)
        channels[is_empty] = NODATA_ID
        if found is not None:
            found[:, is_empty] = NODATA_ID
        yield FinishedRows(channels, found)


def _tiles_with_data(strip: Strip, grid: TileGrid) -> list[int]:
    step, length = grid.cols.step, grid.cols.length
    return [
        column
        for column in range(len(grid.cols.starts))
        if strip.pixels.valid[:, column * step : column * step + length].any()
    ]


def _gather(
    strip: Strip, grid: TileGrid, columns: list[int], noise_origin: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The batch of tiles `columns` of a strip: image, valid and origin."""
    step, length = grid.cols.step, grid.cols.length
    places = [slice(column * step, column * step + length) for column in columns]
    image = np.stack([strip.pixels.image[:, :, place] for place in places])
    valid = np.stack([strip.pixels.valid[None, :, place] for place in places])
    origin = [
        (noise_origin[0] + strip.band.row, noise_origin[1] + grid.cols.first + place.start)
        for place in places
    ]
    return torch.from_numpy(_torch_dtype(image)), torch.from_numpy(valid), torch.tensor(origin)


def _torch_dtype(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # torch lacks most operations on wider unsigned integers.
    return image.astype(np.float32) if image.dtype.kind == "u" and image.itemsize > 1 else image


def _finished_validity(strip: Strip, grid: TileGrid) -> npt.NDArray[np.bool_]:
    band = strip.band
    rows = slice(band.finished.start - band.row, band.finished.stop - band.row)
    left = -grid.cols.first
    return strip.pixels.valid[rows, left : left + grid.cols.size]
