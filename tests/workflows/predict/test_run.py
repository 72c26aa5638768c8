"""`hyseg predict` from the command line, on good and bad input."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin
from rio_cogeo.cogeo import cog_validate
from workflows.predicting import run

from hyseg_cli.cli.group import cli
from hyseg_cli.learn.model.weights import load_model, save_model
from hyseg_cli.legend import Legend


def test_a_scene_becomes_a_map_on_its_grid(tmp_path, scene, tiny_model, legend):
    out = tmp_path / "map.tif"
    result = run(scene, "--out", out, "-m", tiny_model, "--tile-size", 128, "--batch-size", 2)
    assert result.exit_code == 0, result.stderr
    with rasterio.open(out) as found, rasterio.open(scene) as source:
        assert found.shape == source.shape
        assert found.crs == source.crs
        assert found.transform == source.transform
        classes = found.read(1)
        np.testing.assert_array_equal(classes == 255, source.dataset_mask() == 0)
        assert set(np.unique(classes)) <= {*legend.ids, 255}
        tags = found.tags()
    assert tags["HYSEG_MODEL"] == load_model(tiny_model).digest
    assert json.loads(tags["HYSEG_LEGEND"]) == legend.to_dict()
    assert json.loads(tags["HYSEG_SETTINGS"]) == {
        "bands": [1, 2, 3],
        "context": False,
        "bounds": None,
        "aoi": None,
        "tile_size": 128,
        "overlap": 32,
        "seed": 0,
        "noise": None,
        "tta": "none",
        "gsd": "auto",
        "collar": "auto",
        "src_nodata": [],
    }
    assert str(out) in result.stdout
    assert "nodata" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"map.tif", "map.tif.aux.xml"}


def test_a_run_says_what_its_model_was_trained_on(tmp_path, scene, tiny_model):
    model = load_model(tiny_model)
    data = replace(model.card.data, name="one city", training_scenes=("a", "b"))
    save_model(tmp_path / "own.safetensors", model.network, replace(model.card, data=data))
    result = run(scene, "--out", tmp_path / "map.tif", "-m", tmp_path / "own.safetensors", "-n")
    assert "model own, trained on one city\n" in result.stderr
    assert replace(data, name="").summary == "a, b"


def test_stdout_holds_results_only(tmp_path, scene, tiny_model):
    result = run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model, "-q")
    assert result.stderr == ""
    assert result.stdout.splitlines()[-1] == str(tmp_path / "map.tif")


def test_the_same_run_gives_the_same_bytes(tmp_path, scene, tiny_model):
    for name in ("a.tif", "b.tif"):
        assert run(scene, "--out", tmp_path / name, "-m", tiny_model).exit_code == 0
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_a_map_that_exists_is_kept_unless_told_otherwise(tmp_path, scene, tiny_model):
    out = tmp_path / "map.tif"
    out.write_bytes(b"mine")
    result = run(scene, "--out", out, "-m", tiny_model)
    assert result.exit_code == 3
    assert out.read_bytes() == b"mine"
    assert "--overwrite" in result.stderr
    assert run(scene, "--out", out, "-m", tiny_model, "--overwrite").exit_code == 0
    assert out.read_bytes() != b"mine"


def test_class_values_are_those_of_the_legend(tmp_path, scene, tiny_model):
    model = load_model(tiny_model)
    moved = Legend(tuple(replace(c, id=10 * c.id + 7) for c in model.card.legend.classes))
    path = tmp_path / "moved.safetensors"
    save_model(path, model.network, replace(model.card, legend=moved))
    out = tmp_path / "map.tif"
    assert run(scene, "--out", out, "-m", tiny_model).exit_code == 0
    with rasterio.open(out) as file:
        before = file.read(1)
    assert run(scene, "--out", out, "-m", path, "--overwrite").exit_code == 0
    with rasterio.open(out) as file:
        after = file.read(1)
    np.testing.assert_array_equal(after, np.where(before == 255, 255, before * 10 + 7))


def test_a_scene_of_another_resolution_is_mapped_on_its_own_grid(tmp_path, scene, tiny_model):
    """The generated scene has pixels of 0.5 m; with 0.1 m the model, of 0.25 to 1 m, sees 0.25."""
    fine = tmp_path / "fine.tif"
    with rasterio.open(scene) as source:
        image, profile = source.read(), source.profile
        mask = source.dataset_mask()
    profile["transform"] = from_origin(5e5, 5.4e6, 0.1, 0.1)
    with rasterio.open(fine, "w", **profile) as file:
        file.write(image)
    maps = {}
    for gsd in ("auto", "native", "0.25m"):
        out = tmp_path / f"{gsd}.tif"
        sure = tmp_path / f"{gsd}.sure.tif"
        flags = ["--gsd", gsd, "--confidence", sure]
        result = run(fine, "--out", out, "-m", tiny_model, *flags)
        assert result.exit_code == 0, result.output
        assert ("0.25 to 1.00 m" in result.stderr) == (gsd != "0.25m")
        with rasterio.open(out) as found:
            assert (found.shape, found.transform) == (image.shape[1:], profile["transform"])
        with rasterio.open(sure) as found:
            maps[gsd] = found.read(1)
        np.testing.assert_array_equal(maps[gsd] == 255, mask == 0)
    np.testing.assert_array_equal(maps["auto"], maps["0.25m"])
    assert (maps["auto"] != maps["native"]).any()


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--gsd", "9m"], 4, "more than 8 times as fine"),
        (["--gsd", "fine"], 2, "--gsd fine"),
        (["--gsd", "0m"], 2, "--gsd 0m"),
        (["--src-nodata", "none"], 2, "not a list of numbers"),
        (["--src-nodata", "-1"], 2, "-1 is not a valid value for uint8"),
        (["--collar", "some"], 2, "some"),
    ],
)
def test_what_cannot_be_reconciled_is_refused(tmp_path, scene, tiny_model, flags, code, words):
    result = run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model, *flags)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(tmp_path, scene, tiny_model, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("hyseg_cli.learn.inference.stitch.Stitcher.finish", interrupt)
    result = run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model)
    assert result.exit_code == 130
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path, scene, tiny_model, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hyseg_cli.geo.atomic.sync", full)
    result = run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model)
    assert result.exit_code == 1
    assert "No space left" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_settings_may_come_from_a_file(tmp_path, scene, tiny_model):
    config = tmp_path / "run.toml"
    config.write_text(f'model = "{tiny_model}"\ntile-size = 128\nseed = 3\n')
    out = tmp_path / "map.tif"
    result = run(scene, "--out", out, "--config", config, "--seed", 4)
    assert result.exit_code == 0, result.stderr
    with rasterio.open(out) as file:
        used = json.loads(file.tags()["HYSEG_SETTINGS"])
    assert (used["tile_size"], used["seed"]) == (128, 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [("tile_sise = 128", "'tile_sise' is not an option"), ("tile-size = ", "is not TOML")],
)
def test_a_config_with_unknown_keys_is_refused(tmp_path, scene, content, words):
    config = tmp_path / "run.toml"
    config.write_text(content)
    result = run(scene, "--out", tmp_path / "map.tif", "--config", config)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_tall_scene_needs_no_more_work_folder_afterwards(tmp_path, scene, tiny_model):
    stale = tmp_path / "map.tif.hyseg"
    stale.mkdir()
    (stale / "rows-000000000.tif").write_text("from a killed run")
    assert run(scene, "--out", tmp_path / "map.tif", "-m", tiny_model).exit_code == 0
    assert not stale.exists()
    shutil.rmtree(stale, ignore_errors=True)


def test_probabilities_and_confidence_lie_on_the_grid_of_the_map(
    tmp_path, scene, tiny_model, legend
):
    out, sure, shares = (tmp_path / name for name in ("map.tif", "sure.tif", "shares.tif"))
    result = run(
        scene, "--out", out, "-m", tiny_model, "--confidence", sure, "--probabilities", shares
    )
    assert result.exit_code == 0, result.stderr
    with rasterio.open(out) as a, rasterio.open(sure) as b, rasterio.open(shares) as c:
        assert a.transform == b.transform == c.transform
        assert a.crs == b.crs == c.crs
        assert c.descriptions == legend.names
        assert b.descriptions == ("confidence",)
        assert b.nodata == c.nodata == 255
        assert c.scales == pytest.approx([1 / 254] * 5)
        classes, confidence, levels = a.read(1), b.read(1), c.read().astype(int)
    valid = classes != 255
    assert (confidence[~valid] == 255).all()
    assert (levels[:, ~valid] == 255).all()
    np.testing.assert_array_equal(confidence, levels.max(axis=0))
    assert np.abs(levels[:, valid].sum(axis=0) - 254).max() <= 3
    of_class = np.take_along_axis(levels, np.where(valid, classes, 0)[None].astype(int), axis=0)[0]
    np.testing.assert_array_equal(of_class[valid], confidence[valid])
    for path in (sure, shares):
        assert cog_validate(path)[0]
    names = {path.name for path in tmp_path.iterdir()}
    rasters = {"map.tif", "sure.tif", "shares.tif"}
    assert names == rasters | {f"{name}.aux.xml" for name in rasters}
    polygons = CliRunner().invoke(
        cli, ["vectorize", str(out), "--out", str(tmp_path / "p.gpkg"), "--confidence", str(sure)]
    )
    assert polygons.exit_code == 0, polygons.output


def test_an_extra_output_that_exists_is_not_overwritten(tmp_path, scene, tiny_model):
    (tmp_path / "sure.tif").write_bytes(b"mine")
    result = run(
        scene,
        "--out",
        tmp_path / "map.tif",
        "-m",
        tiny_model,
        "--confidence",
        tmp_path / "sure.tif",
    )
    assert result.exit_code == 3
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]
