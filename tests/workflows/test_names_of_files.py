"""A name of a file is only a name: whatever stands in it, no other file is read or written."""

import json
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
from click.testing import CliRunner
from rasters import write_geotiff
from shapely.geometry import box

from hyseg_cli.cli.group import cli

CLASSES = np.kron([[0, 1], [1, 0]], np.ones((20, 20))).astype(np.uint8)
LEGEND = {
    "classes": [
        {"id": 0, "name": "land", "color": "#aa8844"},
        {"id": 1, "name": "water", "color": "#2244cc"},
    ]
}
AWKWARD = [
    "new!kept",
    "kept;b",
    " kept",
    "kept?",
    "kept#c",
    "kept\tx",
    "kept\n",
    "a'\"b",
    "s3:kept",
]
"""Stems of files: pyogrio would write some of them to `kept` or `b`."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a map, a scene, and files named `kept` that must stay as they are."""
    write_geotiff(tmp_path / "map.tif", CLASSES, nodata=255)
    image = np.random.default_rng(0).integers(30, 220, (3, 40, 40), dtype=np.uint8)
    write_geotiff(tmp_path / "scene.tif", image, photometric="RGB")
    (tmp_path / "legend.json").write_text(json.dumps(LEGEND))
    for name in ("kept", "b", "c", "x"):
        for suffix in (".gpkg", ".shp", ".dbf", ".geojson", ".fgb", ".tif"):
            (tmp_path / f"{name}{suffix}").write_bytes(b"precious")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words, code=0):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def state_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_copy(path, tmp_path):
    """What a vector file holds, whatever its name is."""
    plain = tmp_path / "plain"
    plain.mkdir()
    for part in path.parent.iterdir():
        if part.stem == path.stem:
            shutil.copy(part, plain / f"copy{part.suffix}")
    layer = "landcover" if path.suffix == ".gpkg" else None
    return pyogrio.read_dataframe(plain / f"copy{path.suffix}", layer=layer)


@pytest.mark.parametrize(
    ("stem", "suffix"),
    [(stem, suffix) for stem in AWKWARD for suffix in (".gpkg", ".shp")]
    + [(AWKWARD[i], s) for i in (0, -1) for s in (".geojson", ".fgb", ".geojsonl", ".parquet")],
)
def test_polygons_are_written_to_the_file_that_was_named_and_to_no_other(
    folder, tmp_path_factory, stem, suffix
):
    before = state_of(folder)
    run("vectorize", "map.tif", "--out", f"./{stem}{suffix}")
    made = set(state_of(folder)) - set(before)
    assert {path: content for path, content in state_of(folder).items() if path in before} == before
    assert folder / f"{stem}{suffix}" in made
    assert {path.stem for path in made} == {stem}
    if suffix != ".parquet":
        found = read_copy(folder / f"{stem}{suffix}", tmp_path_factory.mktemp("read"))
        assert len(found) == 4


@pytest.mark.parametrize("name", ["Site A!", "a;b", "a?b#c", " a", "tab\there"])
def test_folders_may_be_called_anything_in_every_command(folder, tiny_model, name):
    inside = Path(name)
    inside.mkdir()
    for file in ("map.tif", "scene.tif", "legend.json"):
        shutil.copy(file, inside)
    area = gpd.GeoDataFrame({"class": [1]}, geometry=[box(500_000, 5_399_990, 500_020, 5_400_000)])
    plain = area.set_crs(32632)
    for suffix in (".gpkg", ".shp", ".geojson", ".fgb"):
        plain.to_file(folder / f"area{suffix}")
    for part in folder.glob("area.*"):
        part.rename(inside / part.name)
    run("vectorize", inside / "map.tif", "-o", inside / "out.gpkg", "--sieve-out", inside / "s.tif",
        "--mmu", "2px", "--stac")  # fmt: skip
    run("sample", inside / "map.tif", "-o", inside / "points.gpkg", "--count", 100)
    run("info", inside / "scene.tif", "-m", tiny_model)
    words = ["-m", tiny_model, "--confidence", inside / "sure.tif", "--preview", inside / "p.png"]
    run("predict", inside / "scene.tif", "-o", inside / "m.tif", *words, "--stac", "--style")
    for suffix in (".gpkg", ".shp", ".geojson", ".fgb"):
        found = inside / f"area{suffix}"
        run("predict", inside / "scene.tif", "-o", "m.tif", "-m", tiny_model, "--aoi", found, "-n")
        told = run("evaluate", inside / "map.tif", "--legend", inside / "legend.json",
                   "--reference", found, "--json", "-q")  # fmt: skip
        assert json.loads(told.stdout)["pixels"] == 800
    assert not (folder / "m.tif").exists()


@pytest.mark.parametrize("name", ["s3:b.tif", "http:b.tif", "file:b.tif", "zip:b.tif!c.tif"])
def test_rasters_whose_names_look_like_addresses_are_files_of_this_folder(folder, tiny_model, name):
    here = f"./{name}"
    shutil.copy("scene.tif", here)
    run("info", here, "-m", tiny_model)
    run("predict", here, "-o", f"./m-{name}", "-m", tiny_model)
    shutil.copy("scene.tif", f"{name}.tif")
    run("predict", f"./{name}.tif", "-o", here, "-m", tiny_model, "--overwrite")
    with rasterio.open(Path(here).absolute()) as file:
        assert file.count == 1
    run("vectorize", here, "-o", "polygons.gpkg", "--sieve-out", f"./s-{name}", "--mmu", "2px")
    run("evaluate", here, "--reference", here, "-q")
    run("sample", here, "-o", "points.gpkg", "--count", 100)
    assert Path(f"s-{name}").exists()


def test_two_slashes_at_the_start_of_a_path_name_no_host(folder):
    (folder / "out").mkdir()
    run("vectorize", "map.tif", "--out", f"/{folder}/out/map.gpkg")
    assert len(pyogrio.read_dataframe(folder / "out" / "map.gpkg", layer="landcover")) == 4
