"""Layers of a GeoPackage that are none of hyseg's business stay when one is replaced."""

import sqlite3
from contextlib import closing

import geopandas as gpd
import numpy as np
import pytest
from click.testing import CliRunner
from rasters import write_geotiff
from shapely.geometry import Point, box

from hyseg_cli.cli.group import cli


def run(*words, code=0):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def project(tmp_path):
    """A GeoPackage of somebody's work: parcels, wells, and a table without geometry."""
    path = tmp_path / "project.gpkg"
    parcels = gpd.GeoDataFrame(
        {"owner": ["A", "B"]}, geometry=[box(0, 0, 1, 1), box(1, 0, 2, 1)], crs=32632
    )
    parcels.to_file(path, layer="parcels")
    gpd.GeoDataFrame({"depth": [3.5]}, geometry=[Point(1, 1)], crs=4326).to_file(
        path, layer="wells"
    )
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        database.execute("INSERT INTO notes (text) VALUES ('keep me')")
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier)"
            " VALUES ('notes', 'attributes', 'notes')"
        )
    return path


@pytest.fixture
def land_cover_map(tmp_path):
    classes = np.kron([[0, 1], [1, 0]], np.ones((20, 20))).astype(np.uint8)
    return write_geotiff(tmp_path / "map.tif", classes, nodata=255)


def require_kept(path):
    assert gpd.read_file(path, layer="parcels")["owner"].tolist() == ["A", "B"]
    assert gpd.read_file(path, layer="wells")["depth"].tolist() == [3.5]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT text FROM notes").fetchall() == [("keep me",)]
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def styles_in(path):
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT f_table_name FROM layer_styles").fetchall()


def test_a_layer_is_added_and_replaced_while_the_others_stay(project, land_cover_map):
    for times in (1, 2):
        run("vectorize", land_cover_map, "-o", project, "--layer", "cover", "--overwrite")
        require_kept(project)
        assert len(gpd.read_file(project, layer="cover")) == 4, times
        assert styles_in(project) == [("cover",)]
    run("vectorize", land_cover_map, "-o", project, "--layer", "more", "--overwrite", "--dissolve")
    require_kept(project)
    assert len(gpd.read_file(project, layer="cover")) == 4
    assert len(gpd.read_file(project, layer="more")) == 2
    assert sorted(styles_in(project)) == [("cover",), ("more",)]


def test_sample_points_leave_other_layers_alone(project, land_cover_map):
    run("sample", land_cover_map, "-o", project, "--count", 100, "--overwrite")
    require_kept(project)
    assert len(gpd.read_file(project, layer="samples")) == 100


def test_what_another_program_has_not_put_in_order_yet_is_kept(project, land_cover_map):
    with closing(sqlite3.connect(project)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        with other:
            other.execute("INSERT INTO notes (text) VALUES ('new')")
        run("vectorize", land_cover_map, "-o", project, "--layer", "cover", "--overwrite")
    with closing(sqlite3.connect(project)) as database:
        assert database.execute("SELECT text FROM notes").fetchall() == [("keep me",), ("new",)]
    assert len(gpd.read_file(project, layer="cover")) == 4


def test_a_name_that_differs_in_case_only_is_refused(project, land_cover_map):
    before = project.read_bytes()
    result = run(
        "vectorize", land_cover_map, "-o", project, "--layer", "Parcels", "--overwrite", code=2
    )
    assert "--layer parcels" in result.stderr
    assert project.read_bytes() == before


def test_a_run_that_fails_leaves_all_layers_as_they_were(project, tmp_path):
    before = project.read_bytes()
    empty = write_geotiff(tmp_path / "empty.tif", np.full((9, 9), 255, np.uint8), nodata=255)
    run("vectorize", empty, "-o", project, "--layer", "parcels", "--overwrite", code=1)
    assert project.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.tif", "project.gpkg"]


def test_a_file_that_is_no_geopackage_is_replaced_as_a_whole(tmp_path, land_cover_map):
    out = tmp_path / "out.gpkg"
    out.write_bytes(b"not a database")
    run("vectorize", land_cover_map, "-o", out, "--overwrite")
    assert len(gpd.read_file(out, layer="landcover")) == 4
