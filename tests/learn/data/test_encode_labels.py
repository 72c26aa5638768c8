import numpy as np
import pytest

from hyseg_cli.errors import HysegError
from hyseg_cli.learn.data.encode_labels import encode_known, encode_labels
from hyseg_cli.legend import Legend

WORLDCOVER = Legend.from_dict(
    {
        "classes": [
            {"id": 10, "name": "tree", "color": "#006400"},
            {"id": 80, "name": "water", "color": "#0064c8"},
        ],
        "ignore": ["#000000", 99],
    }
)


def test_ids_become_channels_in_the_order_of_the_legend():
    values = np.array([[10, 80], [99, 255]], np.uint8)
    assert encode_labels(values[None], WORLDCOVER, "x").tolist() == [[0, 1], [255, 255]]


def test_the_rasters_own_nodata_is_unlabelled():
    values = np.array([[10, 0]], np.int16)
    assert encode_labels(values[None], WORLDCOVER, "x", values != 0).tolist() == [[0, 255]]


def test_colors_become_channels():
    colors = np.zeros((3, 1, 3), np.uint8)
    colors[:, 0, 0] = (0, 0x64, 0xC8)
    colors[:, 0, 1] = (0, 0x64, 0)
    assert encode_labels(colors, WORLDCOVER, "x").tolist() == [[1, 0, 255]]


def test_a_value_outside_the_legend_is_named():
    with pytest.raises(HysegError, match=r"truth.tif: the label value 30 is not in the legend"):
        encode_labels(np.array([[[10, 30]]]), WORLDCOVER, "truth.tif")


def test_a_color_outside_the_legend_is_named():
    colors = np.full((3, 2, 2), 7, np.uint8)
    with pytest.raises(HysegError, match="#070707 is not in the legend"):
        encode_labels(colors, WORLDCOVER, "x")


def test_probabilities_are_no_labels():
    with pytest.raises(HysegError, match="whole numbers"):
        encode_labels(np.zeros((1, 2, 2), np.float32), WORLDCOVER, "x")


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_values_outside_the_legend_can_be_told_from_unlabelled_ones(dtype):
    values = np.array([[[10, 30, 30], [99, 7, 255]]], dtype)
    encoded = encode_known(values, WORLDCOVER, "x", values[0] != 7)
    assert encoded.channels.tolist() == [[0, 255, 255], [255, 255, 255]]
    assert encoded.is_unmatched.tolist() == [[False, True, True], [False, False, False]]
    assert encoded.unmatched == ("30",)
