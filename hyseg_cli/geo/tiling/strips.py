"""Blocks of a scene as strips, one per row of tiles; every row is read once."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hyseg_cli.geo.raster.reader import Pixels, SceneReader
from hyseg_cli.geo.tiling.blocks import BlockRun
from hyseg_cli.geo.tiling.grid import TileGrid, TileRow
from hyseg_cli.geo.window import Window


@dataclass(frozen=True)
class Strip:
    """All pixels that the tiles of one row need."""

    tile_row: TileRow
    col: int
    """Column of the scene at which the first tile starts; may be negative."""
    pixels: Pixels
    """As high as the row of tiles and as wide as its tiles together, reflected beyond the edges."""


def rows_of_blocks(block_height: int, tile_height: int) -> int:
    """Rows to read at once: those of a block, or single rows if blocks are much higher than tiles.

    GDAL decodes a block again for every read that takes a part of it.
    """
    return block_height if block_height <= 2 * tile_height else 1


def read_strips(reader: SceneReader, grid: TileGrid, block_run: BlockRun) -> Generator[Strip]:
    """The strips of a run of blocks, top to bottom; the next one is read while one is in use.

    At most two strips are in memory, with the rows of blocks that reach below them, so memory does
    not grow with the scene's height. They alternate in the same memory: use a strip only until the
    next one is requested.
    """
    tile_rows = [grid.tile_row(index) for index in block_run.tile_rows]
    start = grid.cols.starts[block_run.tile_cols[0]]
    cols = range(start, grid.cols.starts[block_run.tile_cols[-1]] + grid.cols.length)
    rows = _Rows(reader, grid, cols, tile_rows[0].row)
    with ThreadPoolExecutor(max_workers=1) as thread:
        upcoming = thread.submit(rows.of, tile_rows[0])
        for tile_row, following in zip(tile_rows, [*tile_rows[1:], None], strict=True):
            strip = Strip(tile_row, start, upcoming.result())
            if following is not None:
                upcoming = thread.submit(rows.of, following)
            yield strip


class _Rows:
    """Reads the pixels of one row of tiles after the other, each block once; mutable.

    Pixels that are still needed are copied from the memory of one row to that of the next. Memory
    allocated again and again in different sizes would leave holes in the heap.
    """

    def __init__(self, reader: SceneReader, grid: TileGrid, cols: range, first_row: int) -> None:
        self._reader = reader
        self._cols = cols
        self._height = grid.rows.size
        self._step = rows_of_blocks(reader.scene.block[0], grid.rows.length)
        self._capacity = grid.rows.length + self._step - 1
        self._first = self._read_to = first_row
        """Rows of the scene that are held."""
        self._held: Pixels | None = None
        self._spare: Pixels | None = None

    def of(self, tile_row: TileRow) -> Pixels:
        """The pixels of a row of tiles; those of the row before the last are overwritten."""
        end, kept = (
            self._end_of_blocks(tile_row.row + tile_row.height),
            self._read_to - tile_row.row,
        )
        target = self._spare or self._reader.room_for(self._capacity, len(self._cols))
        if self._held is not None:
            old = slice(tile_row.row - self._first, self._read_to - self._first)
            target.image[:, :kept], target.valid[:kept] = (
                self._held.image[:, old],
                self._held.valid[old],
            )
        if end > self._read_to:
            new = slice(kept, end - tile_row.row)
            room = Pixels(target.image[:, new], target.valid[new])
            place = Window(self._read_to, self._cols.start, end - self._read_to, len(self._cols))
            self._reader.read_into(room, place)
            self._read_to = end
        self._spare, self._held, self._first = self._held, target, tile_row.row
        return Pixels(target.image[:, : tile_row.height], target.valid[: tile_row.height])

    def _end_of_blocks(self, stop: int) -> int:
        """Where the blocks end that hold the row before `stop`; rows beyond the scene have none."""
        if stop >= self._height:
            return stop
        return min(-(-stop // self._step) * self._step, self._height)
