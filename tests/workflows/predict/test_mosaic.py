"""`hyseg predict --mosaic`: maps of several scenes as one raster."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from hyseg_cli.cli.group import cli

TILES = ("--tile-size", 64, "--overlap", 32)
WINDOWS = (Window(0, 0, 150, 120), Window(90, 60, 110, 140))


@pytest.fixture
def scenes(tmp_path, scene_folder):
    """Two scenes that overlap, cut from one."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    with rasterio.open(scene_folder / "images" / "east.tif") as file:
        for name, window in zip("ab", WINDOWS, strict=True):
            profile = file.profile | {
                "width": window.width,
                "height": window.height,
                "transform": file.window_transform(window),
                "tiled": False,
            }
            for key in ("blockxsize", "blockysize"):
                profile.pop(key, None)
            with rasterio.open(folder / f"{name}.tif", "w", **profile) as part:
                part.write(file.read(window=window))
                part.colorinterp = file.colorinterp
    return folder


@pytest.fixture
def run(scenes, tmp_path, lively_model):
    def start(*flags):
        words = ["predict", scenes, "--out", tmp_path / "maps", "-m", lively_model, *TILES, *flags]
        return CliRunner().invoke(cli, [str(word) for word in words])

    return start


def read(path, band=1):
    with rasterio.open(path) as file:
        return file.read(band)


def laid_out(arrays):
    """The arrays of the two scenes at their places, 255 elsewhere."""
    for window, array in zip(WINDOWS, arrays, strict=True):
        whole = np.full((200, 200), 255, np.uint8)
        rows, cols = window.toslices()
        whole[rows, cols] = array
        yield whole


def test_a_vrt_lies_over_the_maps(tmp_path, run):
    vrt = tmp_path / "all.vrt"
    result = run("--mosaic", vrt)
    assert result.exit_code == 0, result.output
    maps = sorted((tmp_path / "maps").glob("*.tif"))
    first, second = laid_out(map(read, maps))
    with rasterio.open(vrt) as file, rasterio.open(maps[0]) as one:
        np.testing.assert_array_equal(file.read(1), np.where(first != 255, first, second))
        assert file.transform == one.transform
        assert file.nodata == 255
        assert [file.colormap(1)[i] for i in range(5)] == [one.colormap(1)[i] for i in range(5)]
        assert file.tags()["HYSEG_LEGEND"] == one.tags()["HYSEG_LEGEND"]
    assert run("--mosaic", vrt).exit_code == 3  # before anything is mapped
    before = vrt.read_bytes()
    again = run("--mosaic", vrt, "--skip-existing")
    assert again.exit_code == 0, again.output
    assert vrt.read_bytes() == before


def test_a_tiff_takes_the_surer_class(tmp_path, run):
    tiff = tmp_path / "all.tif"
    result = run("--mosaic", tiff, "--confidence", tmp_path / "sure")
    assert result.exit_code == 0, result.output
    maps, sure = (sorted((tmp_path / name).glob("*.tif")) for name in ("maps", "sure"))
    first, second = laid_out(map(read, maps))
    left, right = (
        np.where(level == 255, -1, level.astype(int)) for level in laid_out(map(read, sure))
    )
    is_second = (second != 255) & ((first == 255) | (right > left))
    found = read(tiff)
    np.testing.assert_array_equal(found, np.where(is_second, second, first))
    disputed = (first != second) & (first != 255) & (second != 255)
    assert (found[disputed] == second[disputed]).any()
    assert (found[disputed] == first[disputed]).any()
    assert cog_validate(tiff)[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "all.tif", "all.tif.aux.xml", "maps", "scenes", "sure",
    ]  # fmt: skip


def test_the_grid_of_a_tiff_may_be_chosen(tmp_path, run):
    tiff = tmp_path / "all.tif"
    result = run(
        "--mosaic", tiff, "--mosaic-crs", "EPSG:3857", "--mosaic-resolution", 2.5,
        "--mosaic-resampling", "mode",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    with rasterio.open(tiff) as file:
        assert file.crs.to_epsg() == 3857
        assert (file.transform.a, file.transform.e) == (2.5, -2.5)
        assert (file.read(1) != 255).any()


def test_a_mosaic_of_a_run_in_which_scenes_failed_says_what_it_lacks(tmp_path, scenes, run):
    (scenes / "c.tif").write_text("this is no raster")
    result = run("--mosaic", tmp_path / "all.vrt", "--manifest", tmp_path / "run.jsonl", "--json")
    assert result.exit_code == 6
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert lines == json.loads(result.stdout)["scenes"]
    assert [line["state"] for line in lines] == ["done", "done", "failed"]
    assert "all.vrt lacks 1 of 3 scenes" in result.stderr


def test_a_vrt_over_maps_of_two_grids_is_refused(tmp_path, scenes, run):
    with rasterio.open(scenes / "b.tif", "r+") as file:
        file.transform = file.transform @ rasterio.Affine.scale(2.0)
    result = run("--mosaic", tmp_path / "all.vrt")
    assert result.exit_code == 2
    assert "all.vrt can join maps of one grid only" in result.stderr
    assert not (tmp_path / "all.vrt").exists()
    assert len(list((tmp_path / "maps").glob("*.tif"))) == 2


def test_a_mosaic_never_costs_the_unfinished_work_of_a_map(tmp_path, scenes, run, lively_model):
    whole = ["predict", scenes / "a.tif", "--out", tmp_path / "all.tif", "-m", lively_model, *TILES]
    assert CliRunner().invoke(cli, [*map(str, whole), "--shard", "1/1"]).exit_code == 0
    work = tmp_path / "all.tif.hyseg"
    before = {path.name: path.read_bytes() for path in work.iterdir()}
    result = run("--mosaic", tmp_path / "all.tif")
    assert {path.name: path.read_bytes() for path in work.iterdir()} == before
    assert result.exit_code == 3, result.output
    assert not list(tmp_path.glob("maps/*"))  # it is refused before anything is mapped


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--mosaic", "all.png"], "does not end in .vrt or .tif"),
        (["--mosaic", "all.vrt", "--mosaic-crs", "EPSG:3857"], "a VRT keeps the grid"),
        (["--mosaic-resolution", 2], "need --mosaic"),
        (["--mosaic", "all.tif", "--mosaic-resolution", -1], "is not a valid size"),
        (["--mosaic", "all.tif", "--mosaic-crs", "Mars"], "--mosaic-crs Mars is not a valid CRS"),
        (["--mosaic", "all.tif", "--shard", "1/2"], "--shard makes no maps"),
        (["--mosaic", "maps/a_hyseg.tif"], "is the map of a scene"),
        (["--mosaic", "scenes/a.tif", "--overwrite"], "would replace the input"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_mosaics_that_make_no_sense_are_refused_before_anything_is_mapped(
    tmp_path, run, monkeypatch, flags, told
):
    monkeypatch.chdir(tmp_path)
    result = run(*flags)
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert not list(tmp_path.glob("maps/*"))
