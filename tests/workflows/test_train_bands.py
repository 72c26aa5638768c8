"""Images that are no 8-bit RGB, from training to map."""

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image

from hyseg_cli.cli.group import cli
from hyseg_cli.learn.model.card import read_card
from hyseg_cli.learn.model.weights import load_model


def run(*arguments):
    result = CliRunner().invoke(cli, [str(part) for part in arguments])
    assert result.exit_code == 0, result.output
    return result


def train(folder, image, labels, *options):
    """A model trained for a step."""
    out = folder / "m.safetensors"
    run(
        "train", "--images", image, "--labels", labels, "--out", out, "--preset", "cpu_smoke",
        "--chip-size", 64, "--batch-size", 2, "--prior-steps", 1, "--steps", 1, *options,
    )  # fmt: skip
    return out


@pytest.mark.parametrize(
    ("dtype", "bands", "offset", "scale"),
    [("uint16", 4, 0, 9000), ("int16", 12, -2000, 4000), ("float32", 31, 0.0, 0.4)],
)
def test_values_beyond_the_percentiles_change_no_map(
    tmp_path, write_raster, dtype, bands, offset, scale
):
    rng = np.random.default_rng(0)
    array = (offset + scale * rng.random((bands, 96, 128))).astype(dtype)
    labels = write_raster((array[-1] > np.median(array[-1])).astype(np.uint8), "labels.tif")
    image = write_raster(array, "image.tif")
    model = train(tmp_path, image, labels)
    card = load_model(model).card
    assert (card.dtype, len(card.bands)) == (dtype, bands)
    low, high = card.limits
    np.testing.assert_allclose(low, np.percentile(array, 0.5, axis=(1, 2)), rtol=1e-5)
    bright = array > np.array(high)[:, None, None]
    assert bright.any()
    glints = write_raster(np.where(bright, array * 3, array).astype(dtype), "glints.tif")
    maps = []
    for scene in (image, glints):
        run("predict", scene, "--out", tmp_path / "map.tif", "-m", model, "--overwrite")
        with rasterio.open(tmp_path / "map.tif") as file:
            maps.append(file.read(1))
    np.testing.assert_array_equal(*maps)


def test_rare_classes_are_weighed_and_looked_for(tmp_path, write_raster):
    labels = np.zeros((96, 128), np.uint8)
    labels[:12, :12] = 4
    image = write_raster(np.random.default_rng(0).integers(0, 255, (3, 96, 128)).astype(np.uint8))
    labels = write_raster(labels, "labels.tif")
    options = ("--class-weights", "sqrt", "--sampling", "classes")
    model = train(tmp_path, image, labels, *options)
    settings = load_model(model).card.training["settings"]
    assert (settings["class_weights"], settings["sampling"]) == ("sqrt", "classes")


def test_a_network_that_goes_on_keeps_the_radiometry_of_its_start(
    tmp_path, scene_folder, tiny_model
):
    # The tiny model's card says other means than these scenes have.
    out = tmp_path / "more.safetensors"
    arguments = [
        "train", "--images", scene_folder / "images", "--labels", scene_folder / "labels",
        "--legend", scene_folder / "legend.json", "--from", tiny_model, "--out", out,
        "--prior-steps", 0, "--steps", 1, "--batch-size", 2, "--chip-size", 64, "-q",
    ]  # fmt: skip
    result = CliRunner().invoke(cli, [str(part) for part in arguments])
    assert result.exit_code == 0, result.output
    before, after = read_card(tiny_model), read_card(out)
    assert after.radiometry == before.radiometry
    assert after.quantiles != before.quantiles


def test_the_resolution_of_images_without_place_can_be_told(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in (("image.png", (64, 64, 3)), ("labels.png", (64, 64))):
        Image.fromarray(rng.integers(0, 3, size, np.uint8)).save(tmp_path / name)
    out = train(tmp_path, tmp_path / "image.png", tmp_path / "labels.png", "--resolution", "0.3,1")
    # Chips are enlarged up to twice and shrunk to half.
    assert read_card(out).resolution_m == (0.15, 2.0)
    wrong = ["train", "--images", "i", "--labels", "l", "--out", "m.safetensors"]
    result = CliRunner().invoke(cli, [*wrong, "--resolution", "0"])
    assert result.exit_code == 2
    assert "--resolution 0.0" in result.stderr
