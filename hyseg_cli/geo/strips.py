"""A stretch of a scene as strips, one per row of tiles; every row is read once."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hyseg_cli.geo.grid import Band, TileGrid, Window
from hyseg_cli.geo.reading import Pixels, SceneReader
from hyseg_cli.geo.units import Stretch


@dataclass(frozen=True)
class Strip:
    """All pixels that the tiles of one row need."""

    band: Band
    col: int
    """Column of the scene at which the first tile starts; may be negative."""
    pixels: Pixels
    """As high as the band and as wide as its tiles, reflected beyond the scene's edges."""


def rows_of_blocks(block_height: int, tile_height: int) -> int:
    """Rows to read at once: those of a block, or single ones if blocks are far higher than tiles.

    GDAL decodes a block again for every read that takes a part of it.
    """
    return block_height if block_height <= 2 * tile_height else 1


def read_strips(reader: SceneReader, grid: TileGrid, stretch: Stretch) -> Generator[Strip]:
    """The strips of a stretch, top to bottom; the next one is read while one is in use.

    Two strips are held at most, and rows of blocks that reach below them, so memory does not grow
    with the scene's height.
    """
    bands = [grid.band(index) for index in stretch.bands]
    start = grid.cols.starts[stretch.columns[0]]
    cols = range(start, grid.cols.starts[stretch.columns[-1]] + grid.cols.length)
    rows = _Rows(reader, grid, cols, bands[0].row)
    with ThreadPoolExecutor(max_workers=1) as thread:
        upcoming = thread.submit(_read, rows, 0, bands[0], None)
        for band, following in zip(bands, [*bands[1:], None], strict=True):
            strip = Strip(band, start, upcoming.result())
            if following is not None:
                shared = grid.rows.overlap
                upcoming = thread.submit(_read, rows, shared, following, strip.pixels)
            yield strip


def _read(rows: _Rows, shared: int, band: Band, above: Pixels | None) -> Pixels:
    """The pixels of a band; the rows it shares with the band above are copied from there."""
    parts = rows.take(band.row + band.height)
    if above is not None and shared > 0:
        parts = [_part(above, slice(-shared, None)), *parts]
    if len(parts) == 1:
        return parts[0]
    return Pixels(
        np.concatenate([part.image for part in parts], axis=1),
        np.concatenate([part.valid for part in parts], axis=0),
    )


def _part(pixels: Pixels, rows: slice) -> Pixels:
    return Pixels(pixels.image[:, rows], pixels.valid[rows])


class _Rows:
    """Hands out the rows of some columns from top to bottom, and reads whole blocks; mutable."""

    def __init__(self, reader: SceneReader, grid: TileGrid, cols: range, first_row: int) -> None:
        self._reader = reader
        self._cols = cols
        self._height = grid.rows.size
        self._step = rows_of_blocks(reader.scene.block[0], grid.rows.length)
        self._read_to = first_row
        self._left: Pixels | None = None
        """Rows that were read, but not handed out yet."""

    def take(self, stop: int) -> list[Pixels]:
        """The next rows up to `stop`, in parts."""
        found = []
        start = self._read_to
        if self._left is not None:
            start -= len(self._left.valid)
            found.append(_part(self._left, slice(stop - start)))
            self._left = self._rest(self._left, stop - start)
        if stop > self._read_to:
            end = self._end_of_blocks(stop)
            cols = self._cols
            fresh = self._reader.read(
                Window(self._read_to, cols.start, end - self._read_to, len(cols))
            )
            found.append(_part(fresh, slice(stop - self._read_to)))
            self._left = self._rest(fresh, stop - self._read_to)
            self._read_to = end
        return found

    @staticmethod
    def _rest(pixels: Pixels, used: int) -> Pixels | None:
        if used >= len(pixels.valid):
            return None
        # Copied, so that the rows handed out can be let go.
        return Pixels(pixels.image[:, used:].copy(), pixels.valid[used:].copy())

    def _end_of_blocks(self, stop: int) -> int:
        """Where the blocks end that hold the row before `stop`; rows beyond the scene have none."""
        if stop >= self._height:
            return stop
        return min(-(-stop // self._step) * self._step, self._height)
