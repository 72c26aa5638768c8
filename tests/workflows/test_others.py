"""`hyseg evaluate` and `train` from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin

from hyseg_cli.cli import cli
from hyseg_cli.learn.card import load_model


def run(*arguments):
    return CliRunner().invoke(cli, [str(part) for part in arguments])


@pytest.fixture
def truth(scene_folder):
    return scene_folder / "labels" / "east.tif"


@pytest.fixture
def legend_file(scene_folder):
    return scene_folder / "legend.json"


# ---- evaluate -------------------------------------------------------------------------------


def test_a_map_agrees_with_itself(truth, legend_file):
    result = run("evaluate", truth, "--reference", truth, "--legend", legend_file, "--json")
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
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
    result = run("evaluate", truth, "--reference", coarse, "--legend", legend_file, "--json")
    values = json.loads(result.stdout)
    # Only where the coarse reference lies, and every even pixel agrees.
    expected = np.kron(labels[::2, 0:200:2], np.ones((2, 2), np.uint8))
    known = (expected != 255) & (labels[:, :200] != 255)
    agreement = (expected == labels[:, :200])[known].mean()
    assert values["pixels"] == known.sum()
    assert values["overall_accuracy"] == pytest.approx(agreement)


def test_absent_classes_are_not_scored(tmp_path, write_raster, legend_file):
    path = write_raster(np.ones((1, 9, 9), np.uint8))
    result = run("evaluate", path, "--reference", path, "--legend", legend_file)
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert rows["land"] == ["1.000"] * 4
    assert rows["water"] == ["n/a"] * 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda w: w(np.full((1, 9, 9), 77, np.uint8), "r.tif"), "77 is not in the legend"),
        (lambda w: w(np.ones((3, 9, 9), np.uint8), "r.tif"), "has 3 bands"),
        (
            lambda w: w(np.ones((1, 9, 9), np.uint8), "r.tif", transform=from_origin(0, 9e5, 1, 1)),
            "no labelled pixel in common",
        ),
    ],
)
def test_references_that_cannot_be_compared_are_told(write_raster, legend_file, make, words):
    path = write_raster(np.ones((1, 9, 9), np.uint8))
    result = run("evaluate", path, "--reference", make(write_raster), "--legend", legend_file)
    assert result.exit_code == 1
    assert words in result.stderr


def test_a_map_without_legend_asks_for_one(write_raster):
    path = write_raster(np.ones((1, 9, 9), np.uint8))
    result = run("evaluate", path, "--reference", path)
    assert result.exit_code == 1
    assert "--legend" in result.stderr


# ---- train ----------------------------------------------------------------------------------


def train_arguments(scene_folder, out, **options):
    values = {
        "images": scene_folder / "images",
        "labels": scene_folder / "labels",
        "legend": scene_folder / "legend.json",
        "out": out,
        "preset": "cpu_smoke",
        "chip-size": 64,
        "batch-size": 4,
        "prior-steps": 3,
        "steps": 3,
        "val-scenes": "west",
        "val-every": 3,
    } | options
    return ["train", *[part for k, v in values.items() for part in (f"--{k}", v)]]


def test_training_writes_one_model_that_predicts(tmp_path, scene_folder):
    out = tmp_path / "m.safetensors"
    result = run(*train_arguments(scene_folder, out, licence="CC0-1.0", attribution="us"))
    assert result.exit_code == 0, result.output
    card = load_model(out).card
    assert card.bands == ("red", "green", "blue")
    assert card.legend.names == ("building", "land", "road", "vegetation", "water")
    assert card.data.training_scenes == ("east",)
    assert card.data.validation_scenes == ("west",)
    assert (card.data.licence, card.data.attribution) == ("CC0-1.0", "us")
    assert card.resolution_m == pytest.approx((0.25, 1.0), rel=1e-2)
    assert 0 <= card.metrics["overall_accuracy"] <= 1
    assert str(tmp_path) not in card.to_json()
    assert "validation mIoU" in result.stdout
    scene = scene_folder / "images/west.tif"
    assert run("predict", scene, "--out", tmp_path / "w.tif", "-m", out).exit_code == 0


def test_stage_two_trains_the_host_and_leaves_the_prior_alone(tmp_path, scene_folder):
    out = tmp_path / "m.safetensors"
    assert run(*train_arguments(scene_folder, out)).exit_code == 0
    final = load_model(out).network
    before = load_model(tmp_path / "m.run" / "prior.safetensors").network
    # BatchNorm counts the batches it sees in training mode.
    assert final.decoder.enter[1].num_batches_tracked == 3
    for name, tensor in before.prior.state_dict().items():
        np.testing.assert_array_equal(tensor, final.prior.state_dict()[name], err_msg=name)


def test_the_prior_of_a_model_can_be_reused(tmp_path, scene_folder):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert run(*train_arguments(scene_folder, first)).exit_code == 0
    arguments = train_arguments(scene_folder, second, prior=first, seed=5)
    assert run(*arguments).exit_code == 0
    one, other = (load_model(path).network for path in (first, second))
    for name, tensor in one.prior.state_dict().items():
        np.testing.assert_array_equal(tensor, other.prior.state_dict()[name])
    assert one.temperature == other.temperature


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"val-scenes": "north"}, 2, "The scenes are east, west"),
        ({"chip-size": 50}, 2, "--chip-size 50"),
        ({"steps": 0}, 2, "--steps 0"),
        ({"preset": "huge"}, 2, "no preset 'huge'"),
        ({"min-scale": 2}, 2, "--min-scale"),
        ({"legend": "none.json"}, 2, "no such legend"),
        ({"images": "nowhere"}, 2, "no such file or folder"),
        ({"band": "1,2,9"}, 2, "--band 9"),
    ],
)
def test_impossible_trainings_are_refused_before_they_start(
    tmp_path, scene_folder, options, code, words
):
    result = run(*train_arguments(scene_folder, tmp_path / "m.safetensors", **options))
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert not list(tmp_path.glob("*.safetensors"))


def test_the_model_file_must_say_what_it_is(tmp_path, scene_folder):
    result = run(*train_arguments(scene_folder, tmp_path / "m.pth"))
    assert result.exit_code == 2
    assert "safetensors" in result.stderr


@pytest.mark.slow
def test_two_minutes_of_training_map_an_unseen_scene(tmp_path):
    import make_scene

    for name, seed in (("east", 1), ("west", 2)):
        make_scene.write_scene(tmp_path, name, seed=seed)
    out = tmp_path / "m.safetensors"
    options = {
        "prior-steps": 100,
        "steps": 200,
        "chip-size": 128,
        "batch-size": 8,
        "val-every": 200,
        "prior-rate": 1e-3,
        "rate": 1e-3,
    }
    result = run(*train_arguments(tmp_path, out, **options))
    assert result.exit_code == 0, result.output
    assert load_model(out).card.metrics["miou"] > 0.7
