"""Pictures without GDAL."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hyseg_cli.geo.raster.picture import picture_size, read_picture


def test_large_pictures_are_read_and_the_limit_of_others_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path = tmp_path / "scan.png"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    assert picture_size(path) == (30, 40)
    np.testing.assert_array_equal(read_picture(path), np.moveaxis(pixels, -1, 0))
    assert Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
