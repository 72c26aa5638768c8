"""Which regions touch, and by how many pixel sides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.compiled import kernel
from hyseg_cli.geo.coverage.regions import Regions
from hyseg_cli.geo.coverage.runs import ClassRows, Int32s, Int64s, Labeller, strips

Flags = npt.NDArray[np.bool_]


def small_borders(
    source: ClassRows, regions: Regions, is_small: Flags
) -> tuple[Int64s, Int32s, Int64s]:
    """Neighbours of each small region and how many pixel sides they share; reads the raster.

    Returns:
        Where the neighbours of each region begin, the neighbours, and the sides shared.
    """
    labeller = Labeller(source.width, source.no_class)
    firsts: list[Int32s] = []
    seconds: list[Int32s] = []
    counts: list[Int64s] = []
    for row, count in strips(source.height):
        runs = labeller.label(source.read(row, count))
        room = 8 * len(runs.starts)
        pairs, sides = np.empty((2, room), np.int32), np.empty(room, np.int64)
        found = touching_sides(
            runs.offsets, runs.starts, runs.stops, runs.labels, regions.number_of_label, is_small,
            pairs, sides,
        )  # fmt: skip
        first, second, total = _summed(pairs[0, :found], pairs[1, :found], sides[:found])
        firsts.append(first)
        seconds.append(second)
        counts.append(total)
    nothing = np.zeros(0, np.int32)
    first, second, total = _summed(
        np.concatenate([nothing, *firsts]),
        np.concatenate([nothing, *seconds]),
        np.concatenate([np.zeros(0, np.int64), *counts]),
    )
    offsets = np.zeros(len(is_small) + 1, np.int64)
    np.cumsum(np.bincount(first, minlength=len(is_small)), out=offsets[1:])
    return offsets, second, total


def _summed(first: Int32s, second: Int32s, counts: Int64s) -> tuple[Int32s, Int32s, Int64s]:
    """Sums of the counts of equal pairs, sorted by pair."""
    keys = (first.astype(np.int64) << 32) | second
    unique, inverse = np.unique(keys, return_inverse=True)
    sums = np.zeros(len(unique), np.int64)
    np.add.at(sums, inverse, counts)
    return (unique >> 32).astype(np.int32), (unique & 0xFFFFFFFF).astype(np.int32), sums


@kernel
def touching_sides(
    offsets: Int64s,
    starts: Int32s,
    stops: Int32s,
    labels: Int32s,
    number_of_label: Int32s,
    is_small: Flags,
    pairs: Int32s,
    sides: Int64s,
) -> int:
    """Pairs (small region, other region) that touch in some rows, and by how many pixel sides."""
    found = 0
    for row in range(1, len(offsets) - 1):
        above = offsets[row - 1]
        for run in range(offsets[row], offsets[row + 1]):
            here = number_of_label[labels[run]]
            if run > offsets[row]:
                there = number_of_label[labels[run - 1]]
                found = _note(pairs, sides, found, is_small, here, there, 1)
            while above > offsets[row - 1] and stops[above - 1] > starts[run]:
                above -= 1
            while above < offsets[row] and starts[above] < stops[run]:
                there = number_of_label[labels[above]]
                shared = min(stops[run], stops[above]) - max(starts[run], starts[above])
                if shared > 0:
                    found = _note(pairs, sides, found, is_small, here, there, shared)
                above += 1
    return found


@kernel
def _note(
    pairs: Int32s, sides: Int64s, found: int, is_small: Flags, here: int, there: int, shared: int
) -> int:
    if here == there or here == 0 or there == 0:  # noqa: PLR1714 - no tuples of mixed types
        return found
    for one, other in ((here, there), (there, here)):
        if is_small[one]:
            pairs[0, found], pairs[1, found], sides[found] = one, other, shared
            found += 1
    return found
