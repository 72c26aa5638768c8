"""Outputs opened in QGIS without a click: the legend's names and colours, and the right pixels."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image

from hyseg_cli.cli.group import cli
from hyseg_cli.legend import format_color

pytestmark = [pytest.mark.qgis, pytest.mark.timeout(600)]

PYTHON = os.environ.get("QGIS_PYTHON", "/usr/bin/python3")
SCRIPT = Path(__file__).with_name("look_at_layers.py")


def start_qgis(*words):
    """QGIS without a screen, in a Python of its own that must not see the packages of this one."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "GDAL_DATA", "PROJ_DATA", "PROJ_LIB")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    env["QT_QPA_PLATFORM"] = "offscreen"
    return subprocess.run(
        [PYTHON, *map(str, words)], env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module", autouse=True)
def _qgis():
    if not Path(PYTHON).exists() or start_qgis("-c", "import qgis.core").returncode:
        pytest.skip(f"{PYTHON} has no qgis.core (see tests/qgis/install_and_check.sh)")


def run(*words):
    result = CliRunner().invoke(cli, [*map(str, words), "--quiet"])
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, scene_folder, lively_model):
    """A folder with a map, its polygons and its styles under one name, and the map alone."""
    folder = tmp_path_factory.mktemp("qgis")
    scene = scene_folder / "images" / "east.tif"
    run(
        "predict", scene, "--out", folder / "map.tif", "-m", lively_model, "--style",
        "--confidence", folder / "sure.tif", "--probabilities", folder / "shares.tif",
    )  # fmt: skip
    run("vectorize", folder / "map.tif", "--out", folder / "map.gpkg", "--mmu", "16px")
    (folder / "alone").mkdir()
    for name in ("map.tif", "map.tif.aux.xml"):
        (folder / "alone" / name).write_bytes((folder / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def seen(outputs):
    """What QGIS tells of each file."""
    names = {
        "styled": outputs / "map.tif",
        "alone": outputs / "alone" / "map.tif",
        "polygons": outputs / "map.gpkg",
        "confidence": outputs / "sure.tif",
        "probabilities": outputs / "shares.tif",
    }
    done = start_qgis(SCRIPT, outputs, *names.values())
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    layers = dict(zip(names, told["layers"], strict=True))
    for layer in layers.values():
        assert layer["valid"], layer
        assert layer["errors"] == []
        assert layer["crs"] == "EPSG:32632"
    return layers


def expected_classes(legend):
    return [[c.id, c.name, format_color(c.color), 255] for c in legend.classes]


def expected_picture(outputs, legend):
    """The map in the legend's colours, transparent where it has no class."""
    with rasterio.open(outputs / "map.tif") as file:
        classes = file.read(1)
    table = np.zeros((256, 4), np.uint8)
    for entry in legend.classes:
        table[entry.id] = (*entry.color, 255)
    return table[classes]


def test_a_map_with_a_style_shows_the_legend_and_nothing_else(seen, legend):
    assert seen["styled"]["renderer"] == "paletted"
    assert seen["styled"]["classes"] == expected_classes(legend)


def test_a_map_alone_shows_names_and_colours(seen, legend):
    assert seen["alone"]["renderer"] == "paletted"
    # Before QGIS knew attribute tables it listed all 256 colours of a TIFF.
    shown = seen["alone"]["classes"]
    assert shown[: len(legend)] == expected_classes(legend)
    assert len(shown) in (len(legend), 256)


@pytest.mark.parametrize("name", ["styled", "alone"])
def test_every_pixel_of_a_map_has_the_colour_of_its_class(outputs, seen, legend, name):
    drawn = np.asarray(Image.open(seen[name]["picture"]).convert("RGBA"))
    wanted = expected_picture(outputs, legend)
    is_shown = wanted[..., 3] > 0
    assert 0 < is_shown.mean() < 1
    np.testing.assert_array_equal(drawn[..., 3] > 0, is_shown)
    np.testing.assert_array_equal(drawn[is_shown], wanted[is_shown])


def test_polygons_show_the_legend_though_the_map_has_a_style_of_that_name(seen, legend):
    layer = seen["polygons"]
    assert layer["renderer"] == "categorizedSymbol"
    assert layer["features"] > 10
    known = {c.name: format_color(c.color) for c in legend.classes}
    shown = {label: color for _, label, color, _ in layer["classes"]}
    assert len(shown) > 1
    assert shown.items() <= known.items()
    assert all(value == label for value, label, *_ in layer["classes"])


def test_polygons_are_drawn_in_the_colours_of_the_legend(seen, legend):
    drawn = np.asarray(Image.open(seen["polygons"]["picture"]).convert("RGBA")).reshape(-1, 4)
    colors = {
        tuple(color) for color in np.unique(drawn[drawn[:, 3] == 255], axis=0)[:, :3].tolist()
    }
    assert colors <= {c.color for c in legend.classes}
    assert len(colors) > 1
    assert (drawn[:, 3] == 255).mean() > 0.5


def test_confidence_and_probabilities_are_shares_with_names(seen, legend):
    assert seen["confidence"]["bands"] == ["Band 1: confidence"]
    assert seen["probabilities"]["bands"] == [
        f"Band {number}: {name}" for number, name in enumerate(legend.names, 1)
    ]
    for name in ("confidence", "probabilities"):
        assert [scale * 254 for scale in seen[name]["scales"]] == pytest.approx(
            [1.0] * len(seen[name]["scales"])
        )
