"""`hyseg predict` on bad input: one line, one hint, the right exit code, nothing lost."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasters import write_geotiff
from safetensors.torch import save_file
from workflows.predicting import run

# ---- bad input ------------------------------------------------------------------------------


def missing(folder, scene, model):
    return folder / "none.tif", model, {}


def text(folder, scene, model):
    (folder / "notes.tif").write_text("this is no raster")
    return folder / "notes.tif", model, {}


def folder_without_scenes(folder, scene, model):
    (folder / "scenes").mkdir()
    return folder / "scenes", model, {}


def without_bands(folder, scene, model):
    # A GeoPackage with two rasters is a container: it opens, and has no bands of its own.
    for table in ("one", "two"):
        with rasterio.open(
            folder / "two.gpkg",
            "w",
            driver="GPKG",
            width=40,
            height=40,
            count=3,
            dtype="uint8",
            crs="EPSG:32632",
            transform=from_origin(5e5, 5.4e6, 0.5, 0.5),
            raster_table=table,
            append_subdataset=table == "two",
        ) as file:
            file.write(np.ones((3, 40, 40), np.uint8))
    return folder / "two.gpkg", model, {}


def one_band(folder, scene, model):
    return write_geotiff(folder / "one.tif", np.ones((1, 40, 40), np.uint8)), model, {}


def five_bands(folder, scene, model):
    return write_geotiff(folder / "five.tif", np.ones((5, 40, 40), np.uint8)), model, {}


def complex_values(folder, scene, model):
    return write_geotiff(folder / "sar.tif", np.ones((3, 40, 40), "complex64")), model, {}


def other_type(folder, scene, model):
    return write_geotiff(folder / "deep.tif", np.ones((3, 40, 40), "uint16")), model, {}


def cut_short(folder, scene, model):
    data = scene.read_bytes()
    (folder / "cut.tif").write_bytes(data[: len(data) * 2 // 3])
    return folder / "cut.tif", model, {}


def headless(folder, scene, model):
    (folder / "head.tif").write_bytes(scene.read_bytes()[:100])
    return folder / "head.tif", model, {}


def bad_block(folder, scene, model):
    path = folder / "bad.tif"
    rng = np.random.default_rng(0)
    write_geotiff(
        path,
        rng.integers(1, 255, (3, 1024, 256), dtype=np.uint8),
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        interleave="pixel",
    )
    with rasterio.open(path) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_0_2", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[start : start + 64] = bytes(64)
    path.write_bytes(data)
    return path, model, {}


def output_exists(folder, scene, model):
    (folder / "map.tif").write_text("mine")
    return scene, model, {}


def output_folder_missing(folder, scene, model):
    return scene, model, {"out": folder / "nowhere" / "map.tif"}


def output_is_folder(folder, scene, model):
    (folder / "map.tif").mkdir()
    return scene, model, {}


def output_read_only(folder, scene, model):
    # The superuser of a container may write into any folder but this.
    return scene, model, {"out": "/proc/map.tif"}


def output_no_tiff(folder, scene, model):
    return scene, model, {"out": folder / "map.png"}


def model_missing(folder, scene, model):
    return scene, folder / "none.safetensors", {}


def model_cut(folder, scene, model):
    (folder / "cut.safetensors").write_bytes(model.read_bytes()[:-1000])
    return scene, folder / "cut.safetensors", {}


def model_no_safetensors(folder, scene, model):
    (folder / "m.pt").write_bytes(struct.pack("<Q", 12) + b"no such header")
    return scene, folder / "m.pt", {}


def model_without_card(folder, scene, model):
    import torch

    save_file({"a": torch.zeros(2)}, folder / "bare.safetensors")
    return scene, folder / "bare.safetensors", {}


def strange_tile(folder, scene, model):
    return scene, model, {"tile-size": 100}


def too_much_overlap(folder, scene, model):
    return scene, model, {"tile-size": 128, "overlap": 96}


def no_such_device(folder, scene, model):
    return scene, model, {"device": "cuda:99"}


def strange_device(folder, scene, model):
    return scene, model, {"device": "abacus"}


def strange_band(folder, scene, model):
    return scene, model, {"band": "1,two"}


def band_out_of_range(folder, scene, model):
    return scene, model, {"band": "1,2,9"}


TABLE = [
    (missing, 2, "no such file"),
    (text, 1, "cannot be opened as a raster"),
    (folder_without_scenes, 2, "no scenes found"),
    (without_bands, 4, "no bands"),
    (one_band, 4, "has 1 band ("),
    (five_bands, 4, "has 5 bands"),
    (complex_values, 4, "complex"),
    (other_type, 4, "uint16"),
    (cut_short, 1, "cannot be"),
    (headless, 1, "cannot be opened as a raster"),
    (bad_block, 1, "cannot be read"),
    (output_exists, 3, "exists already"),
    (output_folder_missing, 2, "no such folder"),
    (output_is_folder, 2, "is a folder"),
    (output_read_only, 1, "cannot be written"),
    (output_no_tiff, 2, "does not end in .tif"),
    (model_missing, 2, "no such model"),
    (model_cut, 1, "not a complete safetensors file"),
    (model_no_safetensors, 1, "not a complete safetensors file"),
    (model_without_card, 4, "no hyseg card"),
    (strange_tile, 2, "--tile-size 100"),
    (too_much_overlap, 2, "--overlap 96"),
    (no_such_device, 2, "CUDA devices"),
    (strange_device, 2, "is not a device"),
    (strange_band, 2, "list of band numbers"),
    (band_out_of_range, 2, "--band 9"),
]


@pytest.mark.parametrize(
    ("arrange", "code", "words"), TABLE, ids=lambda x: getattr(x, "__name__", "")
)
def test_bad_input_is_one_line_one_hint_and_the_right_code(
    tmp_path, scene, tiny_model, arrange, code, words
):
    path, model, options = arrange(tmp_path, scene, tiny_model)
    out = options.pop("out", tmp_path / "map.tif")
    before = {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    result = run(path, "--out", out, "-m", model, "-q", *flags)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output
    if code != 2 or "Usage" not in result.stderr:
        lines = result.stderr.splitlines()
        assert len(lines) == 2, result.stderr
        assert lines[0].startswith("Error: ")
        assert lines[1].startswith("Hint: ")
    assert {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")} == before


def test_an_unexpected_failure_leaves_nothing_and_no_traceback(
    tmp_path, scene, tiny_model, monkeypatch
):
    def fail(*_, **__):
        message = "a bug"
        raise RuntimeError(message)

    monkeypatch.setattr("hyseg_cli.learn.inference.stitch.Stitcher.finish", fail)
    result = run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model)
    assert result.exit_code == 1
    assert "unexpected RuntimeError: a bug" in result.stderr
    assert "--debug" in result.stderr
    assert list(tmp_path.iterdir()) == []
    debugged = run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model, "--debug")
    assert isinstance(debugged.exception, RuntimeError)
