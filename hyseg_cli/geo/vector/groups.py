"""Features of several regions: one for each class, or for regions that touch at corners."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hyseg_cli.geo.compiled import kernel
from hyseg_cli.geo.coverage.regions import Regions, number_sets, unite_all
from hyseg_cli.geo.coverage.runs import ClassRows, Int32s, Int64s, Labeller, strips
from hyseg_cli.geo.coverage.wkb import MULTIPOLYGON, collection_header
from hyseg_cli.geo.vector.shapes import Floats, Shapes


@dataclass(frozen=True)
class Grouping:
    """Which feature each region belongs to."""

    feature_of_region: Int32s
    """By region number; 0 for region 0."""
    members: Int64s
    """Regions of each feature."""


def one_of_each(regions: Regions) -> Grouping:
    """A feature for each region."""
    size = len(regions) + 1
    return Grouping(np.arange(size, dtype=np.int32), np.ones(size, np.int64))


def by_class(regions: Regions) -> Grouping:
    """A feature for each class."""
    _, index = np.unique(regions.class_ids[1:], return_inverse=True)
    return _grouping(np.concatenate([[0], index + 1]).astype(np.int32))


def by_corners(source: ClassRows, regions: Regions) -> Grouping:
    """A feature for regions of one class that touch, if only at corners; reads the raster."""
    parents = np.arange(len(regions) + 1, dtype=np.int32)
    labeller = Labeller(source.width, source.no_class, regions.tile)
    for row, count in strips(source.height):
        runs = labeller.label(source.read(row, count))
        pairs = np.empty((2 * len(runs.starts), 2), np.int32)
        found = find_corner_pairs(
            runs.offsets, runs.starts, runs.stops, runs.classes, runs.labels,
            regions.number_of_label, pairs,
        )  # fmt: skip
        unite_all(parents, pairs[:found])
    features = np.zeros(len(parents), np.int32)
    number_sets(parents, features)
    return _grouping(features)


def _grouping(feature_of_region: Int32s) -> Grouping:
    return Grouping(feature_of_region, np.bincount(feature_of_region))


@kernel
def find_corner_pairs(
    offsets: Int64s,
    starts: Int32s,
    stops: Int32s,
    classes: Int32s,
    labels: Int32s,
    number_of_label: Int32s,
    pairs: Int32s,
) -> int:
    """Fill `pairs` with regions of one class that meet at a corner; returns how many."""
    found = 0
    for row in range(1, len(offsets) - 1):
        above, end = offsets[row - 1], offsets[row]
        for run in range(end, offsets[row + 1]):
            while above < end and stops[above] < starts[run]:
                above += 1
            touching = above
            while touching < end and starts[touching] <= stops[run]:
                is_corner = stops[touching] == starts[run] or starts[touching] == stops[run]
                if is_corner and labels[run] > 0 and labels[touching] > 0:
                    here, there = number_of_label[labels[run]], number_of_label[labels[touching]]
                    if classes[run] == classes[touching] and here != there:
                        pairs[found, 0], pairs[found, 1] = here, there
                        found += 1
                touching += 1
    return found


@dataclass
class _Unfinished:
    """A feature of which members are still to come."""

    missing: int
    polygons: list[bytes] = field(default_factory=list)
    perimeter_m: float = 0.0
    bounds: list[Floats] = field(default_factory=list)


class Gatherer:
    """Holds the polygons of each feature until all are there; mutable."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping
        self._unfinished: dict[int, _Unfinished] = {}

    def add(self, shapes: Shapes) -> Shapes:
        """Take the shapes of some regions; returns multipolygons of the features now complete."""
        finished: dict[int, _Unfinished] = {}
        features = self._grouping.feature_of_region[shapes.features].tolist()
        for i, feature in enumerate(features):
            known = self._unfinished.get(feature)
            if known is None:
                known = _Unfinished(int(self._grouping.members[feature]))
                self._unfinished[feature] = known
            begin, end = shapes.offsets[i], shapes.offsets[i + 1]
            known.polygons.append(shapes.geometry[begin:end].tobytes())
            known.perimeter_m += shapes.perimeters_m[i]
            known.bounds.append(shapes.bounds[i])
            known.missing -= 1
            if known.missing == 0:
                finished[feature] = self._unfinished.pop(feature)
        return _multipolygons(finished)


def _multipolygons(finished: dict[int, _Unfinished]) -> Shapes:
    parts, sizes = [], [0]
    for feature in finished.values():
        header = collection_header(MULTIPOLYGON, len(feature.polygons))
        parts += [header, *feature.polygons]
        sizes.append(len(header) + sum(map(len, feature.polygons)))
    bounds = [np.vstack(feature.bounds) for feature in finished.values()]
    return Shapes(
        np.fromiter(finished, np.int32),
        np.frombuffer(b"".join(parts), np.uint8),
        np.cumsum(sizes).astype(np.int64),
        np.array([feature.perimeter_m for feature in finished.values()]),
        np.array([[*b[:, :2].min(axis=0), *b[:, 2:].max(axis=0)] for b in bounds]).reshape(-1, 4),
    )
