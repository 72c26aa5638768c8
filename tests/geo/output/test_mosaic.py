"""Maps joined on a common grid, against the same done pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.warp import reproject

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.output import mosaic as joining
from hyseg_cli.geo.output.mosaic import Layer, blocks_of, compose, find_frame
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.window import Window

SIZE = 0.5
LEFT, TOP = 500_000.0, 5_400_000.0


def layers_at(write_raster, corners, rng, *, sure=True, size=SIZE, crs="EPSG:32632"):
    """Random maps (with gaps) whose first pixels lie at these rows and columns."""
    layers, arrays = [], []
    for number, (row, col) in enumerate(corners):
        shape = rng.integers(8, 40, 2)
        ids = rng.choice(np.array([0, 1, 2, 255], np.uint8), shape)
        level = rng.integers(0, 255, shape).astype(np.uint8)
        place = from_origin(LEFT + col * size, TOP - row * size, size, size)
        keys = {"transform": place, "crs": crs, "nodata": 255}
        path = write_raster(ids, f"map{number}.tif", **keys)
        other = write_raster(level, f"sure{number}.tif", **keys)
        layers.append(Layer(open_raster(path), str(other) if sure else None))
        arrays.append((ids, level if sure else np.zeros_like(level)))
    return layers, arrays


def whole_of(frame, layers, resample="nearest"):
    """The mosaic, put together of its blocks."""
    found = np.full((frame.height, frame.width), 77, np.uint8)
    covered = np.zeros(found.shape, int)
    for unit, numbers in blocks_of(frame, 32):
        reaching = [layers[number] for number in numbers]
        found[unit.window.slices] = compose(frame, reaching, unit.window, resample)
        covered[unit.window.slices] += 1
    assert covered.max() <= 1
    found[covered == 0] = 255
    return found


@settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    corners=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    sure=st.booleans(),
)
def test_the_surest_map_counts_and_the_first_of_equal_ones(write_raster, corners, seed, sure):
    layers, arrays = layers_at(write_raster, corners, np.random.default_rng(seed), sure=sure)
    frame = find_frame([layer.scene for layer in layers], None, None)
    top, left = min(row for row, _ in corners), min(col for _, col in corners)
    expected = np.full((frame.height, frame.width), 255, np.uint8)
    best = np.full(expected.shape, -1)
    for (row, col), (ids, level) in zip(corners, arrays, strict=True):
        for r, c in np.argwhere(ids != 255):
            place = row - top + r, col - left + c
            if level[r, c] > best[place]:
                best[place], expected[place] = level[r, c], ids[r, c]
    np.testing.assert_array_equal(whole_of(frame, layers), expected)
    assert (frame.transform.c, frame.transform.f) == (LEFT + left * SIZE, TOP - top * SIZE)


@pytest.mark.parametrize("resample", ["nearest", "mode"])
def test_another_crs_and_resolution_are_those_of_gdal(write_raster, resample):
    layers, arrays = layers_at(write_raster, [(0, 0)], np.random.default_rng(4))
    frame = find_frame([layers[0].scene], CRS.from_epsg(3035), 1.5)
    assert (frame.transform.a, frame.transform.e) == (1.5, -1.5)
    # Lines of the grid are multiples of the pixel, whatever the scenes.
    assert frame.transform.c % 1.5 == frame.transform.f % 1.5 == 0
    expected = np.full((frame.height, frame.width), 255, np.uint8)
    with rasterio.open(layers[0].scene.path) as file:
        reproject(
            arrays[0][0],
            expected,
            src_transform=file.transform,
            src_crs=file.crs,
            dst_transform=frame.transform,
            dst_crs=frame.crs,
            resampling=Resampling[resample],
            src_nodata=255,
            dst_nodata=255,
            tolerance=joining.TOLERANCE,
        )
    found = whole_of(frame, layers, resample)
    np.testing.assert_array_equal(found, expected)
    assert (found != 255).mean() > 0.3


def test_the_finest_map_gives_the_resolution(write_raster):
    rng = np.random.default_rng(0)
    coarse, _ = layers_at(write_raster, [(0, 0)], rng, size=2.0)
    frame = find_frame([coarse[0].scene], None, None)
    assert frame.transform.a == 2.0
    fine = open_raster(
        write_raster(
            np.zeros((9, 9), np.uint8), "fine.tif", transform=from_origin(LEFT, TOP, 0.5, 0.5)
        )
    )
    assert find_frame([coarse[0].scene, fine], None, None).transform.a == 0.5


def test_blocks_that_no_map_reaches_are_left_out(write_raster):
    rng = np.random.default_rng(1)
    layers, _ = layers_at(write_raster, [(0, 0), (400, 400)], rng)
    frame = find_frame([layer.scene for layer in layers], None, None)
    blocks = list(blocks_of(frame, 32))
    assert len(blocks) < (frame.height // 32) * (frame.width // 32) / 10
    reached = {number for _, numbers in blocks for number in numbers}
    assert reached == {0, 1}


def test_maps_without_place_and_mosaics_without_end_are_refused(write_raster):
    placeless = open_raster(write_raster(np.zeros((9, 9), np.uint8), crs=None))
    with pytest.raises(UsageProblemError, match="cannot be part of a mosaic"):
        find_frame([placeless], None, None)
    here = open_raster(write_raster(np.zeros((9, 9), np.uint8)))
    with pytest.raises(UsageProblemError, match="the mosaic would have"):
        find_frame([here], None, 1e-9)


def test_a_window_reads_as_its_part_of_the_whole(write_raster):
    layers, _ = layers_at(write_raster, [(0, 0), (7, 9)], np.random.default_rng(2))
    frame = find_frame([layer.scene for layer in layers], CRS.from_epsg(3857), None)
    whole = compose(frame, layers, Window(0, 0, frame.height, frame.width), "nearest")
    np.testing.assert_array_equal(whole_of(frame, layers), whole)
