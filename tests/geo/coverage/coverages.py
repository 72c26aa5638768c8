"""From arrays to shapely polygons and back, for the tests of the arc core."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter

from hyseg_cli.geo.coverage.proof import Proof
from hyseg_cli.geo.coverage.regions import Regions, find_regions
from hyseg_cli.geo.coverage.runs import STRIP_ROWS, ArrayRows, seams
from hyseg_cli.geo.coverage.trace import Generalisation, trace_polygons


@dataclass(frozen=True)
class Traced:
    polygons: np.ndarray
    class_ids: np.ndarray
    regions: Regions
    proof: Proof


def regions_of(classes, no_class=255, **options):
    source = ArrayRows(classes, no_class=no_class)
    with tempfile.TemporaryDirectory() as folder:
        return source, find_regions(source, np.ones(len(classes)), Path(folder), **options)


def trace(classes, *, smooth=False, tolerance=0.0, strip_rows=STRIP_ROWS, **options):
    """All polygons of an array, in the order of their regions."""
    source, regions = regions_of(classes, **options)
    proof = Proof(seams(len(classes), strip_rows))
    polygons, numbers = [], []
    for batch in trace_polygons(
        source, regions, Generalisation(smooth, tolerance), proof, strip_rows=strip_rows
    ):
        polygons += list(to_shapely(batch))
        numbers += batch.regions.tolist()
    assert sorted(numbers) == list(range(1, len(regions) + 1))
    order = np.argsort(numbers)
    return Traced(np.array(polygons, object)[order], regions.class_ids[1:], regions, proof)


def to_shapely(batch):
    points, offsets = [], [0]
    for start, stop in zip(batch.ring_offsets[:-1], batch.ring_offsets[1:], strict=True):
        ring = batch.points[start:stop]
        points.append(np.vstack([ring, ring[:1]]))
        offsets.append(offsets[-1] + len(ring) + 1)
    return shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, np.vstack(points), (np.array(offsets), batch.polygon_offsets)
    )


def burn(traced, shape):
    pairs = list(zip(traced.polygons, traced.class_ids.tolist(), strict=True))
    if not pairs:
        return np.full(shape, 255, np.uint8)
    return rasterize(pairs, out_shape=shape, fill=255, dtype="uint8")


def blobs(height, width, *, seed=0, roughness=2.0, classes=3):
    """Smooth random land cover with areas of no class."""
    rng = np.random.default_rng(seed)
    fields = gaussian_filter(
        rng.standard_normal((classes + 1, height, width)), (0, roughness, roughness)
    )
    found = fields.argmax(axis=0).astype(np.uint8)
    found[found == classes] = 255
    return found


def assert_proved(traced):
    proof = traced.proof
    assert proof.is_matched
    assert proof.conflicts == 0
    assert proof.misshapen == 0
    assert proof.polygons == len(traced.polygons)


def assert_coverage(traced):
    assert shapely.is_valid(traced.polygons).all()
    assert shapely.coverage_is_valid(traced.polygons)
    assert_proved(traced)
