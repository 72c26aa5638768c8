"""`hyseg models`, and names of models where a command takes one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import rasterio
from click.testing import CliRunner

from hyseg_cli.cli.group import cli
from hyseg_cli.errors import UsageProblemError
from hyseg_cli.learn.model.card import digest_of
from hyseg_cli.workflows.evaluate.calibrate import _own_model
from hyseg_models.cost import Cost, PartCost


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, tiny_model):
    """A folder of models with `tiny` in it."""
    path = tmp_path / "own models"
    path.mkdir()
    shutil.copyfile(tiny_model, path / "tiny.safetensors")
    monkeypatch.setenv("HYSEG_MODELS", str(path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return path


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_the_list_tells_what_each_model_is_and_what_is_wrong_with_others(folder):
    (folder / "broken.safetensors").write_text("hello")
    result = run("models", "list", "--json")
    assert result.exit_code == 0, result.output
    found = {model["name"]: model for model in json.loads(result.stdout)["models"]}
    assert set(found) == {"default", "broken", "tiny"}
    assert found["default"]["built_in"]
    assert found["tiny"]["classes"] == ["building", "land", "road", "vegetation", "water"]
    assert found["tiny"]["resolution_m"] == [0.25, 1.0]
    assert "safetensors" in found["broken"]["problem"]
    text = run("models", "list").stdout
    assert "broken" in text
    assert "cannot be used" in text
    assert str(folder) in text


def test_paths_are_those_of_the_model_or_of_the_folders(folder, tmp_path):
    assert run("models", "path", "tiny").stdout.strip() == str(folder / "tiny.safetensors")
    folders = run("models", "path").stdout.splitlines()
    assert folders == [str(folder), str(tmp_path / "data/hyseg/models")]
    assert run("models", "path", folder / "none.safetensors").exit_code == 2


def test_show_tells_what_info_tells(monkeypatch):
    part = PartCost(1, 2)  # counting takes seconds
    cost = Cost({"host": part}, part)
    monkeypatch.setattr("hyseg_models.cost.measure_cost", lambda *_: cost)
    shown, told = run("models", "show", "tiny"), run("info", "tiny", "--all")
    assert shown.exit_code == 0
    assert shown.stdout == told.stdout
    assert "0.25 to 1 m" in shown.stdout


def test_a_scene_is_mapped_with_a_model_by_name(scene_folder, tmp_path, tiny_model):
    out = tmp_path / "map.tif"
    scene = scene_folder / "images" / "east.tif"
    result = run("predict", scene, "-m", "tiny", "-o", out, "--tile-size", 256)
    assert result.exit_code == 0, result.output
    with rasterio.open(out) as file:
        assert file.tags()["HYSEG_MODEL"] == digest_of(tiny_model)


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "{scene}", "-o", "{out}.tif", "-m"),
        ("evaluate", "--images", "{scene}", "--labels", "{labels}", "-m"),
        (
            "train",
            "--images",
            "{scene}",
            "--labels",
            "{labels}",
            "-o",
            "{out}.safetensors",
            "--from",
        ),
        ("info", "{scene}", "-m"),
        ("info",),
        ("models", "show"),
        ("models", "path"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_name_that_no_model_has_is_a_wrong_usage_everywhere(arguments, scene_folder, tmp_path):
    places = {
        "scene": scene_folder / "images" / "east.tif",
        "labels": scene_folder / "labels" / "east.tif",
        "out": tmp_path / "out",
    }
    result = run(*(argument.format(**places) for argument in arguments), "tony")
    assert result.exit_code == 2, result.output
    assert "no model is called 'tony'" in result.stderr
    assert "Did you mean tiny?" in result.stderr
    assert not Path(tmp_path / "out.tif").exists()


def test_a_temperature_goes_to_a_model_by_name_but_not_to_the_built_in_one(folder, tmp_path):
    assert _own_model(Path("tiny")) == folder / "tiny.safetensors"
    path = tmp_path / "mine.safetensors"
    assert _own_model(path) == path
    with pytest.raises(UsageProblemError, match="would change the built-in model"):
        _own_model(Path("default"))
