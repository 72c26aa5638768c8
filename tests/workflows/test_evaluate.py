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

from hyseg_cli.cli import cli
from hyseg_cli.console import Silence
from hyseg_cli.geo.grid import TileGrid, Window
from hyseg_cli.learn.seams import describe_tiles
from hyseg_cli.settings.evaluate import EvaluateSettings
from hyseg_cli.workflows import evaluate as workflow

COLORS = ["#ff0000", "#00ff00", "#0000ff", "#ffff00"]


def run(*arguments):
    return CliRunner().invoke(cli, ["evaluate", *(str(part) for part in arguments)])


def numbers(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def legend_of(names):
    classes = [
        {"id": value, "name": name, "color": COLORS[i]} for i, (name, value) in enumerate(names)
    ]
    return {"classes": classes}


@pytest.fixture
def truth(scene_folder):
    return scene_folder / "labels" / "east.tif"


@pytest.fixture
def legend_file(scene_folder):
    return scene_folder / "legend.json"


@pytest.fixture
def write_map(write_raster):
    """A class raster that carries its legend, classes as name=id."""

    def write(array, name="map.tif", tags=None, *, place=None, **names):
        names = names or {"land": 1, "water": 2, "road": 3}
        place = {} if place is None else place
        path = write_raster(np.asarray(array, np.uint8), name, nodata=255, **place)
        with rasterio.open(path, "r+") as file:
            legend = json.dumps(legend_of(names.items()))
            file.update_tags(HYSEG_LEGEND=legend, **(tags or {}))
        return path

    return write


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


def test_absent_classes_are_not_scored(write_map):
    path = write_map(np.ones((9, 9)))
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


def test_kappa_is_shown_only_when_asked_for_and_with_a_note(write_map):
    path = write_map([[1, 2], [2, 2]])
    assert "kappa" not in numbers(path, "--reference", path)
    assert "kappa" not in run(path, "--reference", path).stdout
    assert numbers(path, "--reference", path, "--kappa")["kappa"] == 1.0
    assert "Pontius" in run(path, "--reference", path, "--kappa").stdout


def test_excluded_classes_are_left_out_of_the_means_alone(write_map):
    path = write_map([[1, 2, 3, 3]])
    truth = write_map([[1, 1, 3, 3]], "truth.tif")
    values = numbers(path, "--reference", truth, "--exclude", "water")
    assert values["miou"] == pytest.approx((1 / 2 + 1) / 2)
    assert values["overall_accuracy"] == pytest.approx(3 / 4)
    assert values["excluded_from_means"] == ["water"]
    wrong = run(path, "--reference", truth, "--exclude", "sea")
    assert (wrong.exit_code, "land, water, road" in wrong.stderr) == (2, True)


# ---- legends and polygons -------------------------------------------------------------------


def test_classes_are_matched_by_name_not_by_id(write_map):
    path = write_map([[1, 2], [3, 3]])
    other = write_map([[7, 1], [2, 2]], "other.tif", Land=7, WATER=1, road=2)
    assert numbers(path, "--reference", other)["overall_accuracy"] == 1.0


def test_names_in_a_side_car_count_too(write_map, write_raster):
    path = write_map([[1, 2], [3, 3]])
    other = write_raster(np.array([[0, 1], [2, 2]], np.uint8), "other.tif")
    names = "".join(f"<Category>{name}</Category>" for name in ("land", "water", "road"))
    other.with_name("other.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1">'
        f"<CategoryNames>{names}</CategoryNames></PAMRasterBand></PAMDataset>"
    )
    assert numbers(path, "--reference", other)["overall_accuracy"] == 1.0


def test_classes_can_be_merged_and_left_out(tmp_path, write_map):
    path = write_map([[1, 2, 3, 3]])
    other = write_map([[5, 6, 7, 8]], "other.tif", land=5, lake=6, river=7, cloud=8)
    merging = tmp_path / "classes.json"
    merging.write_text('{"lake": "water", "river": "water", "road": "water", "cloud": null}')
    values = numbers(path, "--reference", other, "--map-classes", merging)
    assert list(values["classes"]) == ["land", "water"]
    assert values["confusion"] == [[1, 0], [0, 2]]
    assert values["not_compared"] == {"pixels": 0, "classes": []}


def test_reference_values_outside_the_legend_are_counted_and_told(write_map, write_raster):
    path = write_map([[1, 2, 3, 3]])
    named = write_map([[1, 2, 9, 9]], "named.tif", land=1, water=2, cloud=9)
    plain = write_raster(np.array([[1, 2, 77, 255]], np.uint8), "plain.tif")
    for truth, pixels, name in ((named, 2, "cloud"), (plain, 1, "77")):
        result = run(path, "--reference", truth, "--json")
        assert f"{pixels} pixels of the reference are not compared" in result.stderr
        values = json.loads(result.stdout)
        assert values["not_compared"] == {"pixels": pixels, "classes": [name]}
        assert values["pixels"] == 2


def test_a_class_that_the_map_lacks_and_no_pixel_has_does_no_harm(write_map):
    path = write_map(np.ones((9, 9)))
    result = run(path, "--reference", write_map(np.full((9, 9), 7), "r.tif", land=7, sea=2))
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
def test_polygons_are_a_reference_by_name_or_id(tmp_path, write_map, classes):
    array = np.full((4, 6), 1)
    array[:, 3:] = 2
    values = numbers(
        write_map(array), "--reference", polygon_file(tmp_path, classes), "--class-field", "kind"
    )
    # Four columns are labelled; the third is land in the map, water in the polygons.
    assert values["confusion"] == [[8, 0, 0], [4, 4, 0], [0, 0, 0]]


def test_polygons_in_another_crs_and_of_unknown_classes(tmp_path, write_map):
    path = write_map(np.ones((4, 6)))
    truth = polygon_file(tmp_path, ["land", "sand"], "EPSG:4326")
    result = run(path, "--reference", truth, "--class-field", "kind", "--json")
    assert "8 pixels of the reference are not compared: the map has no class sand" in result.stderr
    assert json.loads(result.stdout)["pixels"] == 8
    assert "--class-field" in run(path, "--reference", truth).stderr


def test_a_reference_of_colours_is_read_by_the_legend(write_map, write_raster):
    path = write_map([[1, 2, 3, 3]])
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
def test_references_that_cannot_be_compared_are_told(write_map, make, words):
    path = write_map(np.ones((9, 9)))
    result = run(path, "--reference", make(write_map))
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Hint: " in result.stderr


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_reference_with_a_crs_but_no_transform_has_no_place(write_map):
    path = write_map(np.ones((9, 9)))
    result = run(path, "--reference", write_map(np.ones((9, 9)), "r.tif", place=NOWHERE))
    assert result.exit_code == 1
    assert "one has no place" in result.stderr


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
def test_a_file_of_classes_that_means_nothing_is_refused(tmp_path, write_map, text, words):
    path, merging = write_map(np.ones((9, 9))), tmp_path / "classes.json"
    if text is not None:
        merging.write_text(text)
    result = run(path, "--reference", path, "--map-classes", merging)
    assert result.exit_code == 2, result.stderr
    assert words in result.stderr


# ---- structure and seams --------------------------------------------------------------------


@pytest.fixture
def pair(write_map):
    """A blocky truth and a map that is wrong in places, with some unknown pixels in each."""
    rng = np.random.default_rng(4)
    truth = np.kron(rng.integers(1, 4, (30, 40)), np.ones((10, 9), int))
    found = np.roll(truth, 1, axis=1)
    found[rng.random(found.shape) < 0.01] = 1
    truth[20:30, 50:80], found[100:110, :40] = 255, 255
    return write_map(found), write_map(truth, "truth.tif")


def test_pixel_and_boundary_scores_do_not_depend_on_the_patches(pair):
    path, truth = pair
    whole, cut = (
        numbers(path, "--reference", truth, "--structure", "--patch-size", size)
        for size in (1000, 64)
    )
    for name in ("miou", "overall_accuracy", "confusion", "boundary_iou", "boundary_f1"):
        assert whole[name] == cut[name]
    assert whole["patches"] == 1
    assert cut["patches"] == 5 * 6


def test_a_map_has_the_structure_of_itself(pair):
    values = numbers(pair[1], "--reference", pair[1], "--structure", "--patch-size", 100)
    assert values["cldice"] == values["boundary_iou"] == values["boundary_f1"] == 1.0
    assert values["b0_error"] == values["b1_error"] == 0.0
    assert values["standard_errors"] == {"cldice": 0.0, "b0_error": 0.0, "b1_error": 0.0}
    assert values["pieces_per_mpx"] == values["reference_pieces_per_mpx"]


def test_betti_errors_and_pieces_counted_by_hand(write_map):
    truth = np.ones((6, 100), int)
    truth[1:4, 1:4], truth[2, 2] = 2, 1  # a ring of water round a pixel of land
    found = truth.copy()
    found[2, 3], found[5, 90] = 1, 2  # the ring is broken, and there is one piece more
    path, reference = write_map(found), write_map(truth, "truth.tif")
    values = numbers(path, "--reference", reference, "--structure", "--patch-size", 100)
    # Land: the pixel in the ring joins the rest (2 pieces become 1) and no hole but the ring's.
    land, water = values["classes"]["land"], values["classes"]["water"]
    assert (land["b0_error"], land["b1_error"]) == (1.0, 0.0)
    assert (water["b0_error"], water["b1_error"]) == (1.0, 1.0)
    assert values["b0_error"] == 1.0
    assert values["b1_error"] == 0.5
    assert water["pieces_per_mpx"] == pytest.approx(2 / 600 * 1e6)
    assert water["reference_pieces_per_mpx"] == pytest.approx(1 / 600 * 1e6)


def test_a_tolerance_in_metres_is_one_in_pixels(pair):
    path, truth = pair  # pixels of half a metre, on the ellipsoid nearly
    near, far = (
        numbers(path, "--reference", truth, "--structure", "--boundary", width)
        for width in ("2px", "1.05m")
    )
    assert near["boundary_iou"] == far["boundary_iou"]
    assert far["boundary_px"] == pytest.approx(2.1, rel=0.001)
    result = run(path, "--reference", truth, "--structure", "--boundary", "0.1m")
    assert result.exit_code == 2
    assert "pixels of 0.50 m" in result.stderr


def tiled(write_map, seam, *, tags=True):
    """A map of tiles of 64 pixels without overlap, each shifted by `seam` against the last."""
    rng = np.random.default_rng(1)
    truth = np.kron(rng.integers(1, 4, (40, 40)), np.ones((16, 16), int))
    found = truth.copy()
    for row in range(0, 640, 64):
        for col in range(0, 640, 64):
            part = truth[row : row + 64, col : col + 64]
            found[row : row + 64, col : col + 64] = np.roll(part, seam, (0, 1))
    whole = Window(0, 0, 640, 640)
    made = {"HYSEG_TILES": describe_tiles(TileGrid.cover(640, 640, tile=64, overlap=0), whole)}
    return write_map(found, tags=made if tags else {}), write_map(truth, "truth.tif")


def test_tiles_that_do_not_fit_show_as_seams(write_map):
    path, truth = tiled(write_map, 8)
    seams = numbers(path, "--reference", truth, "--patch-size", 64)["seams"]
    assert seams["ratio"] > 2
    assert seams["low"] > 1.5
    result = run(path, "--reference", truth)
    assert "times as often" in result.stdout


def test_a_map_that_does_not_tell_its_tiles_has_no_seams(write_map):
    path, truth = tiled(write_map, 8, tags=False)
    assert "seams" not in numbers(path, "--reference", truth)


@pytest.mark.parametrize("shape", [(640, 600), (640, 700), (600, 640), (700, 640)])
def test_the_tiles_of_a_map_are_not_those_of_what_was_cut_or_joined_from_it(write_map, shape):
    """GDAL's programs copy the tags of a map to what they make of it."""
    path, truth = tiled(write_map, 8)
    with rasterio.open(path) as made, rasterio.open(truth) as real:
        tags = {"HYSEG_TILES": made.tags()["HYSEG_TILES"]}
        other = write_map(np.resize(made.read(1), shape), "other.tif", tags)
        truth = write_map(np.resize(real.read(1), shape), "other_truth.tif")
    assert "seams" not in numbers(other, "--reference", truth)


OUTSIDE = describe_tiles(TileGrid.cover(64, 64, tile=64, overlap=0), Window(0, 60, 9, 9))


@pytest.mark.parametrize("tag", ['{"rows": "many"}', OUTSIDE])
def test_a_damaged_tag_of_tiles_is_told(write_map, tag):
    path = write_map(np.ones((9, 9)), tags={"HYSEG_TILES": tag})
    result = run(path, "--reference", path)
    assert result.exit_code == 1
    assert "HYSEG_TILES" in result.stderr


# ---- comparison -----------------------------------------------------------------------------


def test_two_maps_are_compared_on_the_pixels_that_both_know(pair, write_map):
    path, truth = pair
    with rasterio.open(truth) as file:
        better = file.read(1)
    better[:, :5] = 255
    better[200:210] = 1
    other = write_map(better, "better.tif")
    values = numbers(path, other, "--reference", truth, "--structure", "--patch-size", 64)
    first, second = values["maps"]
    assert first["pixels"] == second["pixels"]
    alone = numbers(path, "--reference", truth)
    assert first["pixels"] < alone["pixels"]
    differences = {(d["metric"], d["class"]): d for d in values["differences"]}
    gain = differences["miou", None]
    assert gain["difference"] == pytest.approx(second["miou"] - first["miou"])
    assert gain["low"] < gain["difference"] < gain["high"]
    assert gain["more_than_chance"]
    for metric in ("mf1", "fwiou", "boundary_iou", "boundary_f1", "cldice", "b0_error", "b1_error"):
        assert differences[metric, None]["first"] == pytest.approx(first[metric])
        assert differences[metric, None]["second"] == pytest.approx(second[metric])
    assert differences["iou", "road"]["first"] == pytest.approx(first["classes"]["road"]["iou"])


def test_a_map_is_no_better_than_itself(pair):
    path, truth = pair
    result = run(path, path, "--reference", truth)
    assert result.exit_code == 0
    assert "more than chance" not in result.stdout
    assert "rest on 1 patches only" in result.stderr
    values = numbers(path, path, "--reference", truth, "--patch-size", 64)
    assert {d["difference"] for d in values["differences"]} == {0.0}


def test_a_second_map_on_another_grid_is_read_on_that_of_the_first(write_map):
    path = write_map(np.ones((8, 8)))
    place = {"transform": from_origin(500_000, 5_400_000, 1, 1)}
    coarse = write_map(np.full((4, 4), 2), "coarse.tif", place=place)
    first, second = numbers(path, coarse, "--reference", path)["maps"]
    assert first["confusion"] == [[64, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert second["confusion"] == [[0, 64, 0], [0, 0, 0], [0, 0, 0]]


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
def test_scores_below_a_threshold_fail(write_map, threshold, code):
    path = write_map([[1, 1, 1, 2, 2, 2]])
    truth = write_map([[1, 1, 1, 1, 2, 2]], "truth.tif")
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


def test_evaluating_maps_does_not_load_torch(write_map):
    path = write_map(np.ones((9, 9)))
    program = """
import sys
from hyseg_cli.cli import cli
try:
    cli(["evaluate", sys.argv[1], "--reference", sys.argv[1], "--structure"])
except SystemExit as exit:
    assert exit.code == 0, exit.code
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True)


# ---- models ---------------------------------------------------------------------------------


def test_a_model_scores_as_the_maps_that_it_makes(tmp_path, scene_folder, tiny_model):
    tiles = ["--tile-size", "128", "--overlap", "32"]
    image, label = scene_folder / "images" / "east.tif", scene_folder / "labels" / "east.tif"
    out = tmp_path / "map.tif"
    drawn = CliRunner().invoke(
        cli, ["predict", str(image), "--model", str(tiny_model), "--out", str(out), *tiles]
    )
    assert drawn.exit_code == 0, drawn.stderr
    of_map = numbers(out, "--reference", label, "--structure", "--patch-size", 64)
    of_model = numbers(
        *("--images", image, "--labels", label, "--model", tiny_model, *tiles),
        *("--structure", "--patch-size", 64),
    )
    share = of_model.pop("overlap_disagreement")
    assert 0 <= share < 1
    assert {**of_model, "name": 0, "reference": 0} == {**of_map, "name": 0, "reference": 0}


def test_a_model_is_measured_on_all_scenes_together(scene_folder, tiny_model):
    settings = EvaluateSettings(
        images=scene_folder / "images", labels=scene_folder / "labels", model=tiny_model
    )
    both = workflow.run(settings, Silence())
    single = [
        workflow.run(
            EvaluateSettings(
                images=scene_folder / "images" / f"{name}.tif",
                labels=scene_folder / "labels" / f"{name}.tif",
                model=tiny_model,
            ),
            Silence(),
        )
        for name in ("east", "west")
    ]
    np.testing.assert_array_equal(both.confusion, sum(part.confusion for part in single))
    assert both.patches.places[:, 0].tolist() == [0, 1]
    assert both.overlap_disagreement is None  # one tile each


def test_a_benchmark_leaves_out_of_its_means_what_its_protocol_leaves_out(tmp_path, tiny_model):
    rng = np.random.default_rng(0)
    labels = np.zeros((96, 64, 3), np.uint8)
    labels[:, :20], labels[:, 20:40] = (255, 0, 0), (0, 0, 255)  # clutter, building, unlabelled
    for name, pixels in (("RGB", rng.integers(0, 255, labels.shape)), ("label", labels)):
        path = tmp_path / f"top_potsdam_2_10_{name}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", width=64, height=96, count=3, dtype="uint8",
            crs="EPSG:32632", transform=from_origin(5e5, 5.4e6, 0.05, 0.05), photometric="RGB",
        ) as file:  # fmt: skip
            file.write(np.moveaxis(pixels, -1, 0).astype(np.uint8))
    # The model of the tests knows land, not clutter.
    merging = tmp_path / "classes.json"
    merging.write_text('{"land": "clutter"}')
    arguments = ["--benchmark", "potsdam", "--root", tmp_path, "--model", tiny_model]
    values = numbers(*arguments, "--map-classes", merging, "-q")
    assert values["reference"] == "ISPRS Potsdam val"
    assert values["excluded_from_means"] == ["clutter"]
    assert values["pixels"] == 40 * 96
    scored = [
        scores["iou"]
        for name, scores in values["classes"].items()
        if name != "clutter" and scores["iou"] is not None
    ]
    assert values["miou"] == pytest.approx(np.mean(scored))


def test_a_map_agrees_with_its_own_polygons(tmp_path, write_map):
    # A GeoPackage of ours has a layer of styles beside that of polygons.
    rng = np.random.default_rng(3)
    path = write_map(rng.integers(1, 4, (8, 9)).astype(np.uint8).repeat(9, 0).repeat(9, 1))
    polygons = tmp_path / "polygons.gpkg"
    made = CliRunner().invoke(cli, ["vectorize", str(path), "--out", str(polygons)])
    assert made.exit_code == 0, made.output
    assert numbers(path, "--reference", polygons, "--class-field", "class_name")["miou"] == 1.0


def test_a_reference_of_several_layers_is_refused(tmp_path, write_map):
    path, layers = write_map(np.ones((9, 9), np.uint8)), tmp_path / "layers.gpkg"
    square = gpd.GeoDataFrame(
        {"class": ["1"]}, geometry=[shapely.box(500_000, 5_399_998, 500_002, 5_400_000)], crs=32632
    )
    for name in ("old", "new"):
        square.to_file(layers, layer=name)
    result = run(path, "--reference", layers)
    assert result.exit_code == 2
    assert "has 2 layers with geometry: old, new" in result.stderr
