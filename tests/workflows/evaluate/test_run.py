"""`hyseg evaluate` from the command line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from rasterio.transform import from_origin
from workflows.evaluating import numbers, run

from hyseg_cli.cli.group import cli


@pytest.fixture
def truth(scene_folder):
    return scene_folder / "labels" / "east.tif"


@pytest.fixture
def legend_file(scene_folder):
    return scene_folder / "legend.json"


# ---- agreement ------------------------------------------------------------------------------


def test_a_map_agrees_with_itself(truth, legend_file):
    values = numbers(truth, "--reference", truth, "--legend", legend_file)
    assert values["miou"] == 1.0
    assert values["overall_accuracy"] == 1.0
    with rasterio.open(truth) as file:
        assert values["pixels"] == (file.read(1) != 255).sum()


def test_the_reference_is_read_on_the_grid_of_the_map(tmp_path, truth, legend_file):
    # The same labels at twice the pixel size and in another CRS, shifted out on one side.
    with rasterio.open(truth) as file:
        labels = file.read(1)
        west, north = file.bounds.left, file.bounds.top
    coarse = tmp_path / "coarse.tif"
    with rasterio.open(
        coarse,
        "w",
        driver="GTiff",
        width=100,
        height=128,
        count=1,
        dtype="uint8",
        nodata=255,
        crs="EPSG:32632",
        transform=from_origin(west, north, 1.0, 1.0),
    ) as file:
        file.write(labels[::2, 0:200:2], 1)
    values = numbers(truth, "--reference", coarse, "--legend", legend_file)
    # Only where the coarse reference lies, and every even pixel agrees.
    expected = np.kron(labels[::2, 0:200:2], np.ones((2, 2), np.uint8))
    known = (expected != 255) & (labels[:, :200] != 255)
    agreement = (expected == labels[:, :200])[known].mean()
    assert values["pixels"] == known.sum()
    assert values["overall_accuracy"] == pytest.approx(agreement)


def test_absent_classes_are_not_scored(named_map):
    path = named_map(np.ones((9, 9)))
    result = run(path, "--reference", path, "--structure")
    assert result.exit_code == 0
    tables = result.stdout.split("\n\n")
    rows = [
        {line.split()[0]: line.split()[1:] for line in table.splitlines()} for table in tables[:2]
    ]
    assert rows[0]["land"] == ["1.000"] * 4
    assert rows[0]["water"] == ["n/a"] * 4
    assert rows[1]["water"][:5] == ["n/a"] * 5
    values = numbers(path, "--reference", path, "--structure")
    assert values["classes"]["water"]["iou"] is None
    assert values["classes"]["water"]["cldice"] is None
    assert values["classes"]["land"]["boundary_iou"] is None  # it has no boundary


def test_kappa_is_shown_only_when_asked_for_and_with_a_note(named_map):
    path = named_map([[1, 2], [2, 2]])
    assert "kappa" not in numbers(path, "--reference", path)
    assert "kappa" not in run(path, "--reference", path).stdout
    assert numbers(path, "--reference", path, "--kappa")["kappa"] == 1.0
    assert "Pontius" in run(path, "--reference", path, "--kappa").stdout


def test_excluded_classes_are_left_out_of_the_means_alone(named_map):
    path = named_map([[1, 2, 3, 3]])
    truth = named_map([[1, 1, 3, 3]], "truth.tif")
    values = numbers(path, "--reference", truth, "--exclude", "water")
    assert values["miou"] == pytest.approx((1 / 2 + 1) / 2)
    assert values["overall_accuracy"] == pytest.approx(3 / 4)
    assert values["excluded_from_means"] == ["water"]
    wrong = run(path, "--reference", truth, "--exclude", "sea")
    assert (wrong.exit_code, "land, water, road" in wrong.stderr) == (2, True)


# ---- legends and polygons -------------------------------------------------------------------


def test_classes_are_matched_by_name_not_by_id(named_map):
    path = named_map([[1, 2], [3, 3]])
    other = named_map([[7, 1], [2, 2]], "other.tif", Land=7, WATER=1, road=2)
    assert numbers(path, "--reference", other)["overall_accuracy"] == 1.0


def test_names_in_a_side_car_count_too(named_map, write_raster):
    path = named_map([[1, 2], [3, 3]])
    other = write_raster(np.array([[0, 1], [2, 2]], np.uint8), "other.tif")
    names = "".join(f"<Category>{name}</Category>" for name in ("land", "water", "road"))
    other.with_name("other.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1">'
        f"<CategoryNames>{names}</CategoryNames></PAMRasterBand></PAMDataset>"
    )
    assert numbers(path, "--reference", other)["overall_accuracy"] == 1.0


def test_classes_can_be_merged_and_left_out(tmp_path, named_map):
    path = named_map([[1, 2, 3, 3]])
    other = named_map([[5, 6, 7, 8]], "other.tif", land=5, lake=6, river=7, cloud=8)
    merging = tmp_path / "classes.json"
    merging.write_text('{"lake": "water", "river": "water", "road": "water", "cloud": null}')
    values = numbers(path, "--reference", other, "--map-classes", merging)
    assert list(values["classes"]) == ["land", "water"]
    assert values["confusion"] == [[1, 0], [0, 2]]
    assert values["not_compared"] == {"pixels": 0, "classes": []}


def test_reference_values_outside_the_legend_are_counted_and_told(named_map, write_raster):
    path = named_map([[1, 2, 3, 3]])
    named = named_map([[1, 2, 9, 9]], "named.tif", land=1, water=2, cloud=9)
    plain = write_raster(np.array([[1, 2, 77, 255]], np.uint8), "plain.tif")
    for truth, pixels, name in ((named, 2, "cloud"), (plain, 1, "77")):
        result = run(path, "--reference", truth, "--json")
        assert f"{pixels} pixels of the reference are not compared" in result.stderr
        values = json.loads(result.stdout)
        assert values["not_compared"] == {"pixels": pixels, "classes": [name]}
        assert values["pixels"] == 2


def test_a_class_that_the_map_lacks_and_no_pixel_has_does_no_harm(named_map):
    path = named_map(np.ones((9, 9)))
    result = run(path, "--reference", named_map(np.full((9, 9), 7), "r.tif", land=7, sea=2))
    assert result.exit_code == 0
    assert "Warning" not in result.stderr


def polygon_file(tmp_path, classes, crs="EPSG:32632"):
    """Columns of two pixels of `write_raster`'s grid, from the left."""
    boxes = [
        shapely.box(500_000 + i, 5_400_000 - 4, 500_001 + i, 5_400_000) for i in range(len(classes))
    ]
    path = tmp_path / "truth.gpkg"
    gpd.GeoDataFrame({"kind": classes}, geometry=boxes, crs="EPSG:32632").to_crs(crs).to_file(path)
    return path


@pytest.mark.parametrize("classes", [["land", "water", None], ["1", "2", None], [1, 2, None]])
def test_polygons_are_a_reference_by_name_or_id(tmp_path, named_map, classes):
    array = np.full((4, 6), 1)
    array[:, 3:] = 2
    values = numbers(
        named_map(array), "--reference", polygon_file(tmp_path, classes), "--class-field", "kind"
    )
    # Four columns are labelled; the third is land in the map, water in the polygons.
    assert values["confusion"] == [[8, 0, 0], [4, 4, 0], [0, 0, 0]]


def test_polygons_in_another_crs_and_of_unknown_classes(tmp_path, named_map):
    path = named_map(np.ones((4, 6)))
    truth = polygon_file(tmp_path, ["land", "sand"], "EPSG:4326")
    result = run(path, "--reference", truth, "--class-field", "kind", "--json")
    assert "8 pixels of the reference are not compared: the map has no class sand" in result.stderr
    assert json.loads(result.stdout)["pixels"] == 8
    assert "--class-field" in run(path, "--reference", truth).stderr


def test_a_reference_of_colours_is_read_by_the_legend(named_map, write_raster):
    path = named_map([[1, 2, 3, 3]])
    colors = np.zeros((3, 1, 4), np.uint8)
    colors[0, 0, 0], colors[1, 0, 1], colors[2, 0, 2:] = 255, 255, 255
    assert numbers(path, "--reference", write_raster(colors, "c.tif"))["overall_accuracy"] == 1.0


ELSEWHERE = {"transform": from_origin(0, 9e5, 1, 1)}
NOWHERE = {"transform": rasterio.Affine.identity()}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda w: w(np.ones((9, 9)), "r.tif", sand=1, rock=2), "no class in common"),
        (lambda w: w(np.ones((2, 9, 9)), "r.tif"), "has 2 bands"),
        (lambda w: w(np.ones((9, 9)), "r.tif", place=ELSEWHERE), "do not overlap"),
        (lambda w: w(np.full((9, 9), 255), "r.tif"), "no labelled pixel in common"),
    ],
)
def test_references_that_cannot_be_compared_are_told(named_map, make, words):
    path = named_map(np.ones((9, 9)))
    result = run(path, "--reference", make(named_map))
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Hint: " in result.stderr


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_reference_with_a_crs_but_no_transform_has_no_place(named_map):
    path = named_map(np.ones((9, 9)))
    result = run(path, "--reference", named_map(np.ones((9, 9)), "r.tif", place=NOWHERE))
    assert result.exit_code == 1
    assert "one is not georeferenced" in result.stderr


def test_a_map_without_legend_asks_for_one(write_raster):
    path = write_raster(np.ones((1, 9, 9), np.uint8))
    result = run(path, "--reference", path)
    assert result.exit_code == 1
    assert "--legend" in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file"),
        ("{", "is not JSON"),
        ('["land"]', "holds no names"),
        ('{"land": 3}', "holds no names"),
        ('{"sea": "water"}', "has a class 'sea'"),
        ('{"land": null, "water": null, "road": null}', "leaves out every class"),
    ],
)
def test_a_file_of_classes_that_means_nothing_is_refused(tmp_path, named_map, text, words):
    path, merging = named_map(np.ones((9, 9))), tmp_path / "classes.json"
    if text is not None:
        merging.write_text(text)
    result = run(path, "--reference", path, "--map-classes", merging)
    assert result.exit_code == 2, result.stderr
    assert words in result.stderr


# ---- checks, tables, usage ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "code"),
    [
        ("miou=0.5", 0),
        ("miou=0.99", 5),
        ("iou.land=0.99", 5),
        ("iou.road=0.1", 5),  # it does not occur, so it is not reached
        ("overall_accuracy=0.8", 0),
        ("boundary_iou=0.5", 2),  # not without --structure
        ("shine=0.5", 2),
        ("iou.sea=0.5", 2),
        ("miou", 2),
        ("miou=much", 2),
    ],
)
def test_scores_below_a_threshold_fail(named_map, threshold, code):
    path = named_map([[1, 1, 1, 2, 2, 2]])
    truth = named_map([[1, 1, 1, 1, 2, 2]], "truth.tif")
    result = run(path, "--reference", truth, "--fail-under", threshold)
    assert result.exit_code == code, result.stderr
    assert ("overall accuracy" in result.stdout) == (code in (0, 5))
    if code == 5:
        assert threshold.partition("=")[0] in result.stderr


def test_the_csv_holds_what_the_json_holds(tmp_path, pair):
    path, truth = pair
    out = tmp_path / "scores.csv"
    values = numbers(path, "--reference", truth, "--structure", "--csv", out)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["metric"], row["class"]): float(row["value"]) for row in rows}
    assert found["miou", ""] == values["miou"]
    assert found["b1_error", "road"] == values["classes"]["road"]["b1_error"]
    assert {row["map"] for row in rows} == {str(path)}
    again = run(path, "--reference", truth, "--csv", out)
    assert (again.exit_code, "--overwrite" in again.stderr) == (3, True)
    assert run(path, path, "--reference", truth, "--csv", out, "--overwrite").exit_code == 0
    assert "second minus first,miou,,0.0," in out.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["map.tif"],
        ["--reference", "truth.tif"],
        ["a.tif", "b.tif", "c.tif", "--reference", "r.tif"],
        ["map.tif", "--reference", "r.tif", "--images", "i", "--labels", "l"],
        ["--images", "i"],
        ["--benchmark", "potsdam"],
        ["--benchmark", "potsdam", "--root", "r", "--images", "i", "--labels", "l"],
        ["map.tif", "--reference", "r.tif", "--model", "m.safetensors"],
        ["map.tif", "--reference", "r.tif", "--boundary", "3ha"],
        ["map.tif", "--reference", "r.tif", "--boundary", "0.5px"],
        ["--images", "i", "--labels", "l", "--boundary", "2m"],
        ["map.tif", "--reference", "r.tif", "--patch-size", "10"],
        ["map.tif", "--reference", "r.tif", "--csv", "scores.txt"],
        ["nowhere.tif", "--reference", "nothing.tif"],
    ],
)
def test_what_cannot_be_meant_is_refused(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Hint: " in result.stderr


def test_evaluating_maps_does_not_load_torch(named_map):
    path = named_map(np.ones((9, 9)))
    program = """
import sys
from hyseg_cli.cli.group import cli
try:
    cli(["evaluate", sys.argv[1], "--reference", sys.argv[1], "--structure"])
except SystemExit as exit:
    assert exit.code == 0, exit.code
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True)


def test_a_map_agrees_with_its_own_polygons(tmp_path, named_map):
    # A GeoPackage of ours has a layer of styles beside that of polygons.
    rng = np.random.default_rng(3)
    path = named_map(rng.integers(1, 4, (8, 9)).astype(np.uint8).repeat(9, 0).repeat(9, 1))
    polygons = tmp_path / "polygons.gpkg"
    made = CliRunner().invoke(cli, ["vectorize", str(path), "--out", str(polygons)])
    assert made.exit_code == 0, made.output
    assert numbers(path, "--reference", polygons, "--class-field", "class_name")["miou"] == 1.0


def test_a_reference_of_several_layers_is_refused(tmp_path, named_map):
    path, layers = named_map(np.ones((9, 9), np.uint8)), tmp_path / "layers.gpkg"
    square = gpd.GeoDataFrame(
        {"class": ["1"]}, geometry=[shapely.box(500_000, 5_399_998, 500_002, 5_400_000)], crs=32632
    )
    for name in ("old", "new"):
        square.to_file(layers, layer=name)
    result = run(path, "--reference", layers)
    assert result.exit_code == 2
    assert "has 2 layers with geometry: old, new" in result.stderr
