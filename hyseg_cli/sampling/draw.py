"""Random pixels of strata: each drawn with probability proportional to its area on the ground.

If all pixels are equally large, this is simple random sampling without replacement. On a geographic
grid, where rows towards the poles are smaller, it samples locations. Either way, a mean over the
sample is a mean over the area, so no weights are needed afterwards.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyproj

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.raster.raster import Raster
from hyseg_cli.sampling.population import (
    Floats,
    Ints,
    Population,
    PopulationReader,
    crs_of,
    pixel_centres,
)

TRIES_PER_POINT = 50
"""Pixels tried for each point that must keep a distance, before giving up."""

Place = Callable[[Ints, Ints], Floats]
"""Rows and columns (n,) to positions (n, d) between which distances are measured."""


@dataclass(frozen=True)
class DrawnPixels:
    """A sample; all arrays (n,), by stratum."""

    rows: Ints
    cols: Ints
    strata: Ints
    """Index into the strata of the population."""
    mapped: Ints
    """Class id of the map."""


def draw_pixels(
    reader: PopulationReader,
    population: Population,
    points: Sequence[int],
    *,
    seed: int,
    apart: Spacing | None = None,
) -> DrawnPixels:
    """Draw this many pixels of each stratum.

    The same seed gives the same pixels, however the raster is stored or read.

    Args:
        reader: The rasters that the population was counted in.
        population: What to draw from.
        points: Of each stratum, at most its pixels.
        seed: Of the random numbers.
        apart: The least distance between pixels; None for any.

    Raises:
        UsageProblemError: If this many do not fit at that distance.
    """
    streams = [_Stream(population, index, seed) for index in range(len(population.strata))]
    found: list[DrawnPixels] = []
    missing = list(points)
    while any(missing):
        factor = 1 if apart is None else 4
        taken = [
            stream.take(min(n * factor, stream.left)) if n else _NO_PIXELS
            for stream, n in zip(streams, missing, strict=True)
        ]
        drawn = _located(reader, population, taken)
        kept = drawn if apart is None else _keep_apart(drawn, missing, apart)
        found.append(kept)
        for index in range(len(missing)):
            missing[index] -= int((kept.strata == index).sum())
            wanted, stream = points[index], streams[index]
            if missing[index] and (
                stream.left == 0 or stream.taken > TRIES_PER_POINT * wanted + 1_000
            ):
                raise UsageProblemError(
                    f"only {wanted - missing[index]} of {wanted} points fit into stratum "
                    f"{population.strata[index]} at the distance asked for",
                    hint="Lower `min_distance`, or the number of points.",
                )
    order = np.argsort(np.concatenate([part.strata for part in found]), kind="stable")
    return DrawnPixels(
        *(
            np.concatenate([getattr(part, name) for part in found])[order]
            for name in ("rows", "cols", "strata", "mapped")
        )
    )


_NO_PIXELS: tuple[Ints, Ints] = (np.zeros(0, np.int64), np.zeros(0, np.int64))


class _Stream:
    """The pixels of one stratum in random order, as rows and ranks within them; mutable.

    The order does not depend on how many are taken at once.
    """

    def __init__(self, population: Population, index: int, seed: int) -> None:
        counts = population.counts[index]
        self._counts = counts
        self._areas = population.row_areas_m2
        self._ends = np.cumsum(counts * self._areas)
        self._first_rank = np.cumsum(counts) - counts
        self._rng = np.random.default_rng([seed, population.strata[index] + 2**31])
        self._seen: set[int] = set()
        self.left = int(counts.sum())

    @property
    def taken(self) -> int:
        return len(self._seen)

    def take(self, n: int) -> tuple[Ints, Ints]:
        """Rows and ranks of the next `n` pixels, none of which came before."""
        rows, ranks = np.zeros(n, np.int64), np.zeros(n, np.int64)
        for i, (row, rank) in enumerate(itertools.islice(self._fresh(), n)):
            rows[i], ranks[i] = row, rank
        self.left -= n
        return rows, ranks

    def _fresh(self) -> Iterator[tuple[int, int]]:
        """Pixels that were not drawn before; needs one to be left."""
        while True:
            # A position on the area of the stratum, row by row.
            place = self._rng.random() * self._ends[-1]
            row = int(np.searchsorted(self._ends, place, side="right"))
            before = self._ends[row] - self._counts[row] * self._areas[row]
            rank = int((place - before) / self._areas[row])
            rank = min(max(rank, 0), int(self._counts[row]) - 1)
            number = int(self._first_rank[row]) + rank
            if number not in self._seen:
                self._seen.add(number)
                yield row, rank


def _located(
    reader: PopulationReader, population: Population, taken: list[tuple[Ints, Ints]]
) -> DrawnPixels:
    strata = np.repeat(np.arange(len(taken)), [len(rows) for rows, _ in taken])
    rows = np.concatenate([rows for rows, _ in taken])
    ranks = np.concatenate([ranks for _, ranks in taken])
    values = np.array(population.strata, np.int64)[strata]
    cols, mapped = reader.locate(values, rows, ranks)
    return DrawnPixels(rows, cols, strata, mapped)


def _keep_apart(drawn: DrawnPixels, wanted: Sequence[int], apart: Spacing) -> DrawnPixels:
    """The first pixels of each stratum that keep the distance, strata taking turns."""
    positions = apart.place(drawn.rows, drawn.cols)
    of_stratum = [np.flatnonzero(drawn.strata == index).tolist() for index in range(len(wanted))]
    missing = list(wanted)
    kept = []
    for turn in itertools.zip_longest(*of_stratum):
        for index, i in enumerate(turn):
            if i is not None and missing[index] and apart.admit(positions[i]):
                missing[index] -= 1
                kept.append(i)
    return DrawnPixels(drawn.rows[kept], drawn.cols[kept], drawn.strata[kept], drawn.mapped[kept])


class Spacing:
    """Points no two of which are closer than a distance; mutable.

    They are sorted into cells as wide as the distance: only neighbouring cells matter.

    Args:
        least: The distance, in units of the positions.
        place: Where a pixel is.
    """

    def __init__(self, least: float, place: Place) -> None:
        self.least = least
        self.place = place
        self._cells: dict[tuple[int, ...], list[npt.NDArray[np.float64]]] = {}

    def admit(self, position: Floats) -> bool:
        """Add a point unless another is too close; returns whether it was added."""
        cell = tuple(math.floor(value / self.least) for value in position)
        for step in itertools.product((-1, 0, 1), repeat=len(cell)):
            near = tuple(c + s for c, s in zip(cell, step, strict=True))
            for other in self._cells.get(near, ()):
                if np.hypot.reduce(position - other) < self.least:
                    return False
        self._cells.setdefault(cell, []).append(position)
        return True


def in_pixels(rows: Ints, cols: Ints) -> Floats:
    """Positions of pixels on their grid, (n, 2)."""
    return np.stack([rows, cols], axis=1).astype(np.float64)


def on_ground(scene: Raster) -> Place:
    """Positions of pixels in metres: of the map's CRS, or in space where it is in degrees.

    Args:
        scene: The map; it must have a CRS.
    """
    crs = crs_of(scene)
    if crs.is_geographic:
        to_space = pyproj.Transformer.from_crs(crs, "EPSG:4978", always_xy=True)
    unit = crs.axis_info[0].unit_conversion_factor

    def place(rows: Ints, cols: Ints) -> Floats:
        x, y = pixel_centres(scene, rows, cols)
        if crs.is_geographic:
            # The chord is shorter than the arc by less than 1e-9 of it at a kilometre.
            return np.stack(to_space.transform(x, y, np.zeros(len(x))), axis=1)
        return np.stack([x, y], axis=1) * unit

    return place
