"""Each way of saying that pixels hold no data, on rasters written by GDAL."""

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.raster.validity import AS_DECLARED, Validity
from hyseg_cli.geo.window import Window

RNG = np.random.default_rng(0)


def valid_of(path, rule=AS_DECLARED, bands=None):
    scene = open_raster(path)
    with SceneReader(scene, bands or scene.data_bands, validity=rule) as reader:
        return reader.read(Window(0, 0, scene.height, scene.width)).valid


def image(dtype="uint8", bands=3):
    return RNG.integers(1, 250, (bands, 8, 9)).astype(dtype)


def test_nodata_values_may_differ_between_bands(tmp_path, write_raster):
    paths = []
    arrays = image("int16", 2)
    arrays[0, 1, 1], arrays[1, 2, 2] = -1, -2
    arrays[0, 3, 3], arrays[1, 3, 3] = -2, -1  # the value of the other band is data
    for index, nodata in enumerate((-1, -2)):
        paths.append(write_raster(arrays[index], f"{index}.tif", nodata=nodata))
    sources = "".join(
        f'<VRTRasterBand dataType="Int16" band="{i}"><NoDataValue>{-i}</NoDataValue><SimpleSource>'
        f"<SourceFilename>{path}</SourceFilename><SourceBand>1</SourceBand>"
        "</SimpleSource></VRTRasterBand>"
        for i, path in enumerate(paths, 1)
    )
    vrt = tmp_path / "two.vrt"
    vrt.write_text(f'<VRTDataset rasterXSize="9" rasterYSize="8">{sources}</VRTDataset>')
    expected = np.ones((8, 9), bool)
    expected[1, 1] = expected[2, 2] = False
    np.testing.assert_array_equal(valid_of(vrt), expected)


def test_not_a_number_may_be_the_nodata_value(write_raster):
    array = image("float32", 2)
    array[1, 4, 4] = np.nan
    path = write_raster(array, nodata=np.nan)
    assert (~valid_of(path)).sum() == 1
    # A value that takes its place does not make it data.
    assert (~valid_of(path, Validity(nodata=(-9999.0,)))).sum() == 1


def test_alpha_counts_beside_a_nodata_value(write_raster):
    array = image("uint8", 4)
    array[3] = 255
    array[3, 0] = 0
    array[:3, 5] = 0
    path = write_raster(array, photometric="RGB", alpha="yes", nodata=0)
    valid = valid_of(path)
    assert not valid[[0, 5]].any()
    assert valid[[1, 2, 3, 4, 6, 7]].all()


def test_alpha_counts_beside_bands_of_32_bits(write_raster):
    array = image("float32", 4)
    array[3] = 1.0
    array[3, 2] = 0.0
    path = write_raster(array)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [
            ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha
        ]  # fmt: skip
    valid = valid_of(path)
    assert not valid[2].any()
    assert valid.sum() == 7 * 9


@pytest.mark.parametrize("internal", [True, False])
def test_a_mask_of_the_dataset_counts_inside_and_beside_the_file(write_raster, internal):
    path = write_raster(image(), photometric="RGB")
    mask = np.full((8, 9), 255, np.uint8)
    mask[:, 3:5] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as file:
        file.write_mask(mask)
    assert path.with_name("raster.tif.msk").exists() != internal
    np.testing.assert_array_equal(valid_of(path), mask > 0)
    assert open_raster(path).declares_validity
    # Values that the user names empty pixels in addition.
    array = rasterio.open(path).read()
    value = array[:, 7, 7]
    rule = Validity(nodata=tuple(float(v) for v in value))
    assert not valid_of(path, rule)[7, 7]
    assert not valid_of(path, rule)[:, 3:5].any()


def test_values_of_the_user_replace_those_of_the_raster(write_raster):
    array = image("uint16", 2)
    array[:, 0] = 0
    array[0, 1] = 65535
    path = write_raster(array, nodata=0)
    assert valid_of(path).sum() == 7 * 9
    valid = valid_of(path, Validity(nodata=(65535.0,)))
    assert valid[0].all()
    assert not valid[1].any()


def test_8_bit_values_of_the_user_must_be_in_all_bands(write_raster):
    array = np.full((3, 4, 4), 90, np.uint8)
    array[:, 0, 0] = (255, 254, 253)
    array[:, 1, 1] = (255, 254, 1)
    valid = valid_of(write_raster(array), Validity(nodata=(255.0, 254.0, 253.0)))
    assert not valid[0, 0]
    assert valid.sum() == 15


def test_values_go_with_the_bands_in_use(write_raster):
    array = image("int16", 3)
    array[2, 1, 1], array[0, 2, 2] = -5, -7
    path = write_raster(array)
    valid = valid_of(path, Validity(nodata=(-5.0, -7.0)), bands=(3, 1))
    assert not valid[1, 1]
    assert not valid[2, 2]
    assert valid.sum() == 70


@pytest.mark.parametrize(
    ("nodata", "dtype", "words"),
    [
        ((-9999.0,), "uint8", "-9999 is not a valid value for uint8"),
        ((0.5,), "int16", "0.5 is not a valid value"),
        ((float("nan"),), "uint16", "nan is not a valid value"),
        ((1e39,), "float32", "not a valid value for float32"),
        ((0.0, 0.0), "uint8", "names 2 values for 3 bands"),
    ],
)
def test_values_that_the_bands_cannot_have_are_refused(nodata, dtype, words):
    with pytest.raises(UsageProblemError, match=words):
        Validity(nodata=nodata).require_fit((dtype,) * 3)


def test_not_a_number_is_a_value_of_floats_only():
    Validity(nodata=(float("nan"),)).require_fit(("float32",))


def test_a_raster_that_declares_nothing_is_valid_throughout(write_raster):
    path = write_raster(image())
    assert not open_raster(path).declares_validity
    assert valid_of(path).all()
