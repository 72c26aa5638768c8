"""The pixels of a class raster as a population to sample from: counted by row, located by rank.

Counts of each stratum in each row are all that a sample needs: a pixel is drawn as a row and a
rank within it, and its column is looked up when the row is read a second time. Memory grows with
the rows, not with the pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyproj

from hyseg_cli.errors import ModelMismatchError
from hyseg_cli.geo.classes.raster import ClassRaster
from hyseg_cli.geo.crs import crs_text
from hyseg_cli.geo.raster.ground import GroundMeasure
from hyseg_cli.geo.raster.raster import Raster, to_map
from hyseg_cli.geo.window import Window

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

STRIP_ROWS = 512
"""Rows read at once, the block height of our maps; results do not depend on it."""
STRIP_PIXELS = 2**24
"""Of very wide maps, fewer rows are read at once."""
MOST_STRATA = 1_000


@dataclass(frozen=True)
class Population:
    """The population of a map."""

    strata: tuple[int, ...]
    """Value of each stratum in its raster, ascending."""
    counts: Ints
    """(strata, rows) pixels of each stratum in each row."""
    row_areas_m2: Floats
    """(rows,) area of one pixel of each row."""
    digest: str
    """Hash of the map's class ids and of where it has none, however the file stores them."""

    @property
    def pixels(self) -> Ints:
        """(strata,)."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def areas_m2(self) -> Floats:
        """(strata,)."""
        return np.asarray(self.counts @ self.row_areas_m2)

    @property
    def has_equal_areas(self) -> bool:
        """Whether all pixels are equally large on the ground."""
        return bool(np.ptp(self.row_areas_m2) <= 1e-9 * self.row_areas_m2[0])


@dataclass(frozen=True)
class _Strip:
    row: int
    mapped: npt.NDArray[Any]
    strata: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]


class PopulationReader:
    """Reads a map and its strata together; pixels without class or stratum do not belong to it.

    Args:
        scene: The map.
        strata: Raster of strata, read by nearest neighbour on the map's grid; None for the map.
        strip_rows: Rows read at once; None for as many as memory allows.
        named: Class ids that the map's legend names.

    Raises:
        ModelMismatchError: If one of them is not a class raster.
    """

    def __init__(
        self,
        scene: Raster,
        strata: Raster | None = None,
        *,
        strip_rows: int | None = None,
        named: frozenset[int] = frozenset(),
    ) -> None:
        self._map = ClassRaster(scene, named=named)
        self._own_strata = None if strata is None else ClassRaster(strata, onto=scene)
        self.scene = scene
        self.crs = crs_of(scene)
        fitting = min(STRIP_ROWS, max(1, STRIP_PIXELS // scene.width))
        # A power of two, so that blocks of the file are seldom cut.
        self._strip_rows = strip_rows or 2 ** (fitting.bit_length() - 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for raster in (self._map, self._own_strata):
            if raster is not None:
                raster.__exit__(kind, error, trace)

    def count(self, advance: Callable[[int], None]) -> Population:
        """Count the pixels of each stratum, in one pass.

        Args:
            advance: Called with the number of rows that are done.

        Raises:
            ModelMismatchError: If there is nothing to sample, or the strata are not valid.
        """
        height = self.scene.height
        counts: dict[int, Ints] = {}
        values, validity = hashlib.sha256(), hashlib.sha256()
        for strip in self._strips(range(0, height, self._strip_rows)):
            values.update(np.where(strip.valid, strip.mapped, 0).data)
            validity.update(np.packbits(strip.valid, axis=1).data)
            for row, (line, is_valid) in enumerate(
                zip(strip.strata, strip.valid, strict=True), strip.row
            ):
                for value, n in _count_values(line[is_valid]):
                    if value not in counts:
                        counts[value] = np.zeros(height, np.int64)
                    counts[value][row] = n
            _require_few(len(counts), self.scene)
            advance(strip.row + len(strip.valid))
        if not counts:
            raise ModelMismatchError(
                f"{self.scene.path} has no pixel with a class and a stratum",
                hint="Check that the map is not empty, and that `strata` covers it.",
            )
        strata = tuple(sorted(counts))
        return Population(
            strata,
            np.stack([counts[value] for value in strata]),
            GroundMeasure(self.scene).row_areas_m2(),
            hashlib.sha256(values.digest() + validity.digest()).hexdigest()[:16],
        )

    def locate(self, strata: Ints, rows: Ints, ranks: Ints) -> tuple[Ints, Ints]:
        """Columns and map classes of drawn pixels; only strips that hold one are read.

        Args:
            strata: (n,) value of each pixel's stratum.
            rows: (n,) its row.
            ranks: (n,) how many pixels of its stratum precede it in the row.
        """
        cols, mapped = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        for strip, inside in self._strips_with(rows):
            for i in inside:
                line = rows[i] - strip.row
                of_stratum = strip.valid[line] & (strip.strata[line] == strata[i])
                cols[i] = np.flatnonzero(of_stratum)[ranks[i]]
                mapped[i] = strip.mapped[line, cols[i]]
        return cols, mapped

    def classes_at(self, rows: Ints, cols: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Map classes of pixels, and whether each has one; pixels off the map have none.

        Args:
            rows: (n,), anywhere.
            cols: (n,), anywhere.
        """
        mapped, has_class = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.bool_)
        scene = self.scene
        on_map = (rows >= 0) & (rows < scene.height) & (cols >= 0) & (cols < scene.width)
        places = np.flatnonzero(on_map)
        for strip, inside in self._strips_with(rows[places]):
            chosen = places[inside]
            at = rows[chosen] - strip.row, cols[chosen]
            mapped[chosen], has_class[chosen] = strip.mapped[at], strip.valid[at]
        return mapped, has_class

    def _strips_with(self, rows: Ints) -> Iterator[tuple[_Strip, Ints]]:
        """Strips that hold any of the rows, each with the positions of these in `rows`."""
        number = rows // self._strip_rows
        order = np.argsort(number, kind="stable")
        present, starts = np.unique(number[order], return_index=True)
        groups = np.split(order, starts[1:])
        strips = self._strips((present * self._strip_rows).tolist())
        yield from zip(strips, groups, strict=False)

    def _strips(self, starts: Any) -> Iterator[_Strip]:
        for row in starts:
            rows = min(self._strip_rows, self.scene.height - row)
            window = Window(row, 0, rows, self.scene.width)
            mapped = strata = self._map.read(window)
            valid = mapped.valid
            if self._own_strata is not None:
                strata = self._own_strata.read(window)
                valid = valid & strata.valid
            yield _Strip(row, mapped.ids, strata.ids, valid)


def crs_of(scene: Raster) -> pyproj.CRS:
    """The CRS of a georeferenced raster.

    Raises:
        ModelMismatchError: If it has none.
    """
    if scene.crs is None or not scene.is_georeferenced:
        raise ModelMismatchError(
            f"{scene.path} is not georeferenced, so points on it would not be either",
            hint="Georeference it first.",
        )
    return pyproj.CRS.from_user_input(crs_text(scene.crs))


def pixel_centres(scene: Raster, rows: Ints, cols: Ints) -> tuple[Floats, Floats]:
    """Map coordinates x, y of pixel centres."""
    half = 0.5
    return to_map(scene.transform, cols.astype(np.float64) + half, rows.astype(np.float64) + half)


def _count_values(values: npt.NDArray[Any]) -> Iterator[tuple[int, int]]:
    if values.dtype == np.uint8:
        counts = np.bincount(values)
        found = np.flatnonzero(counts)
        yield from zip(found.tolist(), counts[found].tolist(), strict=True)
    else:
        found, counts = np.unique(values, return_counts=True)
        yield from zip(found.tolist(), counts.tolist(), strict=True)


def _require_few(strata: int, scene: Raster) -> None:
    if strata > MOST_STRATA:
        raise ModelMismatchError(
            f"{scene.path} has more than {MOST_STRATA} strata",
            hint="Strata are classes or zones: join the values into fewer.",
        )
