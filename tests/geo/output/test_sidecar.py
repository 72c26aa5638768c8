"""The `.aux.xml` of a raster, as GDAL reads it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio

from hyseg_cli.geo.classes.styles import class_styles
from hyseg_cli.geo.output.sidecar import share_statistics, sidecar_of_classes, sidecar_of_shares
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.legend import Legend

ODD_LEGEND = Legend.from_dict(
    {
        "classes": [
            {"id": 9, "name": "Wald & <Wiese>", "color": "#010203"},
            {"id": 2, "name": "Straße", "color": "#000000"},
        ]
    }
)
ODD_MAP = np.array([[2, 2, 9, 255], [9, 9, 9, 255]], np.uint8)


@pytest.fixture
def odd_map(write_raster):
    """A small map with its side-car, and nothing else that tells its classes."""
    path = write_raster(ODD_MAP, nodata=255)
    pixels = np.bincount(ODD_MAP.ravel(), minlength=256)
    text = sidecar_of_classes(ODD_LEGEND, pixels, pixels * 0.25 / 1e4)
    path.with_name("raster.tif.aux.xml").write_text(text, encoding="utf-8")
    return path


def test_gdal_finds_names_and_attribute_table(odd_map, gdalinfo):
    told = gdalinfo(odd_map)
    names = told["bands"][0]["categories"]
    assert (len(names), names[2], names[9]) == (10, "Straße", "Wald & <Wiese>")
    assert not any(names[i] for i in (0, 1, 3, 8))
    columns = [(c["name"], c["type"], c["usage"]) for c in told["rat"]["fieldDefn"]]
    # Types: 0 integer, 1 real, 2 text. Usages: 5 value, 2 name, 6 to 8 colour, 1 count, 0 other.
    assert columns == [
        ("Value", 0, 5), ("Class_name", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8),
        ("Count", 1, 1), ("Area_ha", 1, 0),
    ]  # fmt: skip
    assert [row["f"] for row in told["rat"]["row"]] == [
        [2, "Straße", 0, 0, 0, 2, 0.00005],
        [9, "Wald & <Wiese>", 1, 2, 3, 4, 0.0001],
    ]


def test_statistics_are_those_of_the_valid_pixels(odd_map, gdalinfo):
    valid = ODD_MAP[ODD_MAP != 255].astype(float)
    (band,) = gdalinfo(odd_map)["bands"]
    assert (band["minimum"], band["maximum"]) == (2, 9)
    told = band["metadata"][""]
    assert float(told["STATISTICS_MEAN"]) == pytest.approx(valid.mean())
    assert float(told["STATISTICS_STDDEV"]) == pytest.approx(valid.std())
    assert float(told["STATISTICS_VALID_PERCENT"]) == 75.0
    with rasterio.open(odd_map) as file:
        assert float(file.tags(1)["STATISTICS_MEAN"]) == pytest.approx(valid.mean())


def test_names_and_colours_come_back_without_the_legend_in_the_map(odd_map):
    styles = class_styles(open_raster(odd_map))
    assert {i: (s.name, s.color) for i, s in styles.items()} == {
        2: ("Straße", (0, 0, 0)),
        9: ("Wald & <Wiese>", (1, 2, 3)),
    }


def test_counts_beyond_32_bits_and_maps_without_place(write_raster, gdalinfo):
    path = write_raster(ODD_MAP, nodata=255)
    pixels = np.zeros(256, np.int64)
    pixels[[2, 9]] = 3, 10**11
    text = sidecar_of_classes(ODD_LEGEND, pixels, None)
    path.with_name("raster.tif.aux.xml").write_text(text, encoding="utf-8")
    table = gdalinfo(path)["rat"]
    assert [row["f"][-1] for row in table["row"]] == [3, 10**11]
    assert [column["name"] for column in table["fieldDefn"]][-1] == "Count"


def test_a_map_of_nodata_has_a_table_and_no_statistics(write_raster, gdalinfo):
    path = write_raster(np.full((3, 3), 255, np.uint8), nodata=255)
    pixels = np.zeros(256, np.int64)
    pixels[255] = 9
    text = sidecar_of_classes(ODD_LEGEND, pixels, pixels / 1e4)
    path.with_name("raster.tif.aux.xml").write_text(text, encoding="utf-8")
    told = gdalinfo(path)
    assert [row["f"][5:] for row in told["rat"]["row"]] == [[0, 0], [0, 0]]
    assert "STATISTICS" not in str(told["bands"])


def test_statistics_of_shares_skip_what_is_empty(write_raster, gdalinfo):
    levels = np.full((2, 4, 5), 255, np.uint8)
    levels[1, :2] = np.arange(10).reshape(2, 5)
    path = write_raster(levels, nodata=255)
    text = sidecar_of_shares(share_statistics(str(path)))
    path.with_name("raster.tif.aux.xml").write_text(text, encoding="utf-8")
    empty, half = gdalinfo(path)["bands"]
    assert "STATISTICS" not in str(empty)
    told = {key: float(value) for key, value in half["metadata"][""].items()}
    assert told == pytest.approx(
        {
            "STATISTICS_MINIMUM": 0,
            "STATISTICS_MAXIMUM": 9,
            "STATISTICS_MEAN": 4.5,
            "STATISTICS_STDDEV": np.arange(10).std(),
            "STATISTICS_VALID_PERCENT": 50,
        }
    )


def test_statistics_of_large_shares_are_estimates_and_say_so(write_raster):
    levels = np.random.default_rng(0).integers(0, 255, (1, 64, 64), np.uint8)
    path = write_raster(levels, nodata=255)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], rasterio.enums.Resampling.average)
    (exact,) = share_statistics(str(path))
    assert exact.is_exact
    assert exact.mean == pytest.approx(levels.mean())
    (estimate,) = share_statistics(str(path), enough=500)
    assert not estimate.is_exact
    assert estimate.mean == pytest.approx(exact.mean, rel=0.02)
    assert "STATISTICS_APPROXIMATE" in sidecar_of_shares([estimate])
    assert "STATISTICS_APPROXIMATE" not in sidecar_of_shares([replace(estimate, is_exact=True)])
