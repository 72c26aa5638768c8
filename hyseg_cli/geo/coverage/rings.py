"""Arcs that are still open, and the rings of regions whose arcs are complete."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyseg_cli.geo.compiled import kernel
from hyseg_cli.geo.coverage.lattice import LOOP, Arcs, Headings
from hyseg_cli.geo.coverage.runs import Int32s, Int64s, Seams

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rings:
    """Rings of finished regions, those of one region together, its exterior first."""

    regions: Int32s
    """Region of each ring."""
    doubled_areas: Int64s
    """Twice the signed area of each ring, in square half pixels; negative for holes."""
    offsets: Int64s
    """First point of each ring, then the number of points."""
    x: Int32s
    """Half pixels; the region lies on the left, and the first point is not repeated."""
    y: Int32s


class OpenArcs:
    """Arcs with a region that is not finished yet; mutable.

    Finished arcs are only marked, and dropped when they hold more points than the open ones:
    moving millions of points for every strip would cost more than everything else.

    Args:
        seams: Where the seams between strips lie.
    """

    def __init__(self, seams: Seams) -> None:
        self._seams = seams
        nothing = np.zeros(0, np.int32)
        nodes, headings = np.zeros(0, np.int64), np.zeros(0, np.int8)
        self.arcs = Arcs(
            np.zeros(1, np.int64), nothing, nothing, nothing, nothing, nodes, nodes, headings,
            headings,
        )  # fmt: skip

    def add(self, fresh: Arcs) -> None:
        """Append the arcs of the next strip."""
        known = self.arcs
        points = known.offsets[-1]
        self.arcs = Arcs(
            np.concatenate([known.offsets[:-1], fresh.offsets + points]),
            *(
                np.concatenate([getattr(known, name), getattr(fresh, name)])
                for name in (
                    "x", "y", "left", "right", "start_nodes", "end_nodes", "start_headings",
                    "end_headings",
                )
            ),
        )  # fmt: skip

    def close(self, finished: Flags, emitted: Flags) -> Rings:
        """The rings of the regions that are finished now.

        Args:
            finished: By region number, those whose last arc has just been added.
            emitted: Regions whose rings have been handed out, these included; entry 0 is set.
        """
        arcs = self.arcs
        size = 2 * len(arcs)
        ring_ends, regions, areas = (
            np.empty(size, np.int64), np.empty(size, np.int32), np.empty(size, np.int64),
        )  # fmt: skip
        half_arcs = np.empty(size, np.int32)
        count = join_rings(
            arcs.offsets, arcs.x, arcs.y, arcs.left, arcs.right, arcs.start_nodes, arcs.end_nodes,
            arcs.start_headings, arcs.end_headings, finished, half_arcs, ring_ends, regions, areas,
        )  # fmt: skip
        order = np.lexsort((areas[:count] < 0, regions[:count]))
        rings = self._collect(order, half_arcs, ring_ends[:count], regions, areas)
        self._forget(emitted)
        return rings

    def _collect(
        self, order: Int64s, half_arcs: Int32s, ring_ends: Int64s, regions: Int32s, areas: Int64s
    ) -> Rings:
        arcs = self.arcs
        starts = np.concatenate([[0], ring_ends[:-1]]).astype(np.int64)
        offsets = np.zeros(len(order) + 1, np.int64)
        room = ring_points(order, starts, ring_ends, half_arcs, arcs.offsets)
        x, y = np.empty(room, np.int32), np.empty(room, np.int32)
        end = collect_points(
            order, starts, ring_ends, half_arcs, arcs.offsets, arcs.x, arcs.y,
            self._seams.step, self._seams.last, offsets, x, y,
        )  # fmt: skip
        return Rings(regions[order], areas[order], offsets, x[:end], y[:end])

    def _forget(self, emitted: Flags) -> None:
        arcs = self.arcs
        is_open = ~(emitted[arcs.left] & emitted[arcs.right])
        lengths = np.diff(arcs.offsets)
        if lengths[is_open].sum() * 2 > arcs.offsets[-1]:
            return
        kept = np.repeat(is_open, lengths)
        self.arcs = Arcs(
            np.concatenate([[0], np.cumsum(lengths[is_open])]).astype(np.int64),
            arcs.x[kept], arcs.y[kept], arcs.left[is_open], arcs.right[is_open],
            arcs.start_nodes[is_open], arcs.end_nodes[is_open], arcs.start_headings[is_open],
            arcs.end_headings[is_open],
        )  # fmt: skip


@kernel
def _slot(keys: Int64s, key: int) -> int:
    """The slot of a key in an open-addressing table, or the free slot for it."""
    mask = len(keys) - 1
    slot = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)
    place = np.int64(slot) & mask
    while keys[place] not in (-1, key):
        place = (place + 1) & mask
    return int(place)


@kernel
def _region(half_arc: int, left: Int32s, right: Int32s) -> int:
    """The region on the left of an arc walked forwards (even number) or backwards (odd)."""
    return left[half_arc >> 1] if half_arc & 1 == 0 else right[half_arc >> 1]


@kernel
def join_rings(
    offsets: Int64s,
    x: Int32s,
    y: Int32s,
    left: Int32s,
    right: Int32s,
    start_nodes: Int64s,
    end_nodes: Int64s,
    start_headings: Headings,
    end_headings: Headings,
    finished: Flags,
    half_arcs: Int32s,
    ring_ends: Int64s,
    regions: Int32s,
    areas: Int64s,
) -> int:
    """Join the half arcs of finished regions to rings; returns how many.

    Where a region touches itself at a corner, the walk turns right, away from the region: the
    ring then never meets itself there, and polygons of 4-connected regions are valid.
    """
    arcs = len(left)
    wanted = 0
    for arc in range(arcs):
        wanted += finished[left[arc]] + finished[right[arc]]
    size = 16
    while size < 2 * wanted:
        size *= 2
    keys = np.full(size, -1, np.int64)
    values = np.empty(size, np.int32)
    for arc in range(arcs):
        if end_headings[arc] == LOOP:
            continue
        if finished[left[arc]]:
            key = start_nodes[arc] * 4 + start_headings[arc]
            place = _slot(keys, key)
            keys[place], values[place] = key, 2 * arc
        if finished[right[arc]]:
            key = end_nodes[arc] * 4 + ((end_headings[arc] + 2) & 3)
            place = _slot(keys, key)
            keys[place], values[place] = key, 2 * arc + 1
    used = np.zeros(2 * arcs, np.bool_)
    rings, end = 0, 0
    for first in range(2 * arcs):
        region = _region(first, left, right)
        if used[first] or not finished[region]:
            continue
        area = np.int64(0)
        half_arc = first
        while True:
            used[half_arc] = True
            half_arcs[end] = half_arc
            end += 1
            arc = half_arc >> 1
            swept = np.int64(0)
            for point in range(offsets[arc], offsets[arc + 1] - 1):
                swept += np.int64(x[point + 1]) * y[point] - np.int64(x[point]) * y[point + 1]
            area += swept if half_arc & 1 == 0 else -swept
            if end_headings[arc] == LOOP:
                break
            half_arc = _onward(
                half_arc, region, left, right, start_nodes, end_nodes, start_headings,
                end_headings, keys, values,
            )  # fmt: skip
            if half_arc == first:
                break
        ring_ends[rings], regions[rings], areas[rings] = end, region, area
        rings += 1
    return rings


@kernel
def _onward(
    half_arc: int,
    region: int,
    left: Int32s,
    right: Int32s,
    start_nodes: Int64s,
    end_nodes: Int64s,
    start_headings: Headings,
    end_headings: Headings,
    keys: Int64s,
    values: Int32s,
) -> int:
    """The half arc of the same region that continues from the end of one."""
    arc = half_arc >> 1
    if half_arc & 1 == 0:
        node, heading = end_nodes[arc], end_headings[arc]
    else:
        node, heading = start_nodes[arc], (start_headings[arc] + 2) & 3
    for turn in (1, 0, 3):
        key = node * 4 + ((heading + turn) & 3)
        place = _slot(keys, key)
        if keys[place] == key and _region(values[place], left, right) == region:
            return values[place]
    raise ValueError("a border ends in the middle of the map")


@kernel
def ring_points(
    order: Int64s, starts: Int64s, ends: Int64s, half_arcs: Int32s, offsets: Int64s
) -> int:
    """Points of all rings, without repeating where arcs meet."""
    points = 0
    for ring in order:
        for at in range(starts[ring], ends[ring]):
            arc = half_arcs[at] >> 1
            points += offsets[arc + 1] - offsets[arc] - 1
    return points


@kernel
def collect_points(
    order: Int64s,
    starts: Int64s,
    ends: Int64s,
    half_arcs: Int32s,
    offsets: Int64s,
    x: Int32s,
    y: Int32s,
    seam_step: int,
    last_seam: int,
    ring_offsets: Int64s,
    ring_x: Int32s,
    ring_y: Int32s,
) -> int:
    """Write the points of each ring; returns how many.

    Where a seam has cut a straight line, its point is dropped: both neighbours see the same two
    points beside it and do the same.
    """
    end = 0
    for number in range(len(order)):
        ring = order[number]
        first = end
        for at in range(starts[ring], ends[ring]):
            half_arc = half_arcs[at]
            arc = half_arc >> 1
            count = offsets[arc + 1] - offsets[arc] - 1
            for step in range(count):
                point = offsets[arc] + step if half_arc & 1 == 0 else offsets[arc + 1] - 1 - step
                ring_x[end], ring_y[end] = x[point], y[point]
                end += 1
        end = _drop_seams(ring_x, ring_y, first, end, seam_step, last_seam)
        ring_offsets[number + 1] = end
    return end


@kernel
def _drop_seams(x: Int32s, y: Int32s, first: int, end: int, seam_step: int, last_seam: int) -> int:
    """Remove the points of a ring that lie on a seam and on the line through their neighbours."""
    kept = first
    last_x, last_y = x[end - 1], y[end - 1]
    first_x, first_y = x[first], y[first]
    for point in range(first, end):
        here_x, here_y = x[point], y[point]
        next_x, next_y = (x[point + 1], y[point + 1]) if point + 1 < end else (first_x, first_y)
        across = np.int64(here_x - last_x) * (next_y - here_y)
        down = np.int64(here_y - last_y) * (next_x - here_x)
        is_seam = (here_y + 1) % seam_step == 0 and here_y <= last_seam
        if is_seam and across == down:
            continue
        x[kept], y[kept] = here_x, here_y
        last_x, last_y = here_x, here_y
        kept += 1
    return kept
