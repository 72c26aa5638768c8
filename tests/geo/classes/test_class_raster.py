"""A map is the same map for whoever reads it, whatever type its file has."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from hyseg_cli.cli.group import cli
from hyseg_cli.errors import ModelMismatchError
from hyseg_cli.geo.classes.counts import count_classes
from hyseg_cli.geo.classes.raster import LARGEST_ID, LEAST_ID, ClassRaster
from hyseg_cli.geo.coverage.raster import RasterRows
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.label_sources import RasterLabels
from hyseg_cli.learn.scores.crosswalk import MapClasses
from hyseg_cli.legend import Legend, LegendClass
from hyseg_cli.sampling.population import PopulationReader

PLACE = {"crs": "EPSG:32631", "transform": from_origin(500000, 5700000, 1, 1)}
TYPES = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64",
)  # fmt: skip
LEGEND = Legend(tuple(LegendClass(id=i, name=f"c{i}", color=(i, 0, 0)) for i in range(1, 6)))
NOTHING = 0
CLASSES = np.random.default_rng(0).integers(0, 6, (40, 50))
"""0 stands for no class."""


def written(write_raster, dtype, nodata, name="map.tif"):
    """The classes as a raster of some type, with some nodata value."""
    values = np.where(CLASSES == NOTHING, 0 if nodata is None else nodata, CLASSES)
    if nodata is not None and np.isnan(nodata):
        values = np.where(CLASSES == NOTHING, np.nan, CLASSES.astype(float))
    if dtype not in ("int64", "uint64"):
        return write_raster(values.astype(dtype)[None], name, nodata=nodata, **PLACE)
    # rasterio writes nodata values of 64 bits as floats, which GDAL reads as other numbers.
    path = write_raster(values.astype(dtype)[None], name, **PLACE)
    root = ET.fromstring(vrt_of(path))  # noqa: S314 - GDAL's own
    ET.SubElement(root.find("VRTRasterBand"), "NoDataValue").text = str(nodata)
    vrt = path.with_suffix(".vrt")
    vrt.write_text(ET.tostring(root, encoding="unicode"))
    return vrt


def vrt_of(path):
    """The text of a VRT over a raster."""
    with rasterio.open(path) as file, MemoryFile(ext="vrt") as memory:
        rasterio.shutil.copy(file, memory.name, driver="VRT")
        return memory.read()


def traced(path):
    """Class ids as vectorising reads them, 0 for none."""
    scene = open_raster(path)
    with ClassRaster(scene) as raster, RasterRows(raster) as rows:
        parts = [rows.read(row, min(16, scene.height - row)) for row in range(0, scene.height, 16)]
        ids = np.concatenate(parts).astype(np.int64)
        return np.where(ids == rows.no_class, NOTHING, ids)


def counted(path):
    found, empty = count_classes(open_raster(path), lambda _: None)
    return {value: pixels for value, (pixels, _) in found.items()} | {NOTHING: empty}


def sampled(path):
    with PopulationReader(open_raster(path)) as reader:
        population = reader.count(lambda _: None)
    return dict(zip(population.strata, population.pixels.tolist(), strict=True))


def evaluated(path):
    with ClassRaster(open_raster(path)) as raster:
        table = np.arange(256).astype(np.uint8)
        return MapClasses(raster, LEGEND, table).read(Window(0, 0, *CLASSES.shape))


def labelled(path, image):
    return RasterLabels([path], open_raster(image), LEGEND).read(Window(0, 0, *CLASSES.shape))


def least(dtype):
    kind = np.dtype(dtype)
    return float(np.finfo(kind).min) if kind.kind == "f" else int(np.iinfo(kind).min)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("nodata", ["least", "largest", "nan"])
def test_every_reader_sees_the_same_classes_in_every_type(write_raster, dtype, nodata):
    if nodata == "nan" and not dtype.startswith("float"):
        pytest.skip("whole numbers have no NaN")
    largest = np.finfo(dtype).max if dtype.startswith("float") else np.iinfo(dtype).max
    value = {"least": least(dtype), "largest": largest, "nan": np.nan}[nodata]
    path = written(write_raster, dtype, value)
    np.testing.assert_array_equal(traced(path), CLASSES)
    pixels = dict(enumerate(np.bincount(CLASSES.ravel()).tolist()))
    assert counted(path) == pixels
    assert sampled(path) == {value: n for value, n in pixels.items() if value != NOTHING}
    channels = np.where(CLASSES == NOTHING, 255, CLASSES - 1)
    np.testing.assert_array_equal(evaluated(path), channels)
    image = write_raster(np.ones((3, *CLASSES.shape), np.uint8), "image.tif", **PLACE)
    np.testing.assert_array_equal(labelled(path, image), channels)


def test_255_of_8_bits_is_nodata_for_every_reader_even_if_nothing_says_so(write_raster):
    values = np.where(CLASSES == NOTHING, 255, CLASSES).astype(np.uint8)
    path = write_raster(values[None], "map.tif", **PLACE)
    np.testing.assert_array_equal(traced(path), CLASSES)
    assert counted(path)[NOTHING] == (CLASSES == NOTHING).sum()
    assert 255 not in sampled(path)
    assert (evaluated(path) == 255).sum() == (CLASSES == NOTHING).sum()


def test_255_is_a_class_where_a_legend_names_it_or_another_value_is_nodata(write_raster):
    values = np.where(CLASSES == NOTHING, 255, CLASSES).astype(np.uint8)
    silent = write_raster(values[None], "silent.tif", **PLACE)
    whole = Window(0, 0, *CLASSES.shape)
    with ClassRaster(open_raster(silent), named=frozenset({1, 255})) as raster:
        assert raster.read(whole).valid.all()
    other = write_raster(values[None], "other.tif", nodata=0, **PLACE)
    with ClassRaster(open_raster(other)) as raster:
        assert raster.read(whole).valid.all()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=st.floats(allow_nan=False) | st.integers(-(2**40), 2**40).map(float))
def test_a_number_is_a_class_exactly_if_it_is_whole_and_in_range(write_raster, value):
    path = write_raster(np.array([[[1.0, value]]]), "map.tif", **PLACE)
    is_id = np.isinf(value) or (LEAST_ID <= value <= LARGEST_ID and value == int(value))
    with ClassRaster(open_raster(path)) as raster:
        if is_id:
            classes = raster.read(Window(0, 0, 1, 2))
            assert classes.valid[0, 1] == np.isfinite(value)
            assert np.isinf(value) or classes.ids[0, 1] == value
            return
        with pytest.raises(ModelMismatchError, match="not a whole number") as caught:
            raster.read(Window(0, 0, 1, 2))
        assert "row 0, column 1" in caught.value.message
        assert "gdal_translate -ot Int32" in caught.value.hint


@pytest.mark.parametrize("command", ["vectorize", "sample", "evaluate"])
def test_every_command_refuses_fractions_alike(tmp_path, write_raster, command):
    path = write_raster(np.full((1, 9, 9), 0.5, np.float32), "shares.tif", **PLACE)
    words = {
        "vectorize": ["--out", tmp_path / "p.gpkg"],
        "sample": ["--out", tmp_path / "p.gpkg", "--count", 5],
        "evaluate": ["--reference", path, "--legend", legend_file(tmp_path)],
    }[command]
    result = CliRunner().invoke(cli, [*map(str, [command, path, *words])])
    assert result.exit_code == 4, result.output
    assert "has the value 0.5, not a whole number" in result.stderr
    assert not (tmp_path / "p.gpkg").exists()


def legend_file(folder):
    path = folder / "legend.json"
    path.write_text(json.dumps(LEGEND.to_dict()))
    return path
