"""Scenes that see their neighbours: as their mosaic, each at its own place."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from rasterio.transform import from_origin
from rasterio.windows import Window

from hyseg_cli.cli.group import cli

TILES = ("--tile-size", "64", "--overlap", "32")
PLACE = from_origin(500_000, 5_400_000, 0.5, 0.5)


@pytest.fixture
def model(lively_model):
    return lively_model


@pytest.fixture
def predict(tmp_path, model, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))

    def run(*words):
        result = CliRunner().invoke(cli, ["predict", *map(str, words), "-m", str(model), *TILES])
        assert list((tmp_path / "tmp").iterdir()) == []
        return result

    return run


@pytest.fixture
def pair(tmp_path, write_raster):
    """Two files side by side, the second 0.3 of a pixel off the grid of the first."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    whole = np.random.default_rng(0).integers(1, 255, (3, 130, 200), dtype=np.uint8)
    write_raster(whole[:, :, :100], "scenes/a.tif", transform=PLACE, photometric="RGB")
    shifted = PLACE @ Affine.translation(100.3, 0)
    write_raster(whole[:, :, 100:], "scenes/b.tif", transform=shifted, photometric="RGB")
    return whole, folder


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


def test_shifted_scenes_map_as_their_mosaic_where_they_lie(tmp_path, pair, write_raster, predict):
    whole, folder = pair
    result = predict(folder, "--out", tmp_path / "maps", "--context")
    assert result.exit_code == 0, result.output
    told = [line for line in result.stderr.splitlines() if "shifted" in line]
    assert len(told) == 1
    assert "up to 0.300 of a pixel" in told[0]
    mosaic = write_raster(whole, "mosaic.tif", transform=PLACE, photometric="RGB")
    assert predict(mosaic, "--out", tmp_path / "mosaic_map.tif").exit_code == 0
    expected = read(tmp_path / "mosaic_map.tif")
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(read(tmp_path / "maps" / "a_hyseg.tif"), expected[:, :100])
    np.testing.assert_array_equal(read(tmp_path / "maps" / "b_hyseg.tif"), expected[:, 100:])
    for name in "ab":
        with (
            rasterio.open(folder / f"{name}.tif") as scene,
            rasterio.open(tmp_path / "maps" / f"{name}_hyseg.tif") as found,
        ):
            assert found.transform == scene.transform
            assert found.crs == scene.crs
            assert found.tags()["AREA_OR_POINT"] == scene.tags()["AREA_OR_POINT"]


def test_a_border_that_a_scene_does_not_declare_stays_empty(tmp_path, pair, write_raster, predict):
    whole, folder = pair
    whole[:, :, :32] = 0
    write_raster(whole[:, :, :100], "scenes/a.tif", transform=PLACE, photometric="RGB")
    result = predict(folder, "--out", tmp_path / "maps", "--context")
    assert result.exit_code == 0, result.output
    (told,) = [line for line in result.stderr.splitlines() if "collar" in line]
    assert f"{folder / 'a.tif'} are a collar" in told
    found = read(tmp_path / "maps" / "a_hyseg.tif")
    assert (found[:, :32] == 255).all()
    assert (found[:, 32:] != 255).all()
    assert (read(tmp_path / "maps" / "b_hyseg.tif") != 255).all()
    mapped = predict(folder, "--out", tmp_path / "all", "--context", "--collar", "none")
    assert mapped.exit_code == 0, mapped.output
    assert (read(tmp_path / "all" / "a_hyseg.tif") != 255).all()


def test_a_scene_that_cannot_be_opened_is_nobodys_neighbour(tmp_path, pair, predict):
    _, folder = pair
    (folder / "c.tif").write_text("this is no raster")
    common = [folder, "--out", tmp_path / "maps", "--context"]
    assert predict(*common, "--on-error", "stop").exit_code == 1
    result = predict(*common, "--json")
    assert result.exit_code == 6
    states = [entry["state"] for entry in json.loads(result.stdout)["scenes"]]
    assert states == ["done", "done", "failed"]


def test_context_goes_on_with_parts_of_other_processes(tmp_path, pair, predict):
    _, folder = pair
    common = [folder, "--out", tmp_path / "maps", "--context", "-q"]
    assert predict(*common, "--shard", "1/2").exit_code == 0
    assert predict(*common, "--shard", "2/2").exit_code == 0
    assert predict(*common, "--merge").exit_code == 0
    assert {path.suffix for path in (tmp_path / "maps").iterdir()} == {".tif", ".xml"}


@pytest.mark.parametrize("flags", [[], ["--context"]])
def test_a_dry_run_needs_no_folder_and_makes_none(tmp_path, pair, predict, flags):
    _, folder = pair
    result = predict(folder, "--out", tmp_path / "new" / "maps", "-n", "--json", *flags)
    assert result.exit_code == 0, result.output
    assert [e["state"] for e in json.loads(result.stdout)["scenes"]] == ["planned", "planned"]
    assert not (tmp_path / "new").exists()


def test_relative_names_have_neighbours(tmp_path, pair, predict, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = Path("scenes/list.txt")
    names.write_text("scenes/a.tif\nscenes/b.tif\n")
    assert predict(f"@{names}", "--out", "maps", "--context", "-q").exit_code == 0
    assert predict("scenes", "--out", "others", "--context", "-q").exit_code == 0
    for name in ("a_hyseg.tif", "b_hyseg.tif"):
        assert Path("maps", name).read_bytes() == Path("others", name).read_bytes()


def test_real_neighbours_with_alpha_map_as_their_mosaic(shared, tmp_path, predict):
    """Two South African files overlap by 44 rows and are 0.746 of a pixel off each other."""
    paths = sorted((shared / "scenes_za_ngi").glob("*.tif"))
    with rasterio.open(paths[0]) as first, rasterio.open(paths[1]) as second:
        col, row = ~first.transform @ (second.transform.c, second.transform.f)
        top, left = round(row), round(col)
        assert abs(row - top) == pytest.approx(0.254, abs=0.01) or abs(col - left) > 0.25
        shape = max(first.height, top + second.height), max(first.width, left + second.width) - left
        mosaic = np.zeros((4, *shape), np.uint8)
        mosaic[:, : first.height, -left : first.width - left] = first.read()
        upper = second.read()
        place = mosaic[:, top : top + second.height, : second.width]
        place[:, upper[3] > 0] = upper[:, upper[3] > 0]
        profile = {
            **first.profile, "height": shape[0], "width": shape[1],
            "transform": first.transform @ Affine.translation(left, 0),
        }  # fmt: skip
        seam = Window(400 - left, top - 60, 200, 180)
    with rasterio.open(tmp_path / "mosaic.tif", "w", **profile) as file:
        file.write(mosaic)
        file.colorinterp = [
            rasterio.enums.ColorInterp[n] for n in ("red", "green", "blue", "alpha")
        ]
        bounds = ",".join(map(repr, file.window_bounds(seam)))
    common = [f"--bounds={bounds}", "--gsd", "native"]
    result = predict(tmp_path / "mosaic.tif", "--out", tmp_path / "whole.tif", *common)
    assert result.exit_code == 0, result.output
    result = predict(*paths, "--out", tmp_path / "maps", "--context", *common)
    assert result.exit_code == 0, result.output
    expected = read(tmp_path / "whole.tif")
    assert len(np.unique(expected[expected < 255])) > 2
    upper_map, lower_map = (read(tmp_path / "maps" / f"{path.stem}_hyseg.tif") for path in paths)
    np.testing.assert_array_equal(upper_map, expected[: len(upper_map)])
    np.testing.assert_array_equal(lower_map, expected[-len(lower_map) :])
