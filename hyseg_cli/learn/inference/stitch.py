"""From tiles to rows: weighted probabilities are added up and finished rows become classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyseg_cli.geo.tiling.blend import blend_weights
from hyseg_cli.geo.tiling.blocks import BlockRun
from hyseg_cli.geo.tiling.grid import TileGrid, TileRow
from hyseg_cli.geo.tiling.strips import Strip
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.inference.accumulate import make_sums
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
    """(rows, width): class indices, 255 where the scene holds no data."""
    quantised: npt.NDArray[np.uint8] | None
    """(classes, rows, width): probabilities, 0 to 254, 255 without data; None unless asked for."""


class Stitcher:
    """Sums of weighted probabilities of the current row of tiles; mutable.

    Tiles are added in raster order, so the sums depend neither on the batch size nor on where a
    run of blocks begins. Only one row of tiles is held: (N, tile height, width of the run) float32.
    """

    def __init__(
        self, grid: TileGrid, block_run: BlockRun, classes: int, device: torch.device
    ) -> None:
        self._grid = grid
        self._first = block_run.tile_cols[0]
        self._cols = grid.cols.finished_by(block_run.blocks[0].tile_cols)
        self._row_weights, self._col_weights = blend_weights(grid.rows), blend_weights(grid.cols)
        width = (len(block_run.tile_cols) - 1) * grid.cols.step + grid.cols.length
        self._sums = make_sums(classes, grid.rows.length, width, device)

    def add(self, tile_row: TileRow, column: int, probabilities: Tensor) -> None:
        """Add tile number `column` of a row: probabilities (N, tile height, tile width)."""
        weights = self._row_weights[tile_row.index], self._col_weights[column]
        self._sums.add(probabilities, *weights, (column - self._first) * self._grid.cols.step)

    def finish(
        self, tile_row: TileRow, *, quantised: bool = False
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
        """Class indices (rows, block width) of the finished rows, and probabilities if wanted."""
        left = self._grid.cols.starts[self._first]
        rows = slice(tile_row.finished.start - tile_row.row, tile_row.finished.stop - tile_row.row)
        cols = slice(self._cols.start - left, self._cols.stop - left)
        channels = self._sums.classes(rows, cols)
        found = self._sums.quantised(rows, cols) if quantised else None
        self.turn()
        return channels, found

    def turn(self) -> None:
        """Move on to the next row of tiles: what it shares with this one becomes its first rows."""
        self._sums.turn(self._grid.rows.overlap)


def map_strips(
    strips: Iterable[Strip],
    grid: TileGrid,
    block_run: BlockRun,
    classify: Classify,
    *,
    batch_size: int,
    noise_origin: tuple[int, int] = (0, 0),
    quantised: bool = False,
    within: Callable[[Window], npt.NDArray[np.bool_]] | None = None,
) -> Iterator[FinishedRows]:
    """Classify a run of blocks and yield its rows, top to bottom.

    Args:
        strips: The pixels, one strip per row of tiles.
        grid: The tiles of the scene.
        block_run: The part to map.
        classify: The network.
        batch_size: Tiles per call of it.
        noise_origin: Row and column of the scene's first pixel on the noise grid.
        quantised: Yield probabilities, too.
        within: Returns which pixels of a window are wanted; None for all of them. Other pixels
            become nodata, but the network sees them.
    """
    stitcher = Stitcher(grid, block_run, classify.classes, classify.device)
    for strip in strips:
        tile_row, wanted = strip.tile_row, _wanted(strip, within)
        tiles = _tiles_to_run(wanted, grid, block_run)
        for start in range(0, len(tiles), batch_size):
            columns = tiles[start : start + batch_size]
            probabilities = classify(*_gather(strip, grid, block_run, columns, noise_origin))
            for column, tile in zip(columns, probabilities, strict=True):
                stitcher.add(tile_row, column, tile)
        if tile_row.index not in block_run.finished_tile_rows:
            stitcher.turn()
            continue
        channels, found = stitcher.finish(tile_row, quantised=quantised)
        is_finished = _finished(wanted, strip, grid, block_run)
        if not is_finished.all():
            channels[~is_finished] = NODATA_ID
            if found is not None:
                found[:, ~is_finished] = NODATA_ID
        yield FinishedRows(channels, found)


def _wanted(
    strip: Strip, within: Callable[[Window], npt.NDArray[np.bool_]] | None
) -> npt.NDArray[np.bool_]:
    """Which pixels of a strip hold data and are wanted."""
    valid = strip.pixels.valid
    if within is None:
        return valid
    return valid & within(Window(strip.tile_row.row, strip.col, *valid.shape))


def _tiles_to_run(wanted: npt.NDArray[np.bool_], grid: TileGrid, block_run: BlockRun) -> list[int]:
    step, length = grid.cols.step, grid.cols.length
    return [
        column
        for place, column in enumerate(block_run.tile_cols)
        if wanted[:, place * step : place * step + length].any()
    ]


def _gather(
    strip: Strip,
    grid: TileGrid,
    block_run: BlockRun,
    columns: list[int],
    noise_origin: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """The batch of tiles `columns` of a strip: image, valid and origin."""
    step, length = grid.cols.step, grid.cols.length
    starts = [(column - block_run.tile_cols[0]) * step for column in columns]
    places = [slice(start, start + length) for start in starts]
    image = np.stack([strip.pixels.image[:, :, place] for place in places])
    valid = np.stack([strip.pixels.valid[None, :, place] for place in places])
    origin = [
        (noise_origin[0] + strip.tile_row.row, noise_origin[1] + strip.col + start)
        for start in starts
    ]
    return torch.from_numpy(_torch_dtype(image)), torch.from_numpy(valid), torch.tensor(origin)


def _torch_dtype(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # torch lacks most operations on wider unsigned integers.
    return image.astype(np.float32) if image.dtype.kind == "u" and image.itemsize > 1 else image


def _finished(
    wanted: npt.NDArray[np.bool_], strip: Strip, grid: TileGrid, block_run: BlockRun
) -> npt.NDArray[np.bool_]:
    tile_row, cols = strip.tile_row, grid.cols.finished_by(block_run.blocks[0].tile_cols)
    return wanted[
        tile_row.finished.start - tile_row.row : tile_row.finished.stop - tile_row.row,
        cols.start - strip.col : cols.stop - strip.col,
    ]
