"""Where the tiles of a scene lie: integer arithmetic only.

Rows and columns are pixels of the scene; a window may reach beyond its edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hyseg_cli.errors import UsageProblemError

ALIGNMENT = 32
"""Tiles start and are sized in multiples of this on the noise grid, the coarsest network stride."""


@dataclass(frozen=True)
class Span:
    """The tiles along one axis: equal length, equal step, covering 0 to `size`.

    The first starts at or before 0, the last stops at or after `size`; both ends are a multiple
    of the alignment on the noise grid. What lies outside the scene is filled by reflection, so a
    tile is never shifted over its neighbour's place.
    """

    size: int
    """Pixels of the scene along this axis."""
    length: int
    """Pixels of a tile."""
    step: int
    """Pixels from one tile to the next."""
    first: int
    """Start of the first tile, -alignment < first <= 0."""

    @classmethod
    def cover(
        cls, size: int, *, tile: int, overlap: int, phase: int, alignment: int = ALIGNMENT
    ) -> Span:
        """The fewest tiles that cover an axis.

        Args:
            size: Pixels of the scene.
            tile: Largest length of a tile; a short scene gets shorter tiles.
            overlap: Pixels shared by neighbours.
            phase: Position of the scene's first pixel on the noise grid, modulo `alignment`.
            alignment: What tiles start at and are sized in multiples of.
        """
        first = -(phase % alignment)
        needed = -(-(size - first) // alignment) * alignment
        return cls(size=size, length=min(tile, needed), step=tile - overlap, first=first)

    @property
    def starts(self) -> range:
        """Where the tiles start."""
        count = max(0, -(-(self.size - self.first - self.length) // self.step)) + 1
        return range(self.first, self.first + count * self.step, self.step)

    @property
    def overlap(self) -> int:
        """Pixels shared by neighbours."""
        return self.length - self.step if len(self.starts) > 1 else 0

    def finished(self, index: int) -> range:
        """Pixels of the scene that tile `index` covers and no later one does."""
        starts = self.starts
        is_last = index == len(starts) - 1
        return range(max(starts[index], 0), self.size if is_last else starts[index] + self.step)

    def finished_by(self, tiles: range) -> range:
        """Pixels of the scene that some neighbouring tiles finish."""
        return range(self.finished(tiles[0]).start, self.finished(tiles[-1]).stop)

    def finishing(self, pixels: range) -> range:
        """The tiles that finish the pixels of a range inside the scene."""
        count = len(self.starts)
        first = (pixels.start - self.first) // self.step
        last = (pixels.stop - 1 - self.first) // self.step
        return range(min(first, count - 1), min(last, count - 1) + 1)


@dataclass(frozen=True)
class TileGrid:
    """The overlapping tiles of a scene, row by row."""

    rows: Span
    cols: Span

    @classmethod
    def cover(
        cls,
        height: int,
        width: int,
        *,
        tile: int,
        overlap: int,
        phase: tuple[int, int] = (0, 0),
        alignment: int = ALIGNMENT,
    ) -> TileGrid:
        """Tiles over a scene of height x width pixels.

        Args:
            height: Rows of the scene.
            width: Columns of the scene.
            tile: Side of a tile in pixels of the network, a multiple of 32.
            overlap: Pixels shared by neighbours, likewise, at most half the tile.
            phase: Row and column of the scene's first pixel on the noise grid.
            alignment: Pixels of the scene that stand for 32 of the network.

        Raises:
            UsageProblemError: If tile or overlap break these rules.
        """
        if tile < 2 * ALIGNMENT or tile % ALIGNMENT:
            raise UsageProblemError(
                f"`tile_size` {tile} is not a multiple of {ALIGNMENT} of at least {2 * ALIGNMENT}",
                hint=f"Use `tile_size` {max(2, round(tile / ALIGNMENT)) * ALIGNMENT}.",
            )
        if not 0 <= overlap <= tile // 2 or overlap % ALIGNMENT:
            raise UsageProblemError(
                f"`overlap` {overlap} is not a multiple of {ALIGNMENT} between 0 and {tile // 2}, "
                "half of the tile",
                hint=f"Use `overlap` {tile // 4 // ALIGNMENT * ALIGNMENT}.",
            )
        rows, cols = (
            Span.cover(
                size,
                tile=tile // ALIGNMENT * alignment,
                overlap=overlap // ALIGNMENT * alignment,
                phase=start,
                alignment=alignment,
            )
            for size, start in zip((height, width), phase, strict=True)
        )
        return cls(rows, cols)

    def tile_rows(self) -> Iterator[TileRow]:
        """The rows of tiles, top to bottom."""
        return (self.tile_row(index) for index in range(len(self.rows.starts)))

    def tile_row(self, index: int) -> TileRow:
        """One row of tiles."""
        return TileRow(
            index=index,
            row=self.rows.starts[index],
            height=self.rows.length,
            finished=self.rows.finished(index),
        )

    def __len__(self) -> int:
        return len(self.rows.starts) * len(self.cols.starts)


@dataclass(frozen=True)
class TileRow:
    """One row of tiles."""

    index: int
    row: int
    """First row of its tiles; may be negative."""
    height: int
    """Rows of its tiles; may reach beyond the scene."""
    finished: range
    """Rows of the scene that no later tile touches: done once this row of tiles is."""
