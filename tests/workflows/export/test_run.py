"""`hyseg export`: a file that finds other classes than the network gets no name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hyseg_cli.cli.group import cli
from hyseg_cli.errors import CheckFailedError
from hyseg_cli.workflows.export.run import compare

# torch.export and onnxscript warn of what they will change in themselves.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def run(*words, code=0):
    result = CliRunner().invoke(cli, ["export", *map(str, words)])
    assert result.exit_code == code, result.output
    return result


def shares(classes):
    """Probabilities (1, 3, 40, 50) whose largest one is that of some classes."""
    return np.eye(3, dtype=np.float32)[classes].transpose(2, 0, 1)[None]


@pytest.mark.parametrize(("wrong", "passes"), [(0, True), (2, True), (3, False), (300, False)])
def test_a_file_passes_only_if_999_of_1000_pixels_have_the_networks_class(wrong, passes):
    classes = np.zeros((40, 50), int)
    other = classes.copy()
    other.flat[:wrong] = 1
    if passes:
        result = compare(Path("m.onnx"), [shares(classes)], [shares(other)], [shares(classes)])
        assert result.agreement == pytest.approx(1 - wrong / 2000)
        return
    with pytest.raises(CheckFailedError, match="finds the network's class on"):
        compare(Path("m.onnx"), [shares(classes)], [shares(other)], [shares(classes)])


def test_a_file_of_numbers_that_are_none_does_not_pass():
    good = shares(np.ones((40, 50), int))
    with pytest.raises(CheckFailedError):
        compare(Path("m.onnx"), [good], [np.full_like(good, np.nan)], [good])


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--tile-size", "100"], 2, "--tile-size 96"),
        (["--format", "pt2"], 2, ".pt2"),
        (["--scene", "none.tif"], 2, "none.tif"),
    ],
)
def test_what_cannot_be_exported_is_an_error_with_a_hint(
    tiny_model, scene_folder, tmp_path, more, code, said
):
    scene = scene_folder / "images" / "east.tif"
    words = [tiny_model, "--scene", scene, "--out", tmp_path / "m.onnx", *more]
    assert said in run(*words, code=code).output
    assert list(tmp_path.iterdir()) == []


def test_a_scene_without_data_is_not_one_to_check_on(tiny_model, write_raster, tmp_path):
    scene = write_raster(np.zeros((3, 128, 128), np.uint8), nodata=0)
    words = [tiny_model, "--scene", scene, "--out", tmp_path / "m.onnx", "--tile-size", 64]
    assert "holds data" in run(*words, code=2).output
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_a_file_finds_what_the_network_finds(lively_model, scene_folder, tmp_path, form):
    if form == "onnx":
        pytest.importorskip("onnxscript")
        onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / f"m.{form}"
    scene = scene_folder / "images" / "east.tif"
    words = [lively_model, "--scene", scene, "--out", out, "--format", form, "--tile-size", 96]
    told = json.loads(run(*words, "--json").stdout)
    assert told["agreement"] >= 0.999
    assert told["largest_difference"] < 1e-3
    assert list(tmp_path.iterdir()) == [out]
    if form == "onnx":
        session = onnxruntime.InferenceSession(str(out))
        found = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
        assert found["model_type"] == "Segmentor"
        assert list(found["class_names"]) == ["0", "1", "2", "3", "4"]
        assert found["tile_size"] == found["tiles_size"] == 96
        assert found["resolution"] == 50.0
        assert [put.shape for put in session.get_inputs()] == [[1, 3, 96, 96]]
        assert [got.shape for got in session.get_outputs()] == [[1, 5, 96, 96]]
