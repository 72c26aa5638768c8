"""Regions below the minimum mapping unit become part of a neighbour.

The smallest goes first (the lower number among equals), into the neighbour with which it shares
the longest border, or the largest one. The neighbour grows by it, and joins neighbours of its own
class that it now touches. This continues until no region that may be merged is too small. Nothing
is dropped, so there are no gaps.

Areas without class stay as they are, unless they are made regions themselves (`NodataAsClass`):
small ones are then absorbed too, but nothing is ever merged into them.

The borders between regions are counted in pixel sides.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.compiled import kernel
from hyseg_cli.geo.coverage.regions import Floats, Regions, find_root
from hyseg_cli.geo.coverage.runs import (
    NEVER,
    ClassRows,
    Int32s,
    Int64s,
    Labeller,
    Rows,
    paint_runs,
    strips,
)

Flags = npt.NDArray[np.bool_]


def small_borders(
    source: ClassRows, regions: Regions, is_small: Flags
) -> tuple[Int64s, Int32s, Int64s]:
    """Neighbours of each small region and how many pixel sides they share; reads the raster.

    Returns:
        Where the neighbours of each region begin, the neighbours, and the number of shared sides.
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


@dataclass(frozen=True)
class Merging:
    """The result of merging the regions of a raster."""

    class_of_label: Int32s
    """Class of each label after all merges; `no_class` for label 0."""
    merged: int
    """Regions that were absorbed by others."""


class NodataAsClass:
    """The same raster, where pixels without class are a class like the others."""

    def __init__(self, source: ClassRows) -> None:
        self.height, self.width = source.height, source.width
        self.no_class = NEVER
        self.nodata = source.no_class
        """The class that they are."""
        self._source = source

    def read(self, row: int, count: int) -> Rows:
        return self._source.read(row, count)


def merge_small(
    source: ClassRows,
    regions: Regions,
    sizes: Floats,
    limits: Floats,
    *,
    into: Literal["longest-border", "largest"] = "longest-border",
    closed_class: int = NEVER,
) -> Merging:
    """Merge the regions of a raster that are too small; the raster is read once.

    Args:
        source: The raster that `regions` was found in.
        regions: Its regions.
        sizes: Size of each region, in any unit.
        limits: Smallest size of each region, in that unit; 0 protects a region from being merged.
        into: Which neighbour absorbs a small region; the lower number among equals.
        closed_class: Class into which nothing is merged.
    """
    is_small = sizes < limits
    is_small[0] = False
    offsets, neighbours, lengths = small_borders(source, regions, is_small)
    parents = np.arange(len(sizes), dtype=np.int32)
    class_ids, sizes = regions.class_ids.copy(), sizes.copy()
    merged = merge_all(
        parents, class_ids, sizes, limits, offsets, neighbours, lengths, closed_class,
        into == "largest",
    )  # fmt: skip
    roots = np.array([0], np.int32) if len(sizes) == 1 else _roots(parents)
    final = class_ids[roots]
    final[0] = source.no_class
    return Merging(final[regions.number_of_label], merged)


def _roots(parents: Int32s) -> Int32s:
    roots = parents
    while True:
        higher = roots[roots]
        if (higher == roots).all():
            return roots
        roots = higher


class MergedRows:
    """The raster after merging, computed again each time it is read, from row 0 on.

    Args:
        source: The raster that was merged.
        merging: The result for its regions.
        no_class: Value of pixels without class in the result.
    """

    def __init__(self, source: ClassRows, merging: Merging, no_class: int) -> None:
        self.height, self.width, self.no_class = source.height, source.width, no_class
        self._source = source
        self._merging = merging
        self._labeller = Labeller(self.width, self._source.no_class)

    def read(self, row: int, count: int) -> Rows:
        if row == 0:
            self._labeller = Labeller(self.width, self._source.no_class)
        runs = self._labeller.label(self._source.read(row, count))
        rows = np.empty((count, self.width), np.int32)
        paint_runs(
            runs.offsets, runs.starts, runs.stops, runs.labels, self._merging.class_of_label, rows
        )
        return rows


@kernel
def merge_all(
    parents: Int32s,
    class_ids: Int32s,
    sizes: Floats,
    limits: Floats,
    offsets: Int64s,
    neighbours: Int32s,
    lengths: Int64s,
    closed_class: int,
    into_largest: bool,  # noqa: FBT001 - compiled code takes no keywords
) -> int:
    """Merge until nothing is too small; `parents`, `class_ids` and `sizes` hold the result.

    Each set of regions is a chain of members; the borders of its members are its own. Returns
    the number of regions that were absorbed by others.
    """
    count = len(parents)
    chains = np.empty((3, count), np.int32)
    for region in range(count):
        chains[HEAD, region], chains[LAST, region], chains[NEXT, region] = region, region, -1
    shared = np.zeros(count, np.int64)
    queue = [(0.0, 0)]
    for region in range(1, count):
        if sizes[region] < limits[region]:
            queue.append((sizes[region], region))  # noqa: PERF401 - the compiler knows no generator
    heapq.heapify(queue)
    merged = 0
    while len(queue) > 0:
        size, region = heapq.heappop(queue)
        # Entries of sets that have grown since are stale; entry 0 stands for no region.
        if region == 0 or find_root(parents, region) != region or sizes[region] != size:
            continue
        member, last = chains[HEAD, region], chains[LAST, region]
        target = _best_neighbour(
            member, last, region, parents, class_ids, sizes, chains, offsets, neighbours, lengths,
            shared, closed_class, into_largest,
        )  # fmt: skip
        if target < 0:
            continue
        class_id, limit = class_ids[target], limits[target]
        was_closed = class_ids[region] == closed_class
        joined = _join(region, target, parents, sizes, chains)
        merged += 1
        joined, count_joined = _join_same_class(
            member, last, joined, class_id, parents, class_ids, sizes, chains, offsets, neighbours
        )
        merged += count_joined
        class_ids[joined], limits[joined] = class_id, limit
        if was_closed:
            # Neighbours that had no region to merge into now have one.
            _try_again(
                queue, member, last, joined, parents, sizes, limits, chains, offsets, neighbours
            )
        if sizes[joined] < limit:
            heapq.heappush(queue, (sizes[joined], joined))
    return merged


@kernel
def _join_same_class(
    member: int,
    last: int,
    joined: int,
    class_id: int,
    parents: Int32s,
    class_ids: Int32s,
    sizes: Floats,
    chains: Int32s,
    offsets: Int64s,
    neighbours: Int32s,
) -> tuple[int, int]:
    """Join a merged region with the regions of its new class that it touches.

    Returns:
        The root of the joined set, and how many sets joined it.
    """
    count = 0
    while True:
        for at in range(offsets[member], offsets[member + 1]):
            other = find_root(parents, neighbours[at])
            if other != joined and class_ids[other] == class_id:
                joined = _join(joined, other, parents, sizes, chains)
                count += 1
        if member == last:
            return joined, count
        member = chains[NEXT, member]


@kernel
def _try_again(
    queue: list[Any],
    member: int,
    last: int,
    joined: int,
    parents: Int32s,
    sizes: Floats,
    limits: Floats,
    chains: Int32s,
    offsets: Int64s,
    neighbours: Int32s,
) -> None:
    """Put the small neighbours of a merged region back into the queue."""
    while True:
        for at in range(offsets[member], offsets[member + 1]):
            other = find_root(parents, neighbours[at])
            if other != joined and sizes[other] < limits[other]:
                heapq.heappush(queue, (sizes[other], np.int64(other)))
        if member == last:
            return
        member = chains[NEXT, member]


HEAD, LAST, NEXT = range(3)
"""Rows of the chains: first and last member of a set, and the successor of a member."""


@kernel
def _join(one: int, other: int, parents: Int32s, sizes: Floats, chains: Int32s) -> int:
    """Join two sets and append their chains; returns the root, the lesser of both."""
    root = min(one, other)
    size = sizes[one] + sizes[other]
    chains[NEXT, chains[LAST, one]] = chains[HEAD, other]
    head, last = chains[HEAD, one], chains[LAST, other]
    parents[max(one, other)] = root
    chains[HEAD, root], chains[LAST, root] = head, last
    sizes[root] = size
    return root


@kernel
def _best_neighbour(
    first: int,
    last: int,
    region: int,
    parents: Int32s,
    class_ids: Int32s,
    sizes: Floats,
    chains: Int32s,
    offsets: Int64s,
    neighbours: Int32s,
    lengths: Int64s,
    shared: Int64s,
    closed_class: int,
    into_largest: bool,  # noqa: FBT001
) -> int:
    """The neighbour that absorbs a set, or -1 if it has none; `shared` is zero before and after."""
    best, best_score = -1, 0.0
    for stage in (SUM, CHOOSE, CLEAR):
        member = first
        while True:
            for at in range(offsets[member], offsets[member + 1]):
                other = find_root(parents, neighbours[at])
                if other == region or class_ids[other] == closed_class:
                    continue
                if stage == SUM:
                    shared[other] += lengths[at]
                elif stage == CLEAR:
                    shared[other] = 0
                else:
                    score = sizes[other] if into_largest else float(shared[other])
                    if best < 0 or score > best_score or (score == best_score and other < best):
                        best, best_score = other, score
            if member == last:
                break
            member = chains[NEXT, member]
    return best


SUM, CHOOSE, CLEAR = range(3)
