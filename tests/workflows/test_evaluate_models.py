"""`hyseg evaluate` of a model, and of a second map."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin
from workflows.evaluating import numbers, run

from hyseg_cli.cli.group import cli
from hyseg_cli.messages import Silence
from hyseg_cli.settings.evaluate import EvaluateSettings
from hyseg_cli.workflows.evaluate import run as workflow

# ---- comparison -----------------------------------------------------------------------------


def test_two_maps_are_compared_on_the_pixels_that_both_know(pair, named_map):
    path, truth = pair
    with rasterio.open(truth) as file:
        better = file.read(1)
    better[:, :5] = 255
    better[200:210] = 1
    other = named_map(better, "better.tif")
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


def test_a_second_map_on_another_grid_is_read_on_that_of_the_first(named_map):
    path = named_map(np.ones((8, 8)))
    place = {"transform": from_origin(500_000, 5_400_000, 1, 1)}
    coarse = named_map(np.full((4, 4), 2), "coarse.tif", place=place)
    first, second = numbers(path, coarse, "--reference", path)["maps"]
    assert first["confusion"] == [[64, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert second["confusion"] == [[0, 64, 0], [0, 0, 0], [0, 0, 0]]


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


def test_a_model_is_measured_at_the_pixel_size_that_is_asked_for(
    tmp_path, scene_folder, lively_model
):
    image, label = scene_folder / "images" / "east.tif", scene_folder / "labels" / "east.tif"
    given = ["--images", image, "--labels", label, "--model", lively_model]
    out, size = tmp_path / "map.tif", ["--gsd", "0.25m"]
    drawn = CliRunner().invoke(
        cli, ["predict", str(image), "--model", str(lively_model), "--out", str(out), *size]
    )
    assert drawn.exit_code == 0, drawn.stderr
    enlarged = numbers(*given, *size)["confusion"]
    assert enlarged == numbers(out, "--reference", label)["confusion"]
    assert enlarged != numbers(*given, "--gsd", "native")["confusion"]
    refused = CliRunner().invoke(cli, ["evaluate", *map(str, given), "--gsd", "0m"])
    assert refused.exit_code == 2
    assert "--gsd 0m is not a valid size" in refused.stderr


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
