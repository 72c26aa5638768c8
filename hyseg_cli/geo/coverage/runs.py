"""Rows of a class raster as runs of one class, and the labels that runs take.

A run takes the label of the first run of its class that it touches in the row above, or a new
one. This rule depends only on the two rows, so every pass over the raster gives every run the same
label, and no raster of labels has to be kept. Labels that turn out to belong together
are reported as links, for the union-find of `regions`.

With a tile size, runs end at tile lines and labels do not reach across them; `cut_pairs` returns
the pairs that were cut apart.

`ClassRows` is the source of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.compiled import kernel

STRIP_ROWS = 256
"""Rows processed at once. A constant, so that the result does not depend on the machine."""

NEVER = -(2**31)
"""A class that no pixel has."""

Rows = npt.NDArray[Any]
"""(rows, width) of class ids, uint8 or int32; `no_class` where there is none."""


class ClassRows(Protocol):
    """A class raster that is read from top to bottom, as often as needed."""

    height: int
    width: int
    no_class: int
    """Value of pixels that belong to no region."""

    def read(self, row: int, count: int) -> Rows:
        """Rows `row` to `row + count - 1`."""
        ...


class ArrayRows:
    """A class raster in memory."""

    def __init__(self, classes: Rows, *, no_class: int) -> None:
        self.height, self.width = classes.shape
        self.no_class = no_class
        is_byte = classes.dtype == np.uint8
        self._classes = classes if is_byte else classes.astype(np.int32)

    def read(self, row: int, count: int) -> Rows:
        return self._classes[row : row + count]


@dataclass(frozen=True)
class Seams:
    """The half-pixel rows of the seams between strips."""

    step: int
    """Half pixels from one seam to the next; the first lies at step - 1."""
    last: int
    """The last seam, -1 if there is none."""


def seams(height: int, strip_rows: int = STRIP_ROWS) -> Seams:
    """The seams of a raster: halfway between the vertices of neighbouring strips."""
    step = 2 * strip_rows
    return Seams(step, (len(strips(height, strip_rows)) - 1) * step - 1)


def strips(height: int, strip_rows: int = STRIP_ROWS) -> list[tuple[int, int]]:
    """First row and number of rows of each strip."""
    return [(row, min(strip_rows, height - row)) for row in range(0, height, strip_rows)]


Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]

NO_TILES = 1 << 30
"""Side of a tile that no raster fills."""


@dataclass(frozen=True)
class Runs:
    """The runs of some rows; the first row is the one above them, for comparison."""

    offsets: Int64s
    """Number of the first run of each row, then the number of runs; (rows + 2,)."""
    starts: Int32s
    """First column of each run."""
    stops: Int32s
    """One past its last column."""
    classes: Int32s
    """Class of each run."""
    labels: Int32s
    """Label of each run, 0 where there is no class."""
    links: Int32s
    """Pairs of labels of one region, (n, 2)."""

    @property
    def fresh(self) -> slice:
        """The runs that are not of the row above."""
        return slice(int(self.offsets[1]), int(self.offsets[-1]))


class Labeller:
    """Cuts a raster into labelled runs, some rows at a time, top to bottom; mutable.

    Args:
        width: Columns of the raster.
        no_class: Value of pixels that get no label.
        tile: Side of the tiles at whose lines labels end, 0 for none.
    """

    def __init__(self, width: int, no_class: int, tile: int = 0) -> None:
        self.labels = 0
        """Labels given so far."""
        self._no_class = no_class
        self._tile = tile or NO_TILES
        self._row = 0
        # Above the first row lies a single run without class.
        self._above = (
            np.array([0], np.int32),
            np.array([width], np.int32),
            np.array([no_class], np.int32),
            np.array([0], np.int32),
        )

    def label(self, classes: Rows) -> Runs:
        """The runs of the next rows."""
        above = len(self._above[0])
        row_offsets, *columns = cut_runs(classes, self._tile)
        offsets = np.concatenate([[0], above + row_offsets])
        columns.append(np.zeros(len(columns[0]), np.int32))
        starts, stops, run_classes, labels = (
            np.concatenate([known, fresh])
            for known, fresh in zip(self._above, columns, strict=True)
        )
        # A pair of rows has at most as many touching runs as both rows have runs.
        links = np.empty((2 * len(starts), 2), np.int32)
        self.labels, linked = label_runs(
            offsets, starts, stops, run_classes, self._no_class, self._row, self._tile,
            self.labels, labels, links,
        )  # fmt: skip
        self._row += len(classes)
        last = slice(int(offsets[-2]), int(offsets[-1]))
        self._above = (
            starts[last].copy(), stops[last].copy(), run_classes[last].copy(), labels[last].copy(),
        )  # fmt: skip
        return Runs(offsets, starts, stops, run_classes, labels, links[:linked])


def cut_runs(classes: Rows, tile: int) -> tuple[Int64s, Int32s, Int32s, Int32s]:
    """The runs of some rows: first run of each row and their number, starts, stops, classes."""
    rows, width = classes.shape
    is_start = np.empty((rows, width), np.bool_)
    np.not_equal(classes[:, 1:], classes[:, :-1], out=is_start[:, 1:])
    is_start[:, ::tile] = True
    places = np.flatnonzero(is_start)
    offsets = np.searchsorted(places, np.arange(rows + 1) * width).astype(np.int64)
    starts = (places % width).astype(np.int32)
    stops = np.empty_like(starts)
    stops[:-1] = starts[1:]
    stops[offsets[1:] - 1] = width
    return offsets, starts, stops, classes.ravel()[places].astype(np.int32)


@kernel
def label_runs(
    offsets: Int64s,
    starts: Int32s,
    stops: Int32s,
    classes: Int32s,
    no_class: int,
    first_row: int,
    tile: int,
    count: int,
    labels: Int32s,
    links: Int32s,
) -> tuple[int, int]:
    """Label all runs except those of the first row; returns the labels so far and the links."""
    linked = 0
    for row in range(1, len(offsets) - 1):
        above, end = offsets[row - 1], offsets[row]
        if (first_row + row - 1) % tile == 0:
            above = end
        for run in range(offsets[row], offsets[row + 1]):
            if classes[run] == no_class:
                continue
            while above < end and stops[above] <= starts[run]:
                above += 1
            touching = above
            while touching < end and starts[touching] < stops[run]:
                if classes[touching] == classes[run]:
                    if labels[run] == 0:
                        labels[run] = labels[touching]
                    elif labels[run] != labels[touching]:
                        links[linked, 0] = labels[run]
                        links[linked, 1] = labels[touching]
                        linked += 1
                touching += 1
            if labels[run] == 0:
                count += 1
                labels[run] = count
    return count, linked


def cut_pairs(runs: Runs, first_row: int, tile: int) -> Int32s:
    """Pairs of labels of one class that touch across a tile line, (n, 2).

    Args:
        runs: The result of a `Labeller` with this tile size for some rows.
        first_row: Row of the raster that is the first of them.
        tile: Side of the tiles.
    """
    pairs = np.empty((3 * len(runs.starts), 2), np.int32)
    found = find_cut_pairs(
        runs.offsets, runs.starts, runs.stops, runs.classes, runs.labels, first_row, tile, pairs
    )
    return pairs[:found].copy()  # the unused part is freed


@kernel
def find_cut_pairs(
    offsets: Int64s,
    starts: Int32s,
    stops: Int32s,
    classes: Int32s,
    labels: Int32s,
    first_row: int,
    tile: int,
    pairs: Int32s,
) -> int:
    """Fill `pairs`; returns how many there are."""
    found = 0
    for row in range(1, len(offsets) - 1):
        for run in range(offsets[row] + 1, offsets[row + 1]):
            if classes[run] == classes[run - 1] and labels[run] > 0:
                pairs[found, 0], pairs[found, 1] = labels[run - 1], labels[run]
                found += 1
        if (first_row + row - 1) % tile != 0:
            continue
        above, end = offsets[row - 1], offsets[row]
        for run in range(end, offsets[row + 1]):
            while above < end and stops[above] <= starts[run]:
                above += 1
            touching = above
            while touching < end and starts[touching] < stops[run]:
                if labels[run] > 0 and labels[touching] > 0 and classes[touching] == classes[run]:
                    pairs[found, 0], pairs[found, 1] = labels[touching], labels[run]
                    found += 1
                touching += 1
    return found


@kernel
def paint_runs(
    offsets: Int64s,
    starts: Int32s,
    stops: Int32s,
    labels: Int32s,
    number_of_label: Int32s,
    out: Int32s,
) -> None:
    """Write the number of each run's label over its pixels: out (rows, width)."""
    for row in range(1, len(offsets) - 1):
        for run in range(offsets[row], offsets[row + 1]):
            out[row - 1, starts[run] : stops[run]] = number_of_label[labels[run]]
