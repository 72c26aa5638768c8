"""Units of work: a scene cut into parts that can be mapped apart, in any order and place.

A unit finishes the pixels of some neighbouring tile rows and columns. What tiles before it add
to these pixels is computed once more (one row and one column of tiles at most), so a unit gives
the same bytes whoever computes it. Units that follow each other down a column of units are run
in one go, which saves the repeated row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.geo.window import Window

UNIT_PIXELS = 2**24
"""Pixels that a unit has, about: what is lost at most when a run is killed."""


@dataclass(frozen=True)
class Unit:
    """A part of a scene."""

    tile_rows: range
    """Rows of tiles whose pixels it finishes."""
    tile_cols: range
    """Columns of tiles whose pixels it finishes."""
    window: Window
    """These pixels."""

    @property
    def name(self) -> str:
        """Tells the unit apart from all others of the scene."""
        return f"row{self.window.row:09d}-col{self.window.col:09d}"

    @property
    def pixels(self) -> int:
        """How many pixels it finishes."""
        return self.window.height * self.window.width


@dataclass(frozen=True)
class Stretch:
    """Units one below the other, mapped in one go."""

    units: tuple[Unit, ...]

    @property
    def finished_tile_rows(self) -> range:
        """Rows of tiles whose pixels are finished."""
        return range(self.units[0].tile_rows.start, self.units[-1].tile_rows.stop)

    @property
    def tile_rows(self) -> range:
        """Rows of tiles to run: those above add to the first pixels."""
        finished = self.finished_tile_rows
        return range(max(0, finished.start - 1), finished.stop)

    @property
    def tile_cols(self) -> range:
        """Columns of tiles to run: those to the left add to the first pixels."""
        finished = self.units[0].tile_cols
        return range(max(0, finished.start - 1), finished.stop)

    @property
    def window(self) -> Window:
        """The pixels that are finished."""
        first, last = self.units[0].window, self.units[-1].window
        return Window(first.row, first.col, last.row_stop - first.row, first.width)


def cut_units(grid: TileGrid, within: Window, columns: int) -> tuple[Unit, ...]:
    """Cut a scene, or a window of it, into units.

    Args:
        grid: The tiles of the scene.
        within: Pixels that are wanted; the tiles that finish them are kept whole.
        columns: Columns of tiles that a unit may have at most.

    Returns:
        Units from top to bottom, then from left to right.
    """
    tile_rows = grid.rows.finishing(range(within.row, within.row_stop))
    across = grid.cols.finishing(range(within.col, within.col_stop))
    blocks = -(-len(across) // columns)
    units = []
    for block in _even_parts(across, blocks):
        cols = grid.cols.finished_by(block)
        share = max(1, round(UNIT_PIXELS / (len(cols) * grid.rows.step)))
        for start in range(tile_rows.start, tile_rows.stop, share):
            part = range(start, min(start + share, tile_rows.stop))
            rows = grid.rows.finished_by(part)
            units.append(Unit(part, block, Window(rows.start, cols.start, len(rows), len(cols))))
    return tuple(units)


def stretches(units: Iterable[Unit]) -> Iterator[Stretch]:
    """Join units that follow each other."""
    run: list[Unit] = []
    for unit in units:
        follows = (
            run
            and run[-1].tile_cols == unit.tile_cols
            and run[-1].tile_rows.stop == unit.tile_rows.start
        )
        if run and not follows:
            yield Stretch(tuple(run))
            run = []
        run.append(unit)
    if run:
        yield Stretch(tuple(run))


def whole_scene(grid: TileGrid) -> Stretch:
    """All of a scene in one go."""
    window = Window(0, 0, grid.rows.size, grid.cols.size)
    return Stretch(cut_units(grid, window, len(grid.cols.starts)))


def share_of(units: tuple[Unit, ...], part: int, parts: int, *, turn: int = 0) -> tuple[Unit, ...]:
    """Part `part` of `parts`, counted from 1: neighbouring units, as evenly as they divide.

    Args:
        units: All of them.
        part: Whose share.
        parts: How many there are.
        turn: By how many parts the shares move on, so that others get the larger ones.
    """
    place = (part - 1 + turn) % parts
    start, stop = (len(units) * i // parts for i in (place, place + 1))
    return units[start:stop]


def _even_parts(whole: range, count: int) -> Iterator[range]:
    for i in range(count):
        yield range(
            whole.start + len(whole) * i // count, whole.start + len(whole) * (i + 1) // count
        )
