"""Which scenes are meant, and that no file is two things at once."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio.shutil
from click.testing import CliRunner
from rasterio.transform import from_origin

from hyseg_cli.cli.group import cli

TILES = ("--tile-size", 64, "--overlap", 32)


@pytest.fixture
def scene(tmp_path, scene_folder):
    path = tmp_path / "scene.tif"
    shutil.copy(scene_folder / "images" / "east.tif", path)
    return path


@pytest.fixture
def run(tiny_model):
    def start(*arguments):
        words = ["predict", *map(str, arguments), "-m", str(tiny_model), "-q"]
        return CliRunner().invoke(cli, words)

    return start


def refused(result, words, code=2):
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 2
    return True


@pytest.mark.parametrize("flag", ["--out", "--confidence", "--probabilities"])
@pytest.mark.parametrize("link", ["itself", "symbolic", "hard"])
def test_a_scene_is_never_replaced(tmp_path, scene, run, flag, link):
    name, before = tmp_path / "name.tif", scene.read_bytes()
    if link == "itself":
        name = scene
    elif link == "symbolic":
        name.symlink_to(scene)
    else:
        os.link(scene, name)
    flags = (flag, name) if flag == "--out" else ("--out", tmp_path / "map.tif", flag, name)
    assert refused(run(scene, *flags, "--overwrite"), "would replace the input")
    assert scene.read_bytes() == before


def test_a_source_of_a_vrt_is_never_replaced(tmp_path, scene, run):
    vrt, before = tmp_path / "mosaic.vrt", scene.read_bytes()
    rasterio.shutil.copy(scene, vrt, driver="VRT")
    assert refused(run(vrt, "--out", scene, "--overwrite"), "would replace the input")
    assert scene.read_bytes() == before


def test_a_scene_of_the_same_run_is_never_replaced(tmp_path, scene, run):
    (tmp_path / "maps").mkdir()
    other = tmp_path / "maps" / "scene_hyseg.tif"
    shutil.copy(scene, other)
    before = other.read_bytes()
    result = run(scene, other, "--out", tmp_path / "maps", "--overwrite")
    assert refused(result, "would replace the input")
    assert other.read_bytes() == before


def test_two_outputs_are_two_files(tmp_path, scene, run):
    (tmp_path / "sub").mkdir()
    for again in (tmp_path / "map.tif", tmp_path / "sub" / ".." / "map.tif"):
        result = run(scene, "--out", tmp_path / "map.tif", "--confidence", again)
        assert refused(result, "--confidence and --out would both be written to")
    assert not (tmp_path / "map.tif").exists()


def test_the_map_of_one_scene_is_not_the_confidence_of_another(tmp_path, scene, run):
    twin = tmp_path / "scene_confidence.tif"
    shutil.copy(scene, twin)
    result = run(scene, twin, "--out", tmp_path / "maps", "--confidence", tmp_path / "maps")
    assert refused(result, "would both be written to")


@pytest.mark.parametrize("name", ["", "@"])
def test_an_empty_name_is_not_the_current_folder(tmp_path, scene, run, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert refused(run(name, "--out", "maps"), "is empty")
    assert not Path("maps").exists()


def test_a_list_may_begin_with_a_byte_order_mark(tmp_path, scene, run):
    names = tmp_path / "list.txt"
    names.write_text(f"{scene}\r\n", encoding="utf-8-sig")
    assert run(f"@{names}", "--out", tmp_path / "maps", *TILES).exit_code == 0
    assert (tmp_path / "maps" / "scene_hyseg.tif").exists()


def test_a_list_that_cannot_be_read_is_wrong_usage(tmp_path, scene, run):
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9.tif\n")
    for name in (latin, tmp_path, tmp_path / "none.txt"):
        assert refused(run(f"@{name}", "--out", tmp_path / "maps"), "cannot be read as a list")


def test_a_name_that_is_no_text_is_told_and_left_out(tmp_path, scene, run):
    folder = tmp_path / "scenes"
    folder.mkdir()
    shutil.copy(scene, folder / "a.tif")
    shutil.copy(os.fsencode(scene), os.fsencode(folder) + b"/caf\xe9.tif")
    result = run(folder, "--out", tmp_path / "maps", *TILES)
    assert result.exit_code == 6, result.output
    assert "not in UTF-8" in result.stderr
    assert (tmp_path / "maps" / "a_hyseg.tif").exists()
    out = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.tif")
    assert refused(run(scene, "--out", out), "not valid UTF-8")


@pytest.fixture
def neighbours(write_raster, tmp_path):
    """Two scenes of 48 m a side, the second one 1 km east of the first."""
    (tmp_path / "scenes").mkdir()
    image = np.random.default_rng(0).integers(1, 255, (3, 96, 96), dtype=np.uint8)
    for name, left in (("a", 500_000), ("b", 501_000)):
        place = from_origin(left, 5_400_000, 0.5, 0.5)
        write_raster(image, f"scenes/{name}.tif", transform=place, photometric="RGB")
    return tmp_path / "scenes"


@pytest.mark.parametrize("more", [(), ("--devices", 2)], ids=["one by one", "queue"])
def test_scenes_beside_the_bounds_are_left_out_without_failing(tmp_path, neighbours, run, more):
    words = ("--out", tmp_path / "maps", "--bounds", "500000,5399960,500040,5400000", "--json")
    result = run(neighbours, *words, *more, *TILES)
    assert result.exit_code == 0, result.output
    states = {Path(s["scene"]).stem: s["state"] for s in json.loads(result.stdout)["scenes"]}
    assert states == {"a": "done", "b": "elsewhere"}
    assert [path.name for path in (tmp_path / "maps").glob("*.tif")] == ["a_hyseg.tif"]


def test_bounds_beside_all_scenes_are_wrong_usage(tmp_path, neighbours, run):
    result = run(neighbours, "--out", tmp_path / "maps", "--bounds", "0,0,10,10", *TILES)
    assert refused(result, "lies outside all 2 scenes")
