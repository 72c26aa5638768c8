"""North and round lengths beside pictures of maps."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from hyseg_cli.geo.raster.ground import length_text, north_of, round_length
from hyseg_cli.geo.raster.raster import open_raster

MIDDLE = Affine.translation(500_000, 5_400_000)  # of a UTM zone: grid north is true north
UP, DOWN = (0.0, -1.0), (0.0, 1.0)


@pytest.fixture
def north(write_raster):
    def measure(transform, crs="EPSG:32632", shape=(40, 60)):
        return north_of(
            open_raster(write_raster(np.zeros(shape, np.uint8), crs=crs, transform=transform))
        )

    return measure


def test_north_is_up_unless_the_raster_is_turned(north):
    # A translation by half the width keeps the middle of the raster on the central meridian.
    assert north(MIDDLE @ Affine(2, 0, -60, 0, -2, 0)) == pytest.approx(UP, abs=1e-6)
    assert north(MIDDLE @ Affine(2, 0, -60, 0, 2, 0)) == pytest.approx(DOWN, abs=1e-6)
    # Rows run to the east, columns to the north.
    assert north(MIDDLE @ Affine(0, 2, -40, 2, 0, 0)) == pytest.approx((1.0, 0.0), abs=1e-6)
    slanted = MIDDLE @ Affine.rotation(30) @ Affine(2, 0, 0, 0, -2, 0)
    assert north(slanted) == pytest.approx(
        (math.sin(math.pi / 6), -math.cos(math.pi / 6)), abs=1e-3
    )


def test_north_is_true_north_where_the_grid_leans(north):
    place = Affine(2, 0, 800_000, 0, -2, 6_600_000)
    lean = (
        pyproj.Proj("EPSG:32632")
        .get_factors(
            *pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform(
                800_060, 6_599_960
            )
        )
        .meridian_convergence
    )
    right, down = north(place)
    assert lean > 3
    assert math.degrees(math.atan2(right, -down)) == pytest.approx(-lean, abs=0.01)


def test_north_is_found_across_the_antimeridian_and_by_control_points(north, write_raster):
    assert north(Affine(0.1, 0, 177, 0, -0.1, 2), "EPSG:4326") == pytest.approx(UP, abs=1e-6)
    points = [
        GroundControlPoint(row=row, col=col, x=10 + 0.001 * row, y=45 + 0.001 * col)
        for row, col in ((0, 0), (0, 60), (40, 0), (40, 60))
    ]
    path = write_raster(
        np.zeros((40, 60), np.uint8), crs=CRS.from_epsg(4326), transform=None, gcps=points
    )
    assert open_raster(path).control is not None
    assert north_of(open_raster(path)) is not None


@pytest.mark.filterwarnings("ignore:The given matrix is equal:Warning")
def test_without_a_place_there_is_no_north(north):
    assert north(Affine.identity(), None) is None


@given(st.floats(1e-6, 1e9))
def test_round_lengths_are_the_largest_below(limit):
    found = round_length(limit)
    assert limit * 0.399 < found <= limit * (1 + 1e-8)
    digits = f"{found:.6e}".split("e")[0]
    assert float(digits) in {1.0, 2.0, 5.0}


def test_lengths_are_told_in_the_unit_that_suits():
    texts = [length_text(metres) for metres in (0.2, 1, 500, 1000, 20_000)]
    assert texts == ["20 cm", "1 m", "500 m", "1 km", "20 km"]
