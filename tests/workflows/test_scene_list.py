"""Which scenes are meant, and that no file is two things at once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import rasterio.shutil
from click.testing import CliRunner

from hyseg_cli.cli import cli

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
    assert refused(run(scene, "--out", out), "no name in UTF-8")
