"""`hyseg change`: counts by hand, the map of changes against one pass over whole arrays."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin
from rasters import write_geotiff

from hyseg_cli.cli.group import cli
from hyseg_cli.legend import NODATA_ID

NAMES = ("water", "land", "road")
LEGEND = {
    "classes": [
        {"id": value, "name": name, "color": color}
        for value, (name, color) in enumerate(
            zip(NAMES, ("#0000ff", "#00ff00", "#ff0000"), strict=True)
        )
    ]
}


@pytest.fixture
def legend(tmp_path):
    path = tmp_path / "legend.json"
    path.write_text(json.dumps(LEGEND))
    return path


@pytest.fixture
def maps(tmp_path, legend):
    """Write two maps and return the words that compare them."""

    def write(old, new, **place):
        for name, classes in (("old.tif", old), ("new.tif", new)):
            profile = place if name == "new.tif" else {}
            write_geotiff(tmp_path / name, np.array(classes, np.uint8), nodata=255, **profile)
        return ["change", tmp_path / "old.tif", tmp_path / "new.tif", "--legend", legend]

    return write


def run(*words, code=0):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def told(*words):
    return json.loads(run(*words, "--json").stdout)


def test_changes_are_counted_as_by_hand(maps):
    """Pixels are 0.25 m2: two from water to land, one back, one unknown in each map."""
    old = [[0, 0, 0, 255], [1, 1, 2, 2]]
    new = [[0, 1, 1, 1], [1, 0, 2, 255]]
    found = told(*maps(old, new))
    assert found["classes"] == list(NAMES)
    assert found["pixels"] == [[1, 2, 0], [1, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(found["hectares"], np.array(found["pixels"]) * 0.25 / 1e4)
    assert found["unknown_pixels"] == 2
    assert [(c["name"], c["pixels"]) for c in found["changes"]] == [
        ("water to land", 2),
        ("land to water", 1),
    ]


def test_the_map_of_changes_shows_each_pixel_by_what_became_of_it(maps, tmp_path):
    rng = np.random.default_rng(1)
    old, new = rng.choice([0, 1, 2, 255], (2, 90, 70)).astype(np.uint8)
    words = maps(old, new)
    found = told(*words, "--out", tmp_path / "change.tif", "--style")
    with rasterio.open(tmp_path / "change.tif") as file:
        values = file.read(1)
        assert file.nodata == NODATA_ID
        assert file.transform == from_origin(500_000, 5_400_000, 0.5, 0.5)
    unknown = (old == 255) | (new == 255)
    np.testing.assert_array_equal(values == NODATA_ID, unknown)
    np.testing.assert_array_equal(values == 0, ~unknown & (old == new))
    for change in found["changes"]:
        wanted = (old == NAMES.index(change["old"])) & (new == NAMES.index(change["new"]))
        np.testing.assert_array_equal(values == change["id"], wanted)
    assert (tmp_path / "change.qml").is_file()
    assert not list(tmp_path.glob("change.tif.hyseg*"))


def test_a_map_of_changes_is_a_map_whose_areas_a_sample_gives(maps, tmp_path):
    rng = np.random.default_rng(2)
    old, new = rng.choice(2, (2, 200, 200)).astype(np.uint8)
    run(*maps(old, new), "--out", tmp_path / "change.tif")
    names = {entry["name"] for entry in told("info", tmp_path / "change.tif")["classes"]}
    assert names == {"unchanged", "water to land", "land to water"}
    drawn = told("sample", tmp_path / "change.tif", "--out", tmp_path / "points.gpkg")
    assert {stratum["name"] for stratum in drawn["strata"]} == names


@pytest.mark.parametrize("strip", [1, 7 * 70, 2**23])
def test_the_height_of_strips_changes_nothing(maps, tmp_path, monkeypatch, strip):
    monkeypatch.setattr("hyseg_cli.workflows.evaluate.change.STRIP_PIXELS", strip)
    rng = np.random.default_rng(3)
    old, new = rng.choice(3, (2, 90, 70)).astype(np.uint8)
    found = told(*maps(old, new), "--out", tmp_path / "change.tif")
    wanted = [[int(((old == a) & (new == b)).sum()) for b in range(3)] for a in range(3)]
    assert found["pixels"] == wanted


def test_areas_are_those_on_the_ellipsoid(maps):
    place = {"crs": "EPSG:4326", "transform": from_origin(10, 60, 0.001, 0.001)}
    words = maps(np.zeros((40, 50)), np.ones((40, 50)), **place)
    write_geotiff(words[1], np.zeros((40, 50), np.uint8), nodata=255, **place)
    (change,) = told(*words)["changes"]
    # 0.05 degrees of longitude at 60 N are 2.79 km, 0.04 of latitude 4.457 km.
    assert change["hectares"] == pytest.approx(279.2 * 4.457, rel=0.005)


def test_the_new_map_may_have_another_grid(maps, tmp_path):
    words = maps(
        np.zeros((40, 40)),
        np.repeat(np.repeat(np.array([[0, 1], [2, 0]]), 10, 0), 10, 1),
        transform=from_origin(500_000, 5_400_000, 1.0, 1.0),
    )
    assert told(*words)["pixels"][0] == [800, 400, 400]


def test_classes_may_be_merged(maps, tmp_path):
    (tmp_path / "merge.json").write_text('{"road": "land"}')
    words = maps([[1, 2, 0]], [[2, 1, 2]])
    found = told(*words, "--map-classes", tmp_path / "merge.json")
    assert found["classes"] == ["water", "land"]
    assert found["pixels"] == [[0, 1], [0, 2]]


def test_the_table_has_a_line_for_what_became_of_each_class(maps, tmp_path):
    run(*maps([[0, 0, 1]], [[0, 1, 1]]), "--csv", tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        rows = [(row["old"], row["new"], row["pixels"]) for row in csv.DictReader(file)]
    assert rows == [("water", "water", "1"), ("water", "land", "1"), ("land", "land", "1")]


def test_text_says_what_each_class_lost_and_won(maps):
    lines = run(*maps([[0, 0, 1, 1]], [[0, 1, 1, 1]])).stdout.splitlines()
    assert lines[0].endswith("(25.00 %)")
    assert any(line.split()[1:4] == ["water", "to", "land"] for line in lines)


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--style"], 2, "--out change.tif"),
        (["--out", "change.png"], 2, "GeoTIFF"),
        (["--out", "{old}"], 3, "exists"),
        (["--out", "{old}", "--overwrite"], 2, "would replace"),
    ],
)
def test_what_cannot_be_done_is_an_error_with_a_hint(maps, tmp_path, more, code, said):
    words = maps([[0, 1]], [[1, 1]])
    result = run(*words, *[word.format(old=words[1]) for word in more], code=code)
    assert said in result.output
    assert not (tmp_path / "change.tif").exists()


def test_too_many_kinds_of_change_for_a_map_are_refused(tmp_path):
    many = {"classes": [{"id": i, "name": f"c{i}", "color": f"#0000{i:02x}"} for i in range(20)]}
    (tmp_path / "legend.json").write_text(json.dumps(many))
    old, new = np.meshgrid(np.arange(20, dtype=np.uint8), np.arange(20, dtype=np.uint8))
    for name, classes in (("old.tif", old), ("new.tif", new)):
        write_geotiff(tmp_path / name, classes, nodata=255)
    words = ["change", tmp_path / "old.tif", tmp_path / "new.tif"]
    words += ["--legend", tmp_path / "legend.json"]
    result = run(*words, "--out", tmp_path / "change.tif", code=1)
    assert "380 kinds of change" in result.output
    assert len(told(*words)["changes"]) == 380
