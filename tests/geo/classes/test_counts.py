"""Pixels and ground of classes, counted in strips."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

from hyseg_cli.geo.classes import counts as class_counts
from hyseg_cli.geo.classes.counts import count_classes
from hyseg_cli.geo.raster.ground import GroundMeasure
from hyseg_cli.geo.raster.raster import open_raster


@pytest.mark.parametrize("strip", [1, 700, 2**23])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", Affine(0.01, 0, 10, 0, -0.01, 70)),  # rows of other areas
        ("EPSG:32632", Affine(2, 0, 500_000, 0, -2, 5_400_000)),
    ],
)
def test_counts_are_those_of_the_whole_array(
    write_raster, monkeypatch, strip, dtype, crs, transform
):
    monkeypatch.setattr(class_counts, "STRIP_PIXELS", strip)
    values = np.random.default_rng(0).choice(np.array([0, 3, 7, 120], dtype), (61, 83))
    if dtype == np.int16:
        values[values == 7] = -700
    scene = open_raster(write_raster(values, crs=crs, transform=transform, nodata=0))
    seen = []
    found, empty = count_classes(scene, seen.append)
    row_areas = GroundMeasure(scene).row_areas_m2()
    assert found == {
        int(value): (
            int((values == value).sum()),
            pytest.approx(float(((values == value) * row_areas[:, None]).sum())),
        )
        for value in np.unique(values)
        if value != 0
    }
    assert list(found) == sorted(found)
    assert empty == (values == 0).sum()
    assert seen[-1] == 61
    assert sorted(seen) == seen
