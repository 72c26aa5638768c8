"""`hyseg suggest`: draw, look, draw again."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import geopandas as gpd
import numpy as np
import pytest
from rasterio.transform import from_origin
from rasters import write_geotiff
from shapely.geometry import box
from workflows.training import run

CRS = "EPSG:32640"
PLACE = from_origin(300_000, 2_780_000, 0.5, 0.5)


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 160, 200)).astype(np.uint8)
    return write_geotiff(tmp_path / "scene.tif", pixels, crs=CRS, transform=PLACE)


def test_places_are_squares_of_the_scene_with_a_reason_and_a_style(image, tiny_model, tmp_path):
    out = tmp_path / "next.gpkg"
    done = run(
        "suggest", image, "--model", tiny_model, "--out", out, "-n", 5, "--class-field", "kind"
    )
    assert done.exit_code == 0, done.output
    places = gpd.read_file(out, layer="polygons")
    assert len(places) == 5
    assert places.kind.isna().all()
    assert places["rank"].tolist() == [1, 2, 3, 4, 5]
    assert places.area.round(3).tolist() == [64.0] * 5  # 16 pixels of 0.5 m
    left, bottom, right, top = places.total_bounds
    assert left >= 300_000
    assert top <= 2_780_000
    assert right <= 300_100
    assert bottom >= 2_779_920
    assert places.reason.str.contains(" or ").all()
    with sqlite3.connect(out) as database:
        (qml,) = database.execute("SELECT styleQML FROM layer_styles").fetchone()
    assert 'attr="first"' in qml


def test_drawn_polygons_are_copied_and_not_suggested_again(image, tiny_model, tmp_path):
    first, second = tmp_path / "next.gpkg", tmp_path / "more.gpkg"
    assert run("suggest", image, "-m", tiny_model, "-o", first, "-n", 4).exit_code == 0
    drawn = gpd.read_file(first, layer="polygons")[["geometry"]].assign(
        **{"class": ["land", "water", "land", "water"]}
    )
    drawn.to_file(tmp_path / "drawn.gpkg")
    done = run(
        "suggest", image, "-m", tiny_model, "-o", second, "-n", 3,
        "--labels", tmp_path / "drawn.gpkg", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["reasons"]) == 3
    both = gpd.read_file(second, layer="polygons")
    assert both["class"].notna().sum() == 4
    new = both[both["class"].isna()]
    assert len(new) == 3
    assert not new.intersects(drawn.union_all().buffer(-0.1)).any()


@pytest.mark.parametrize(
    ("words", "problem", "code"),
    [
        (["-n", "0"], "less than 1", 2),
        (["-o", "next.shp"], "does not end in .gpkg", 2),
        (["--labels", "none.gpkg"], "no such file", 2),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_hint(
    image, tiny_model, tmp_path, words, problem, code
):
    done = run("suggest", image, "-m", tiny_model, "-o", tmp_path / "next.gpkg", *words)
    assert done.exit_code == code, done.output
    assert problem in done.output
    assert "Hint:" in done.output
    assert not (tmp_path / "next.gpkg").exists()


def test_a_scene_without_place_is_refused(tiny_model, tmp_path):
    image = write_geotiff(tmp_path / "scene.tif", np.ones((3, 64, 64), np.uint8), crs=None)
    done = run("suggest", image, "-m", tiny_model, "-o", tmp_path / "next.gpkg")
    assert done.exit_code == 2
    assert "is not georeferenced" in done.output


def test_other_layers_stay_whatever_the_file_is_called(image, tiny_model, tmp_path):
    folder = tmp_path / "Site A!"
    folder.mkdir()
    gpd.GeoDataFrame({"owner": ["A"]}, geometry=[box(0, 0, 1, 1)], crs=CRS).to_file(
        tmp_path / "project.gpkg", layer="parcels"
    )
    out = (tmp_path / "project.gpkg").rename(folder / "new!project;.gpkg")
    (tmp_path / "project;.gpkg").write_text("precious")
    for times in (1, 2):
        done = run("suggest", image, "-m", tiny_model, "-o", out, "-n", 4, "--overwrite")
        assert done.exit_code == 0, done.output
        assert sorted(path.name for path in folder.iterdir()) == [out.name], times
        with closing(sqlite3.connect(out)) as database:
            assert database.execute("SELECT owner FROM parcels").fetchall() == [("A",)]
            assert database.execute("SELECT count(*) FROM polygons").fetchone() == (4,)
            assert database.execute("SELECT count(*) FROM layer_styles").fetchone() == (1,)
    assert (tmp_path / "project;.gpkg").read_text() == "precious"
