"""A file that was changed is another input."""

from __future__ import annotations

import zipfile

import numpy as np

from hyseg_cli.geo.raster.facts import fingerprint_of_raster


def test_a_changed_archive_is_another_raster(tmp_path, write_raster, monkeypatch):
    found = []
    monkeypatch.chdir(tmp_path)
    for value in (1, 1, 2):
        path = write_raster(np.full((20, 30), value, np.uint8))
        with zipfile.ZipFile("a.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo("in/side.tif"), path.read_bytes())
        found.append(fingerprint_of_raster(f"/vsizip/{tmp_path}/a.zip/in/side.tif"))
        found.append(fingerprint_of_raster("/vsizip/a.zip/in/side.tif"))
    first, _, same, _, other, relative = found
    assert first == same != other
    assert found[1] == found[3] != relative


def test_a_long_vrt_is_told_by_its_text(tmp_path, write_raster):
    """It is written anew in every run; its time would tell each from the one before."""
    path = write_raster(np.zeros((20, 30), np.uint8))
    vrt = tmp_path / "long.vrt"
    source = (
        f'<SimpleSource><SourceFilename relativeToVRT="0">{path}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource>"
    )
    text = (
        '<VRTDataset rasterXSize="30" rasterYSize="20"><VRTRasterBand dataType="Byte" band="1">'
        f"{source * (2**20 // len(source) + 1)}</VRTRasterBand></VRTDataset>"
    )
    found = []
    for _ in range(2):
        vrt.unlink(missing_ok=True)
        vrt.write_text(text)
        found.append(fingerprint_of_raster(str(vrt)))
    assert found[0] == found[1]
