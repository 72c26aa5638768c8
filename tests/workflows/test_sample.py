"""`hyseg sample` and `hyseg evaluate --samples`, from the draw to the interval."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin

from hyseg_cli.cli.group import cli
from hyseg_cli.sampling.design import read_design

NAMES = {0: "water", 1: "land", 2: "road", 3: "building", 4: "vegetation"}


def run(*arguments):
    return CliRunner().invoke(cli, [str(part) for part in arguments])


def done(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


@pytest.fixture
def legend_file(tmp_path):
    path = tmp_path / "legend.csv"
    lines = [f"{i},{name},#{i:02d}4080" for i, name in NAMES.items()]
    path.write_text("\n".join(["id,name,color", *lines]), encoding="utf-8")
    return path


@pytest.fixture
def classes():
    rng = np.random.default_rng(11)
    return rng.choice([0, 1, 4, 255], (200, 150), p=[0.5, 0.3, 0.1, 0.1]).astype(np.uint8)


@pytest.fixture
def mapped(write_raster, classes):
    return write_raster(classes, "map.tif", transform=from_origin(5e5, 5.4e6, 10, 10))


@pytest.fixture
def truth(classes):
    """What an interpreter would find: a tenth of the map is wrong."""
    rng = np.random.default_rng(12)
    wrong = rng.choice([0, 1, 4], classes.shape)
    return np.where(rng.random(classes.shape) < 0.9, classes, wrong)


def interpret(path, truth, *, to=None, keep=lambda _: True):
    """Fill in the field of the reference class, as someone in a GIS would."""
    frame = gpd.read_file(path)
    places = frame.to_crs("EPSG:32632").geometry
    rows = ((5.4e6 - places.y) // 10).astype(int)
    cols = ((places.x - 5e5) // 10).astype(int)
    labels = [NAMES.get(int(c)) for c in truth[rows, cols]]
    frame["ref_class"] = [label if keep(i) else None for i, label in enumerate(labels)]
    save(frame, to or path)
    return frame


def save(frame, path):
    frame.to_file(path, layer="samples")


@pytest.fixture
def points(tmp_path, mapped, legend_file):
    path = tmp_path / "points.gpkg"
    done("sample", mapped, "--out", path, "--legend", legend_file, "--count", 600)
    return path


# ---- sample ----------------------------------------------------------------------------------


def test_points_stand_in_pixel_centres_and_tell_nothing(points, classes):
    frame = gpd.read_file(points)
    assert list(frame.columns) == ["sample_id", "ref_class", "geometry"]
    assert frame.ref_class.isna().all()
    assert frame.sample_id.tolist() == list(range(1, 601))
    assert frame.crs.to_epsg() == 32632
    x, y = frame.geometry.x - 5e5, 5.4e6 - frame.geometry.y
    assert np.allclose(x % 10, 5)
    assert np.allclose(y % 10, 5)
    found = classes[(y // 10).astype(int), (x // 10).astype(int)]
    assert 255 not in found
    # Their order does not tell the class either: neighbours differ as often as any two.
    shares = np.unique(found, return_counts=True)[1] / 600
    assert (found[1:] != found[:-1]).mean() == pytest.approx(1 - (shares**2).sum(), abs=0.08)


def test_the_design_knows_what_the_points_do_not(points, classes):
    design = read_design(points.with_name("points.design.json"))
    assert [(s.id, s.name) for s in design.strata] == [(0, "water"), (1, "land"), (4, "vegetation")]
    assert [s.pixels for s in design.strata] == [(classes == c).sum() for c in (0, 1, 4)]
    assert [s.area_m2 for s in design.strata] == [100.0 * s.pixels for s in design.strata]
    assert sum(s.points for s in design.strata) == 600
    assert design.is_probability_sample
    frame = gpd.read_file(points)
    for number, place in zip(frame.sample_id, frame.geometry, strict=True):
        point = design.points[number]
        assert (point.x, point.y) == (place.x, place.y)
        assert point.stratum == point.map_class
    assert design.from_json(design.to_json(), "again") == design


def test_the_same_seed_draws_the_same_points(tmp_path, mapped, points, legend_file):
    for seed, is_same in ((0, True), (1, False)):
        other = tmp_path / f"seed{seed}.gpkg"
        done("sample", mapped, "-o", other, "--legend", legend_file, "--count", 600,
             "--seed", seed)  # fmt: skip
        same = gpd.read_file(other).geometry.geom_equals(gpd.read_file(points).geometry)
        assert same.all() == is_same


@pytest.mark.parametrize("suffix", ["gpkg", "fgb", "parquet", "geojson", "geojsonl", "shp"])
def test_every_format_holds_the_same_points(tmp_path, mapped, truth, legend_file, suffix):
    path = tmp_path / f"out.{suffix}"
    done("sample", mapped, "--out", path, "--legend", legend_file, "--count", 160)
    labelled = tmp_path / "labelled.gpkg"
    frame = gpd.read_parquet(path) if suffix == "parquet" else gpd.read_file(path)
    frame[["sample_id", "ref_class", "geometry"]].to_file(tmp_path / "plain.gpkg")
    interpret(tmp_path / "plain.gpkg", truth, to=labelled)
    result = done("evaluate", mapped, "--samples", labelled, "--legend", legend_file,
                  "--design", tmp_path / "out.design.json", "--json")  # fmt: skip
    assert result.stderr.count("Warning") == 0
    assert json.loads(result.stdout)["points"] == 160


def test_the_target_decides_how_many(tmp_path, mapped, legend_file):
    result = done("sample", mapped, "-o", tmp_path / "p.gpkg", "--legend", legend_file,
                  "--target-se", 0.03, "--expect", 0.9, "--expect", "vegetation=0.6",
                  "--allocation", "neyman", "--json")  # fmt: skip
    values = json.loads(result.stdout)
    assert [s["expected_accuracy"] for s in values["strata"]] == [0.9, 0.9, 0.6]
    assert values["expected_se"] <= 0.03
    # Cochran's equation 5.25 by hand: (sum of W S)^2 / se^2.
    areas = np.array([s["area_ha"] for s in values["strata"]])
    spread = np.sqrt(np.array([0.09, 0.09, 0.24]))
    by_hand = (areas / areas.sum() @ spread) ** 2 / 0.03**2
    assert values["points"] == pytest.approx(by_hand, abs=2)
    assert "points for a standard error of 0.03" in result.stderr


def test_points_are_drawn_by_other_strata(
    tmp_path, write_raster, mapped, classes, truth, legend_file
):
    zones = np.repeat([[10], [20]], 100, axis=0) * np.ones((1, 150))
    strata = write_raster(zones.astype(np.uint8), "zones.tif",
                          transform=from_origin(5e5, 5.4e6, 10, 10))  # fmt: skip
    done("sample", mapped, "-o", tmp_path / "p.gpkg", "--strata", strata,
         "--allocation", "equal", "--count", 100)  # fmt: skip
    frame = gpd.read_file(tmp_path / "p.gpkg")
    assert ((5.4e6 - frame.geometry.y) < 1_000).sum() == 50
    design = read_design(tmp_path / "p.design.json")
    assert design.strata_raster == "zones.tif"
    assert {point.map_class for point in design.points.values()} == {0, 1, 4}
    interpret(tmp_path / "p.gpkg", truth)
    result = done("evaluate", mapped, "--samples", tmp_path / "p.gpkg", "--legend", legend_file,
                  "--json")  # fmt: skip
    values = json.loads(result.stdout)
    assert "by zones.tif" in values["design"]
    low, high = values["overall_accuracy"]["ci95"]
    assert low <= (classes == truth)[classes != 255].mean() <= high
    # Two halves of the map, each with 50 points: by Stehman's equations 3 and 25 by hand.
    x, y = frame.geometry.x - 5e5, 5.4e6 - frame.geometry.y
    rows, cols = (y // 10).astype(int).to_numpy(), (x // 10).astype(int).to_numpy()
    is_right = (classes == truth)[rows, cols]
    pixels = np.array([(classes[:100] != 255).sum(), (classes[100:] != 255).sum()])
    weights = pixels / pixels.sum()
    means = np.array([is_right[rows < 100].mean(), is_right[rows >= 100].mean()])
    variance = weights**2 @ ((1 - 50 / pixels) * means * (1 - means) / 49)
    assert values["overall_accuracy"]["value"] == pytest.approx(weights @ means)
    assert values["overall_accuracy"]["se"] == pytest.approx(variance**0.5)


def test_points_keep_a_distance_in_metres(tmp_path, mapped):
    done("sample", mapped, "-o", tmp_path / "p.gpkg", "--count", 60, "--min-per-class", 5,
         "--min-distance", "100m")  # fmt: skip
    places = gpd.read_file(tmp_path / "p.gpkg").geometry
    x, y = places.x.to_numpy(), places.y.to_numpy()
    squares = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    assert squares[~np.eye(60, dtype=bool)].min() >= 100**2


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--count", 5], 2, "too few"),
        (["--count", 40_000], 2, "cannot be drawn"),
        (["--target-se", 0], 2, "--target-se"),
        (["--min-per-class", 1], 2, "--min-per-class"),
        (["--expect", "water"], 2, "--expect"),
        (["--expect", "ice=0.5"], 2, "no such class"),
        (["--min-distance", "10"], 2, "--min-distance"),
        (["--min-distance", "900m", "--count", 200], 2, "points fit into stratum"),
        (["--strata", "none.tif"], 2, "no such file"),
    ],
)
def test_samples_that_cannot_be_drawn_are_told(tmp_path, mapped, options, code, words):
    result = run("sample", mapped, "--out", tmp_path / "p.gpkg", *options)
    assert result.exit_code == code, result.stderr
    assert words in result.stderr
    assert not list(tmp_path.glob("p.*"))


def test_labels_that_were_filled_in_are_not_overwritten(points, mapped, legend_file):
    before = points.read_bytes()
    for kept in (points, points.with_name("points.design.json")):
        others = {points, points.with_name("points.design.json")} - {kept}
        held = {path: path.read_bytes() for path in others}
        for path in others:
            path.unlink()
        result = run("sample", mapped, "--out", points)
        assert result.exit_code == 3
        for path, content in held.items():
            path.write_bytes(content)
    assert points.read_bytes() == before
    done("sample", mapped, "--out", points, "--count", 200, "--overwrite")
    assert len(gpd.read_file(points)) == 200
    assert sorted(path.suffix for path in points.parent.glob("points*")) == [".gpkg", ".json"]


def test_the_geopackage_is_sound(points):
    with closing(sqlite3.connect(points)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        layers = database.execute("SELECT table_name FROM gpkg_contents").fetchall()
    assert layers == [("samples",)]


def test_a_map_in_web_mercator_is_warned_of(tmp_path, write_raster, classes):
    path = write_raster(classes, crs="EPSG:3857", transform=from_origin(1e6, 7e6, 10, 10))
    result = done("sample", path, "-o", tmp_path / "p.gpkg", "--count", 300)
    assert "shows areas 2." in result.stderr  # 1 / cos(53 degrees) squared


def test_a_map_without_place_cannot_be_sampled(tmp_path, write_raster, classes):
    path = write_raster(classes, crs=None)
    result = run("sample", path, "-o", tmp_path / "p.gpkg")
    assert result.exit_code == 4
    assert "not georeferenced" in result.stderr


# ---- evaluate --samples ----------------------------------------------------------------------


def test_intervals_hold_what_they_promise(points, mapped, classes, truth, legend_file):
    interpret(points, truth)
    result = done("evaluate", mapped, "--samples", points, "--legend", legend_file, "--json")
    values = json.loads(result.stdout)
    has_class = classes != 255
    low, high = values["overall_accuracy"]["ci95"]
    assert low <= (classes == truth)[has_class].mean() <= high
    assert values["points"] == 600
    for class_id in (0, 1, 4):
        found = values["classes"][NAMES[class_id]]
        low, high = found["area_ha"]["ci95"]
        assert low <= (truth == class_id)[has_class].sum() / 100 <= high
        assert found["mapped_ha"] == pytest.approx((classes == class_id).sum() / 100)
    shares = np.array(values["error_matrix"]["area_proportions"])
    assert shares.sum() == pytest.approx(1.0)
    rows = np.array([(classes == c).sum() for c in (0, 1, 4)]) / has_class.sum()
    assert shares.sum(axis=1) == pytest.approx(rows)
    assert values["left_out"] == {}


def test_a_map_of_known_error_by_hand(tmp_path, write_raster, legend_file):
    # Two halves of 50 pixels of 100 m2. All ten points in water are right; of ten in land four
    # are water. By hand: area of water (0.5 + 0.5 * 0.4) ha; oa 0.5 + 0.5 * 0.6;
    # its variance 0.25 * (1 - 10 / 50) * 0.24 / 9.
    classes = np.repeat([0, 1], 5)[:, None].astype(np.uint8) * np.ones((1, 10), np.uint8)
    path = write_raster(classes, "halves.tif", transform=from_origin(5e5, 5.4e6, 10, 10))
    points = tmp_path / "p.gpkg"
    done("sample", path, "-o", points, "--count", 20, "--min-per-class", 10)
    frame = gpd.read_file(points)
    is_land = (5.4e6 - frame.geometry.y) > 50
    frame["ref_class"] = "water"
    frame.loc[frame.index[is_land][:6], "ref_class"] = "1"
    save(frame, points)
    result = done("evaluate", path, "--samples", points, "--legend", legend_file, "--json")
    values = json.loads(result.stdout)
    assert values["overall_accuracy"]["value"] == pytest.approx(0.8)
    se = (0.25 * 0.8 * 0.24 / 9) ** 0.5
    assert values["overall_accuracy"]["se"] == pytest.approx(se)
    water = values["classes"]["water"]
    assert water["area_ha"]["value"] == pytest.approx(0.7)
    assert water["area_ha"]["se"] == pytest.approx(se)
    assert water["users_accuracy"]["value"] == 1.0
    assert water["producers_accuracy"]["value"] == pytest.approx(0.5 / 0.7)
    assert "only means that the sample is too small" in result.stderr
    table = done("evaluate", path, "--samples", points, "--legend", legend_file).stdout
    assert f"0.800 ± {1.96 * se:.3f}" in table
    assert f"0.70 ± {1.96 * se:.2f}" in table


def test_another_map_is_evaluated_with_the_same_points(
    tmp_path, points, mapped, write_raster, classes, truth, legend_file
):
    interpret(points, truth)
    # Land and vegetation are one class on the other map: strata are not its classes.
    coarse = np.where(classes == 4, 1, classes).astype(np.uint8)
    other = write_raster(coarse, "other.tif", transform=from_origin(5e5, 5.4e6, 10, 10))
    result = done("evaluate", other, "--samples", points, "--legend", legend_file, "--json")
    values = json.loads(result.stdout)
    assert "another map" in values["design"]
    has_class = classes != 255
    low, high = values["overall_accuracy"]["ci95"]
    assert low <= (coarse == truth)[has_class].mean() <= high
    # The reference areas do not depend on the map that is evaluated.
    first = json.loads(
        done("evaluate", mapped, "--samples", points, "--legend", legend_file, "--json").stdout
    )
    for name in ("water", "land", "vegetation"):
        for what in ("value", "se"):
            now, before = (v["classes"][name]["area_ha"][what] for v in (values, first))
            assert now == pytest.approx(before)


def test_two_maps_are_compared_at_the_same_points(
    tmp_path, points, mapped, write_raster, classes, truth, legend_file
):
    interpret(points, truth)
    worse = np.where(classes == 4, 1, classes).astype(np.uint8)
    other = write_raster(worse, "other.tif", transform=from_origin(5e5, 5.4e6, 10, 10))
    flags = ("--samples", points, "--legend", legend_file)
    values = json.loads(done("evaluate", mapped, other, *flags, "--json").stdout)
    for path, found in zip((mapped, other), values["maps"], strict=True):
        alone = json.loads(done("evaluate", path, *flags, "--json").stdout)
        assert found == {"map": str(path), **alone}
    frame = gpd.read_file(points)
    with rasterio.open(mapped) as file:
        rows, cols = rasterio.transform.rowcol(
            file.transform, frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy()
        )
    right = [array[rows, cols] == truth[rows, cols] for array in (classes, worse)]
    test = values["mcnemar"]
    assert test["only_first_right"] == (right[0] & ~right[1]).sum() > 20
    assert test["only_second_right"] == (~right[0] & right[1]).sum()
    assert test["both_right"] + test["neither_right"] == (right[0] == right[1]).sum()
    assert test["p_value"] < 0.001
    same = json.loads(done("evaluate", mapped, mapped, *flags, "--json").stdout)
    assert same["mcnemar"]["p_value"] == 1.0
    assert "McNemar p = 0.0000" in done("evaluate", mapped, other, *flags).stdout


def test_points_that_cannot_be_used_are_counted(points, mapped, truth, legend_file):
    frame = interpret(points, truth)
    frame.loc[:9, "ref_class"] = None
    frame.loc[10:12, "ref_class"] = "  "
    frame.loc[13:14, "ref_class"] = "swamp"
    frame.loc[15, "sample_id"] = 9_999
    save(frame.drop(index=[16, 17]), points)
    result = done("evaluate", mapped, "--samples", points, "--legend", legend_file, "--json")
    left_out = json.loads(result.stdout)["left_out"]
    assert left_out == {
        "not labelled": 13,
        "labelled with what is not in the legend (swamp)": 2,
        "not of the design, or there twice": 1,
        "of the design, but missing from the file": 3,  # one of them has a number of its own
    }
    assert "13 of 601 points are left out: not labelled" in result.stderr
    assert "random part" in result.stderr


def test_points_outside_another_map_are_counted(
    tmp_path, points, write_raster, classes, truth, legend_file
):
    interpret(points, truth)
    part = write_raster(classes[:150], "part.tif", transform=from_origin(5e5, 5.4e6, 10, 10))
    result = done("evaluate", part, "--samples", points, "--legend", legend_file, "--json")
    outside = json.loads(result.stdout)["left_out"]["outside the map, or where it has no class"]
    assert outside == ((5.4e6 - gpd.read_file(points).geometry.y) > 1_500).sum()


def test_moved_points_count_where_they_were_drawn(points, mapped, truth, legend_file):
    frame = interpret(points, truth)
    before = done("evaluate", mapped, "--samples", points, "--legend", legend_file, "--json")
    frame.loc[:6, "geometry"] = frame.geometry[:7].translate(30, 0)
    save(frame, points)
    after = done("evaluate", mapped, "--samples", points, "--legend", legend_file, "--json")
    assert "7 points lie more than half a pixel" in after.stderr
    assert json.loads(after.stdout) == json.loads(before.stdout)


def test_intervals_are_refused_without_a_probability_design(
    tmp_path, points, mapped, truth, legend_file
):
    interpret(points, truth, to=tmp_path / "alone.gpkg")
    arguments = ["evaluate", mapped, "--samples", tmp_path / "alone.gpkg", "--legend", legend_file]
    result = run(*arguments)
    assert result.exit_code == 4
    assert "probability sample" in result.stderr
    assert "--design stratified" in result.stderr
    # The points were drawn within the map's classes, so that is a true statement.
    stated = json.loads(done(*arguments, "--design", "stratified", "--json").stdout)
    known = json.loads(
        done(*arguments, "--design", tmp_path / "points.design.json", "--json").stdout
    )
    assert stated["classes"] == known["classes"]
    assert stated["overall_accuracy"] == known["overall_accuracy"]


def test_a_simple_random_sample_can_be_stated(tmp_path, mapped, classes, truth, legend_file):
    rng = np.random.default_rng(4)
    rows, cols = np.nonzero(classes != 255)
    chosen = rng.choice(len(rows), 400, replace=False)
    x, y = 5e5 + 10 * cols[chosen] + 5, 5.4e6 - 10 * rows[chosen] - 5
    found = truth[rows[chosen], cols[chosen]]
    path = tmp_path / "random.geojson"
    gpd.GeoDataFrame(
        {"kind": found.astype(float)}, geometry=gpd.points_from_xy(x, y), crs="EPSG:32632"
    ).to_crs("EPSG:4326").to_file(path)
    result = done("evaluate", mapped, "--samples", path, "--legend", legend_file,
                  "--field", "kind", "--design", "random", "--json")  # fmt: skip
    values = json.loads(result.stdout)
    is_right = found == classes[rows[chosen], cols[chosen]]
    assert values["overall_accuracy"]["value"] == pytest.approx(is_right.mean())
    unsampled = 1 - 400 / len(rows)
    se = np.sqrt(unsampled * is_right.mean() * (1 - is_right.mean()) / 399)
    assert values["overall_accuracy"]["se"] == pytest.approx(se)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--field", "kind"], 2, "has no field kind"),
        (["--design", "none.json"], 2, "no such file"),
        (["--reference", "truth.tif"], 2, "without a reference"),
    ],
)
def test_evaluations_that_cannot_be_are_told(points, mapped, options, code, words):
    result = run("evaluate", mapped, "--samples", points, *options)
    assert result.exit_code == code
    assert words in result.stderr


def test_a_map_alone_is_not_evaluated(mapped):
    result = run("evaluate", mapped)
    assert result.exit_code == 2
    assert "--samples" in result.stderr  # the hint names all ways


def test_points_that_nobody_labelled_are_told(points, mapped):
    result = run("evaluate", mapped, "--samples", points)
    assert result.exit_code == 4
    assert "0 labelled points" in result.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values | {"format": "hyseg-sample/9"}, "hyseg-sample/9"),
        (lambda values: values | {"points": 3}, "is not a sample design"),
        (lambda values: values | {"unheard": 1}, "unheard"),
        (lambda values: values | {"is_probability_sample": False}, "not a probability sample"),
    ],
)
def test_designs_that_cannot_be_used_are_told(points, mapped, change, words):
    path = points.with_name("points.design.json")
    path.write_text(json.dumps(change(json.loads(path.read_text("utf-8")))), encoding="utf-8")
    result = run("evaluate", mapped, "--samples", points)
    assert result.exit_code == 4
    assert words in result.stderr
