"""Pixels and ground of classes, counted in strips."""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from hyseg_cli.geo.classes import counts as class_counts
from hyseg_cli.geo.classes.counts import count_classes, estimate_classes
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
def test_counts_are_those_of_the_whole_array(write_raster, strip, dtype, crs, transform):
    values = np.random.default_rng(0).choice(np.array([0, 3, 7, 120], dtype), (61, 83))
    if dtype == np.int16:
        values[values == 7] = -700
    scene = open_raster(write_raster(values, crs=crs, transform=transform, nodata=0))
    seen = []
    found, empty = count_classes(scene, seen.append, strip_pixels=strip)
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


@pytest.mark.parametrize("tiled", [True, False])
def test_classes_of_an_even_map_are_estimated_as_they_are_counted(write_raster, monkeypatch, tiled):
    monkeypatch.setattr(class_counts, "ESTIMATE_WINDOWS", 9)
    monkeypatch.setattr(class_counts, "ESTIMATE_SIDE", 16)
    values = np.tile(np.uint8([[1, 2], [1, 255]]), (90, 100))
    blocks = {"tiled": True, "blockxsize": 32, "blockysize": 32} if tiled else {"blockysize": 32}
    place = Affine(0.01, 0, 10, 0, -0.01, 1)
    scene = open_raster(write_raster(values, crs=4326, transform=place, nodata=255, **blocks))
    counted, empty = count_classes(scene, lambda rows: None)
    estimated, estimated_empty, seen = estimate_classes(scene)
    assert seen <= 9 * 16 * 16
    assert estimated_empty == empty
    assert estimated == {
        value: (pixels, pytest.approx(area, rel=0.01)) for value, (pixels, area) in counted.items()
    }


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    block=st.sampled_from([(16, 16), (1, 90), (90, 90), (7, 64)]),
    most=st.integers(1, 40),
)
def test_windows_of_an_estimate_lie_inside_the_raster(height, width, block, most):
    scene = SimpleNamespace(height=height, width=width, block=block)
    with mock.patch.object(class_counts, "ESTIMATE_WINDOWS", most):
        windows = list(class_counts._spread(scene))
    assert 1 <= len(windows) <= most
    assert len(set(windows)) == len(windows)
    for window in windows:
        assert 0 <= window.row < window.row_stop <= height
        assert 0 <= window.col < window.col_stop <= width
