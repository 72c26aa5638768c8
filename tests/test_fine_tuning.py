"""Twenty polygons on a scene that looks other than any that the built-in model has seen."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import pytest
from click.testing import CliRunner
from polygon_scene import PolygonScene

from hyseg_cli.cli.group import cli
from hyseg_cli.learn.model.weights import load_model
from hyseg_cli.legend import read_legend

ROOT = Path(__file__).parents[1]
SCENE = "Tile 3"
LOOK = ["--band", "3,2,1"]
"""It has seen the scene itself, but never with red for blue."""


def evaluated(scene):
    """Scores of the built-in model on the rest of the scene."""
    arguments = ["evaluate", "--images", scene.rest, "--labels", scene.truth, "--json"]
    result = CliRunner().invoke(cli, [str(part) for part in (*arguments, *LOOK, "-q")])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
def test_twenty_polygons_teach_the_built_in_model_a_scene(shared, tmp_path, capsys):
    legend_file = ROOT / "examples" / "dubai.legend.json"
    legend = read_legend(legend_file)
    scene = PolygonScene(tmp_path, legend, drawn_on=(1, 5))
    scene.write(shared / "dubai" / SCENE)
    polygons = scene.draw(20, seed=0)
    ways = {
        # As without held-out images: those that are measured on must not choose.
        "taught": ["--from", "default", "--prior-steps", 0, "--steps", 100, "--blend", 0.5],
        "anew": ["--prior-steps", 60, "--steps", 150],
    }
    scores = {}
    for name, flags in ways.items():
        out = tmp_path / f"{name}.safetensors"
        arguments = [
            "train", "--images", scene.drawn, "--labels", polygons, "--class-field", "kind",
            "--legend", legend_file, "--val-images", scene.rest,
            "--val-labels", scene.truth, "--out", out, "--chip-size", 128,
            "--batch-size", 4, "--val-every", 1000, "-q", *LOOK, *flags,
        ]  # fmt: skip
        result = CliRunner().invoke(cli, [str(part) for part in arguments])
        assert result.exit_code == 0, result.output
        scores[name] = load_model(out).card.metrics
    scores["as it is"] = evaluated(scene)
    with capsys.disabled():
        print(  # noqa: T201 - the figures are what the test is for
            f"\n20 polygons, {gpd.read_file(polygons).area.sum():.0f} m2 of {SCENE}; "
            "measured on the rest of it:"
        )
        for name, found in scores.items():
            line = f"{name:9} mIoU {found['miou']:.3f}, accuracy {found['overall_accuracy']:.3f}"
            print(line)  # noqa: T201
    assert scores["taught"]["miou"] > scores["anew"]["miou"] + 0.02
