"""Pass 1: the 4-connected regions of a class raster, by union-find over the labels of its runs.

`Table` holds numbers that grow, in memory or, once large, in files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.compiled import kernel
from hyseg_cli.geo.coverage.runs import ClassRows, Int32s, Int64s, Labeller, Runs, cut_pairs, strips

SPILL_BYTES = 1 << 30
"""A table larger than this moves to disk, where the system decides what stays in memory."""


class Table:
    """Columns of equal length that grow together; mutable.

    Args:
        types: Data type of each column.
        folder: Where the columns go when the table becomes large; the caller removes it.
        spill_bytes: Size from which they move there.
    """

    def __init__(
        self, types: Sequence[npt.DTypeLike], folder: Path, *, spill_bytes: int = SPILL_BYTES
    ) -> None:
        self._types = [np.dtype(kind) for kind in types]
        self._folder = folder
        self._spill_bytes = spill_bytes
        self._length = 0
        self._files: list[Path] = []
        self.columns: list[npt.NDArray[Any]] = [np.zeros(0, kind) for kind in self._types]

    def require(self, length: int) -> None:
        """Make every column at least this long; new entries are zero."""
        if length <= self._length:
            return
        self._length = max(length, self._length * 3 // 2)
        row_bytes = sum(kind.itemsize for kind in self._types)
        if self._length * row_bytes > self._spill_bytes:
            self._grow_on_disk()
        else:
            self.columns = [self._longer(column) for column in self.columns]

    def _longer(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        longer = np.zeros(self._length, column.dtype)
        longer[: len(column)] = column
        return longer

    def _grow_on_disk(self) -> None:
        if not self._files:
            self._files = [self._folder / f"column{i}.bin" for i in range(len(self._types))]
            for file, column in zip(self._files, self.columns, strict=True):
                column.tofile(file)
        # A file that is extended keeps its content: nothing is copied.
        for file, kind in zip(self._files, self._types, strict=True):
            os.truncate(file, self._length * kind.itemsize)
        self.columns = [
            np.memmap(file, kind, "r+", shape=(self._length,))
            for file, kind in zip(self._files, self._types, strict=True)
        ]


Floats = npt.NDArray[np.float64]

KEPT_RUNS = 1 << 22
"""Runs kept for the next pass; they take 64 MiB. If there are more, they are computed again."""


@dataclass(frozen=True)
class Regions:
    """The regions of a raster, by number from 1; entry 0 collects pixels outside all regions."""

    number_of_label: Int32s
    """Number of the region of each label."""
    class_ids: Int32s
    pixels: Int64s
    areas_m2: Floats
    """Area of the pixels of each region."""
    last_rows: Int64s
    """Last row that holds a pixel of the region, -1 for entry 0."""
    tile: int
    """Side of the tiles that large regions were cut into, 0 for none."""
    uncut: Int32s
    """Number of the region that each was before it was cut; its own without tiles."""
    runs: int
    """Runs of pixels in all rows: a measure of how long the borders are."""
    strips: tuple[Runs, ...]
    """The runs themselves, strip by strip, if they are few; otherwise empty."""

    def __len__(self) -> int:
        return len(self.class_ids) - 1


def find_regions(
    source: ClassRows,
    row_areas_m2: Floats,
    folder: Path,
    *,
    tile: int = 0,
    kept_runs: int = KEPT_RUNS,
) -> Regions:
    """The regions of a raster, which is read once.

    Args:
        source: The raster.
        row_areas_m2: Area of one pixel of each row, (height,).
        folder: For tables that outgrow the memory.
        tile: Cut regions of more than tile x tile pixels at the lines between such tiles; 0
            cuts none.
        kept_runs: Runs to keep for the next pass at most.
    """
    labeller = Labeller(source.width, source.no_class, tile)
    table = Table((np.int32, np.int32, np.int64, np.float64, np.int64), folder)
    cuts = [np.zeros((0, 2), np.int32)]
    known, run_count = 0, 0
    kept: list[Runs] = []
    for row, count in strips(source.height):
        runs = labeller.label(source.read(row, count))
        table.require(labeller.labels + 1)
        parents, *measured = table.columns
        parents[known + 1 : labeller.labels + 1] = np.arange(known + 1, labeller.labels + 1)
        known = labeller.labels
        unite_all(parents, runs.links)
        if tile:
            cuts.append(cut_pairs(runs, row, tile))
        _measure(runs, row, row_areas_m2[row : row + count], measured)
        run_count += len(runs.starts)
        if run_count <= kept_runs:
            kept.append(replace(runs, links=runs.links[:0].copy()))  # they have been followed
        else:
            kept.clear()
    table.require(known + 1)
    parents, *measured = (column[: known + 1] for column in table.columns)
    uncut = _mend_small_cuts(parents, measured[1], np.concatenate(cuts), tile) if tile else None
    return _add_up(parents, measured, tile, uncut, run_count, tuple(kept))


def _mend_small_cuts(parents: Int32s, pixels: Int64s, cuts: Int32s, tile: int) -> Int32s:
    """Reunite the parts of regions with at most one tile's pixels.

    Returns:
        Number of the uncut region of each label.
    """
    whole = parents.copy()
    unite_all(whole, cuts)
    uncut = np.zeros(len(parents), np.int32)
    number_sets(whole, uncut)
    sizes = np.bincount(uncut, weights=pixels)
    unite_all(parents, cuts[sizes[uncut[cuts[:, 0]]] <= tile * tile])
    return uncut


def _add_up(
    parents: Int32s,
    measured: list[npt.NDArray[Any]],
    tile: int,
    uncut: Int32s | None,
    run_count: int,
    kept: tuple[Runs, ...],
) -> Regions:
    number_of_label = np.zeros(len(parents), np.int32)
    size = 1 + number_sets(parents, number_of_label)
    regions = Regions(
        number_of_label,
        np.zeros(size, np.int32),
        np.zeros(size, np.int64),
        np.zeros(size, np.float64),
        np.full(size, -1, np.int64),
        tile,
        np.arange(size, dtype=np.int32),
        run_count,
        kept,
    )
    if uncut is not None:
        regions.uncut[number_of_label] = uncut
    class_ids, pixels, areas_m2, last_rows = measured
    add_up(
        number_of_label, class_ids, pixels, areas_m2, last_rows,
        regions.class_ids, regions.pixels, regions.areas_m2, regions.last_rows,
    )  # fmt: skip
    return regions


def _measure(runs: Runs, row: int, row_areas_m2: Floats, measured: list[npt.NDArray[Any]]) -> None:
    measure_runs(
        runs.offsets, runs.starts, runs.stops, runs.classes, runs.labels, row, row_areas_m2,
        *measured,
    )  # fmt: skip


@kernel
def find_root(parents: Int32s, label: int) -> int:
    """The least label of a set; paths are halved on the way."""
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@kernel
def unite_all(parents: Int32s, links: Int32s) -> None:
    """Join the sets of each linked pair; the lesser root stays, so the order does not matter."""
    for link in range(len(links)):
        one, other = find_root(parents, links[link, 0]), find_root(parents, links[link, 1])
        if one < other:
            parents[other] = one
        else:
            parents[one] = other


@kernel
def measure_runs(
    offsets: Int64s,
    starts: Int32s,
    stops: Int32s,
    classes: Int32s,
    labels: Int32s,
    first_row: int,
    row_areas_m2: Floats,
    class_ids: Int32s,
    pixels: Int64s,
    areas_m2: Floats,
    last_rows: Int64s,
) -> None:
    """Add the runs of some rows to the measures of their labels; label 0 collects the rest."""
    for row in range(1, len(offsets) - 1):
        for run in range(offsets[row], offsets[row + 1]):
            label, length = labels[run], stops[run] - starts[run]
            class_ids[label] = classes[run]
            pixels[label] += length
            areas_m2[label] += length * row_areas_m2[row - 1]
            last_rows[label] = first_row + row - 1


@kernel
def number_sets(parents: Int32s, number_of_label: Int32s) -> int:
    """Number the sets of labels from 1 in the order of their least label; returns how many."""
    found = 0
    for label in range(1, len(number_of_label)):
        root = find_root(parents, label)
        if root == label:
            found += 1
            number_of_label[label] = found
        else:
            number_of_label[label] = number_of_label[root]
    return found


@kernel
def add_up(
    number_of_label: Int32s,
    label_classes: Int32s,
    label_pixels: Int64s,
    label_areas_m2: Floats,
    label_last_rows: Int64s,
    class_ids: Int32s,
    pixels: Int64s,
    areas_m2: Floats,
    last_rows: Int64s,
) -> None:
    """Sum the measures of labels by region."""
    for label in range(1, len(number_of_label)):
        region = number_of_label[label]
        class_ids[region] = label_classes[label]
        pixels[region] += label_pixels[label]
        areas_m2[region] += label_areas_m2[label]
        last_rows[region] = max(last_rows[region], label_last_rows[label])
