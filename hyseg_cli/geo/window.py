"""A rectangle of pixels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels with at least one pixel."""

    row: int
    """First row."""
    col: int
    """First column."""
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            message = f"a window of {self.height} x {self.width} pixels is empty"
            raise ValueError(message)

    @property
    def row_stop(self) -> int:
        """One past the last row."""
        return self.row + self.height

    @property
    def col_stop(self) -> int:
        """One past the last column."""
        return self.col + self.width

    def intersection(self, other: Window) -> Window | None:
        """The pixels of the intersection, None if it is empty."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = min(self.row_stop, other.row_stop) - row
        width = min(self.col_stop, other.col_stop) - col
        return Window(row, col, height, width) if height > 0 and width > 0 else None

    def seen_from(self, other: Window) -> Window:
        """The same pixels, counted from the first pixel of another window."""
        return Window(self.row - other.row, self.col - other.col, self.height, self.width)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array of the scene."""
        return slice(self.row, self.row_stop), slice(self.col, self.col_stop)
