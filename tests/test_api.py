"""The door for Python: what it gives is what the commands give."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

import hyseg_cli as hyseg
from hyseg_cli.cli.group import cli

ROOT = Path(__file__).resolve().parents[1]


def open_quietly(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)


@pytest.fixture
def scene(scene_folder):
    return scene_folder / "images" / "east.tif"


def test_importing_loads_neither_torch_nor_gdal_and_changes_nothing():
    program = """
import gc, os, signal, sys, warnings
before = (dict(os.environ), gc.isenabled(), gc.get_threshold(), list(warnings.filters),
          [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)], list(sys.meta_path))
import hyseg_cli as hyseg
assert set(hyseg.__all__) <= set(dir(hyseg))
after = (dict(os.environ), gc.isenabled(), gc.get_threshold(), list(warnings.filters),
         [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)], list(sys.meta_path))
assert before == after
hyseg.predict  # the functions themselves
heavy = {"torch", "rasterio", "numpy", "geopandas", "lightning", "click"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)


def test_a_map_from_python_has_the_bytes_of_the_command(scene, lively_model, tmp_path):
    flags = ["--model", str(lively_model), "--tile-size", "128"]
    told = CliRunner().invoke(
        cli, ["predict", str(scene), "--out", str(tmp_path / "a.tif"), *flags]
    )
    assert told.exit_code == 0, told.output
    result = hyseg.predict(scene, tmp_path / "b.tif", model=str(lively_model), tile_size=128)
    assert len(result.scenes) == 1
    with rasterio.open(tmp_path / "a.tif") as one, rasterio.open(tmp_path / "b.tif") as other:
        np.testing.assert_array_equal(one.read(1), other.read(1))
        assert one.colormap(1) == other.colormap(1)


def test_an_array_gets_the_probabilities_of_the_command(scene, lively_model, tmp_path):
    # A picture without place: its noise begins at its first pixel, as that of an array does.
    with rasterio.open(scene) as file:
        image = file.read()
    picture, out = tmp_path / "scene.png", tmp_path / "p.tif"
    Image.fromarray(np.moveaxis(image, 0, -1)).save(picture)
    hyseg.predict(
        picture,
        tmp_path / "m.tif",
        model=lively_model,
        tile_size=128,
        probabilities=out,
        collar="none",
    )
    found = hyseg.load_model(lively_model, device="cpu").predict(image, tile_size=128)
    assert found.dtype == np.float32
    with open_quietly(out) as file:
        np.testing.assert_allclose(file.read() / 254, found, atol=0.51 / 254)


def test_a_coarse_array_is_enlarged_as_the_command_enlarges_a_scene(
    scene, lively_model, tmp_path, write_raster
):
    with rasterio.open(scene) as file:
        image = file.read()
    # At the origin of its grid, where the noise of an array begins, too. The model saw up to 1 m.
    coarse, out = write_raster(image, transform=from_origin(0, 0, 2, 2)), tmp_path / "p.tif"
    planned = hyseg.predict(coarse, tmp_path / "m.tif", model=lively_model, dry_run=True)
    hyseg.predict(
        coarse,
        tmp_path / "m.tif",
        model=lively_model,
        tile_size=128,
        probabilities=out,
        collar="none",
    )
    model = hyseg.load_model(lively_model, device="cpu")
    found = model.predict(image, resolution_m=2.0, tile_size=128)
    with open_quietly(out) as file:
        np.testing.assert_allclose(file.read() / 254, found, atol=0.51 / 254)
    assert planned.scenes[0].forecast.network_pixel_m == pytest.approx(1.0, rel=1e-2)
    assert "sees pixels of 1 m" in planned.to_text()


def test_pixels_without_data_have_no_probability(lively_model):
    model = hyseg.load_model(lively_model, device="cpu")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (3, 70, 90), np.uint8)
    valid = np.ones((70, 90), np.bool_)
    valid[:20] = False
    found = model.predict(image, valid, tile_size=64, overlap=32)
    assert (found[:, :20] == 0).all()
    np.testing.assert_allclose(found[:, 20:].sum(axis=0), 1.0, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 64, 64), (64, 64), (3, 1, 64, 64)])
def test_arrays_of_other_shapes_are_refused(lively_model, shape):
    model = hyseg.load_model(lively_model, device="cpu")
    with pytest.raises(hyseg.HysegError, match="takes \\(3, height, width\\)"):
        model.predict(np.zeros(shape, np.uint8))


def test_polygons_and_scores_from_python_are_those_of_the_commands(scene_folder, tmp_path):
    truth = scene_folder / "labels" / "east.tif"
    legend = scene_folder / "legend.json"
    result = hyseg.vectorize(truth, tmp_path / "a.gpkg", legend=str(legend), mmu="9px")
    told = CliRunner().invoke(
        cli,
        ["vectorize", str(truth), "--out", str(tmp_path / "b.gpkg"), "--legend", str(legend),
         "--mmu", "9px", "--json"],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    ours, theirs = result.to_dict(), json.loads(told.stdout)
    assert {k: v for k, v in ours.items() if k != "out"} == {
        k: v for k, v in theirs.items() if k != "out"
    }
    same = hyseg.evaluate(truth, reference=truth, legend=legend)
    assert same.agreement.mean_iou == 1.0


def test_facts_of_a_scene_and_of_a_model(scene, lively_model):
    assert hyseg.info(scene, model=lively_model).to_dict()["kind"] == "scene"
    assert hyseg.info(lively_model).to_dict()["kind"] == "model"


def test_a_setting_that_does_not_exist_is_named_with_the_nearest():
    with pytest.raises(TypeError, match=r"'tile' is not a setting.*'tile_size'"):
        hyseg.predict("scene.tif", "out.tif", tile=128)


def test_errors_are_those_of_the_command(tmp_path, capfd):
    with pytest.raises(hyseg.HysegError, match="no such") as caught:
        hyseg.predict(tmp_path / "none.tif", tmp_path / "out.tif")
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_the_notebook_draws_its_picture(scene, lively_model, tmp_path):
    picture = tmp_path / "picture.png"
    subprocess.run(
        [sys.executable, ROOT / "examples" / "notebook.py", scene, picture, lively_model],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert picture.stat().st_size > 10_000
