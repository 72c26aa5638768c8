"""Blocks of work: parts of a scene that can be mapped in any order, on any machine.

A block finishes the pixels of some neighbouring tile rows and columns. The contribution of tiles
before it is computed again (at most one row and one column of tiles), so a block gives the same
bytes whoever computes it. Blocks that follow each other down a column are run in one go, which
saves the repeated row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.geo.window import Window

BLOCK_PIXELS = 2**24
"""Approximate pixels of a block: the most that is lost when a run is killed."""


@dataclass(frozen=True)
class Block:
    """A part of a scene."""

    tile_rows: range
    """Rows of tiles whose pixels it finishes."""
    tile_cols: range
    """Columns of tiles whose pixels it finishes."""
    window: Window
    """These pixels."""

    @property
    def name(self) -> str:
        """Unique among the blocks of the scene."""
        return f"row{self.window.row:09d}-col{self.window.col:09d}"

    @property
    def pixels(self) -> int:
        """How many pixels it finishes."""
        return self.window.height * self.window.width


@dataclass(frozen=True)
class BlockRun:
    """Blocks one below the other, mapped in one go."""

    blocks: tuple[Block, ...]

    @property
    def finished_tile_rows(self) -> range:
        """Rows of tiles whose pixels are finished."""
        return range(self.blocks[0].tile_rows.start, self.blocks[-1].tile_rows.stop)

    @property
    def tile_rows(self) -> range:
        """Rows of tiles to run: those above add to the first pixels."""
        finished = self.finished_tile_rows
        return range(max(0, finished.start - 1), finished.stop)

    @property
    def tile_cols(self) -> range:
        """Columns of tiles to run: those to the left add to the first pixels."""
        finished = self.blocks[0].tile_cols
        return range(max(0, finished.start - 1), finished.stop)

    @property
    def window(self) -> Window:
        """The pixels that are finished."""
        first, last = self.blocks[0].window, self.blocks[-1].window
        return Window(first.row, first.col, last.row_stop - first.row, first.width)


def cut_blocks(
    grid: TileGrid, within: Window, columns: int, *, pixels: int | None = None
) -> tuple[Block, ...]:
    """Cut a scene, or a window of it, into blocks.

    Args:
        grid: The tiles of the scene.
        within: The wanted pixels; tiles that finish any of them are kept whole.
        columns: Largest number of tile columns in a block.
        pixels: Pixels of a block, about; `BLOCK_PIXELS` unless given.

    Returns:
        Blocks from top to bottom, then from left to right.
    """
    wanted = pixels or BLOCK_PIXELS
    tile_rows = grid.rows.finishing(range(within.row, within.row_stop))
    across = grid.cols.finishing(range(within.col, within.col_stop))
    count = -(-len(across) // columns)
    blocks = []
    for tile_cols in _even_parts(across, count):
        cols = grid.cols.finished_by(tile_cols)
        share = max(1, round(wanted / (len(cols) * grid.rows.step)))
        for start in range(tile_rows.start, tile_rows.stop, share):
            part = range(start, min(start + share, tile_rows.stop))
            rows = grid.rows.finished_by(part)
            blocks.append(
                Block(part, tile_cols, Window(rows.start, cols.start, len(rows), len(cols)))
            )
    return tuple(blocks)


def block_runs(blocks: Iterable[Block]) -> Iterator[BlockRun]:
    """Join blocks that follow each other."""
    run: list[Block] = []
    for block in blocks:
        follows = (
            run
            and run[-1].tile_cols == block.tile_cols
            and run[-1].tile_rows.stop == block.tile_rows.start
        )
        if run and not follows:
            yield BlockRun(tuple(run))
            run = []
        run.append(block)
    if run:
        yield BlockRun(tuple(run))


def whole_scene(grid: TileGrid) -> BlockRun:
    """All of a scene in one go."""
    window = Window(0, 0, grid.rows.size, grid.cols.size)
    return BlockRun(cut_blocks(grid, window, len(grid.cols.starts)))


def share_of(
    blocks: tuple[Block, ...], part: int, parts: int, *, turn: int = 0
) -> tuple[Block, ...]:
    """Part `part` of `parts`, counted from 1: neighbouring blocks, as evenly as they divide.

    Args:
        blocks: All of them.
        part: The part.
        parts: How many there are.
        turn: Shifts the shares by this many parts, so that other parts get the larger ones.
    """
    place = (part - 1 + turn) % parts
    start, stop = (len(blocks) * i // parts for i in (place, place + 1))
    return blocks[start:stop]


def _even_parts(whole: range, count: int) -> Iterator[range]:
    for i in range(count):
        yield range(
            whole.start + len(whole) * i // count, whole.start + len(whole) * (i + 1) // count
        )
