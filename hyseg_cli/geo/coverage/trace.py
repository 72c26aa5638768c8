"""Pass 2: from strips of region numbers to polygons, each handed out once its last arc is known."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.coverage.lattice import Arcs, Bytes, trace_strip
from hyseg_cli.geo.coverage.proof import Proof
from hyseg_cli.geo.coverage.regions import Regions
from hyseg_cli.geo.coverage.rings import OpenArcs, Rings
from hyseg_cli.geo.coverage.runs import (
    STRIP_ROWS,
    ClassRows,
    Int32s,
    Int64s,
    Labeller,
    Runs,
    paint_runs,
    seams,
    strips,
)
from hyseg_cli.geo.coverage.simplify import simplify_arcs
from hyseg_cli.geo.prefetch import prefetch


@dataclass(frozen=True)
class PolygonBatch:
    """Some polygons of a coverage, each with its exterior ring first."""

    regions: Int32s
    """Region of each polygon."""
    ring_offsets: Int64s
    """First point of each ring, then the number of points; rings are not closed."""
    polygon_offsets: Int64s
    """First ring of each polygon, then the number of rings."""
    points: npt.NDArray[np.float64]
    """(n, 2): column and row of each point, in pixels."""

    def __len__(self) -> int:
        return len(self.regions)

    def select(self, chosen: npt.NDArray[np.bool_]) -> PolygonBatch:
        """Only some of the polygons; `chosen` has an entry for each."""
        rings = np.repeat(chosen, np.diff(self.polygon_offsets))
        ring_lengths = np.diff(self.ring_offsets)
        points = np.repeat(rings, ring_lengths)
        return PolygonBatch(
            self.regions[chosen],
            offsets_of(ring_lengths[rings]),
            offsets_of(np.diff(self.polygon_offsets)[chosen]),
            self.points[points],
        )


def offsets_of(lengths: Int64s) -> Int64s:
    """Where consecutive parts of these lengths begin, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@dataclass(frozen=True)
class Generalisation:
    """How far borders may leave the edges of the pixels."""

    smooth: bool = False
    """Run borders through the middles of pixel edges instead of along them."""
    tolerance: float = 0.0
    """Remove points whose triangle is at most the square of this, in pixels."""


POINTS_OF_A_RUN = 2.6
"""Measured on maps of 4,000 x 4,000 pixels, fine and coarse: 2.3 to 2.6."""


def expected_points(regions: Regions, generalisation: Generalisation) -> int:
    """About how many points the polygons of all regions will have.

    A tolerance of 1.5 pixels was measured to leave four in ten.
    """
    return int(POINTS_OF_A_RUN * regions.runs / (1.0 + generalisation.tolerance))


def trace_polygons(
    source: ClassRows,
    regions: Regions,
    generalisation: Generalisation = Generalisation(),
    proof: Proof | None = None,
    *,
    strip_rows: int = STRIP_ROWS,
) -> Iterator[PolygonBatch]:
    """The polygons of all regions, roughly top to bottom; the raster is read once, or not again.

    Args:
        source: The raster that `regions` was found in.
        regions: The result of `find_regions`, with the runs if they are few.
        generalisation: Smoothing and simplification.
        proof: Collects the evidence that the polygons form a coverage.
        strip_rows: Rows held at once; the polygons are the same, up to where simplification
            may not reach across a seam.
    """
    open_arcs = OpenArcs(seams(source.height, strip_rows))
    emitted = np.zeros(len(regions) + 1, np.bool_)
    emitted[0] = True
    # Kernels run without the interpreter's lock: the next strip is traced beside this one's rings.
    with closing(
        prefetch(_arcs_of_strips(source, regions, generalisation, proof, strip_rows), 1)
    ) as (arcs_of_strips):
        for arcs, last_row in arcs_of_strips:
            open_arcs.add(arcs)
            finished = regions.last_rows <= last_row
            finished &= ~emitted
            emitted |= finished
            if finished.any():
                rings = open_arcs.close(finished, emitted)
                if proof is not None:
                    proof.add_rings(rings)
                yield _to_batch(rings)


def _arcs_of_strips(
    source: ClassRows,
    regions: Regions,
    generalisation: Generalisation,
    proof: Proof | None,
    strip_rows: int,
) -> Generator[tuple[Arcs, int]]:
    """The arcs of each strip, and the last row that no later strip has an arc of."""
    taken = None
    if generalisation.tolerance > 0:
        # Used for all strips: fresh memory costs more than the work done in it.
        taken = np.zeros((2 * strip_rows + 3, 2 * source.width + 1), np.uint8)
    for numbers, row, is_last in _number_strips(source, regions, strip_rows):
        arcs = _trace(numbers, row, generalisation, taken, is_last=is_last)
        end = row + len(numbers) - 1
        if proof is not None:
            proof.add_arcs(arcs, 2 * row - 1, 2 * end - 1, source.width)
        # The lower border of a row belongs to the strip of the next row.
        yield arcs, end if is_last else end - 2


def _trace(
    numbers: Int32s,
    row: int,
    generalisation: Generalisation,
    taken: Bytes | None,
    *,
    is_last: bool,
) -> Arcs:
    arcs = trace_strip(
        numbers, row, smooth=generalisation.smooth, is_first=row == 0, is_last=is_last
    )
    if taken is None:
        return arcs
    return simplify_arcs(arcs, generalisation.tolerance, taken, 2 * row - 1)


def _number_strips(
    source: ClassRows, regions: Regions, strip_rows: int
) -> Iterator[tuple[Int32s, int, bool]]:
    """Each strip as region numbers, its first row, and whether it is the last.

    Before its rows stands the row above, behind the last strip's an empty one, and an empty
    column on either side. All strips use the same memory, one after the other.
    """
    room = np.zeros((strip_rows + 2, source.width + 2), np.int32)
    for row, count, runs in _runs_of_strips(source, regions, strip_rows):
        is_last = row + count == source.height
        numbers = room[: 1 + count + is_last]
        numbers[count + 1 :] = 0
        paint_runs(
            runs.offsets, runs.starts, runs.stops, runs.labels, regions.number_of_label,
            numbers[1 : count + 1, 1:-1],
        )  # fmt: skip
        yield numbers, row, is_last
        room[0] = numbers[count]


def _runs_of_strips(
    source: ClassRows, regions: Regions, strip_rows: int
) -> Iterator[tuple[int, int, Runs]]:
    """First row, number of rows and runs of each strip: those that were kept, or found again."""
    places = strips(source.height, strip_rows)
    if regions.strips and strip_rows == STRIP_ROWS:
        for (row, count), runs in zip(places, regions.strips, strict=True):
            yield row, count, runs
        return
    labeller = Labeller(source.width, source.no_class, regions.tile)
    for row, count in places:
        yield row, count, labeller.label(source.read(row, count))


def _to_batch(rings: Rings) -> PolygonBatch:
    is_exterior = rings.doubled_areas > 0
    polygon_offsets = np.append(np.flatnonzero(is_exterior), len(is_exterior)).astype(np.int64)
    points = np.column_stack([rings.x, rings.y]).astype(np.float64) * 0.5
    return PolygonBatch(rings.regions[is_exterior], rings.offsets, polygon_offsets, points)
