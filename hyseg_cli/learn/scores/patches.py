"""A raster cut into patches, each read with a rim of what lies around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hyseg_cli.geo.window import Window


@dataclass(frozen=True)
class Patch:
    """A part of a raster that is counted by itself."""

    window: Window
    """The pixels to count."""
    read: Window
    """The same with the rim, as far as the raster goes."""

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of `window` in an array of `read`."""
        row, col = self.window.row - self.read.row, self.window.col - self.read.col
        return slice(row, row + self.window.height), slice(col, col + self.window.width)


@dataclass(frozen=True)
class PatchGrid:
    """Patches of nearly equal size, so that no sliver at an edge counts like a whole one."""

    rows: tuple[int, ...]
    """First row of each, then the height of the raster."""
    cols: tuple[int, ...]
    rim: int
    """Pixels read around each."""

    @classmethod
    def cover(cls, height: int, width: int, *, side: int, rim: int) -> PatchGrid:
        """Patches whose sides are as near to `side` as an even division allows."""
        return cls(_cuts(height, side), _cuts(width, side), rim)

    def __iter__(self) -> Iterator[Patch]:
        height, width = self.rows[-1], self.cols[-1]
        for row, row_stop in zip(self.rows, self.rows[1:], strict=False):
            for col, col_stop in zip(self.cols, self.cols[1:], strict=False):
                top, left = max(0, row - self.rim), max(0, col - self.rim)
                bottom, right = min(height, row_stop + self.rim), min(width, col_stop + self.rim)
                yield Patch(
                    Window(row, col, row_stop - row, col_stop - col),
                    Window(top, left, bottom - top, right - left),
                )

    def __len__(self) -> int:
        return (len(self.rows) - 1) * (len(self.cols) - 1)


def _cuts(size: int, side: int) -> tuple[int, ...]:
    count = max(1, round(size / side))
    return tuple(size * index // count for index in range(count + 1))
