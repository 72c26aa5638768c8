"""Published class rasters, sampled and evaluated with themselves as the truth."""

from __future__ import annotations

import json

import geopandas as gpd
import pytest
from click.testing import CliRunner

from hyseg_cli.cli.group import cli
from hyseg_cli.sampling.design import read_design

LABELS = [
    "labels_cdl/2021_30m_cdls.tif",
    "labels_chesapeake/Baywide_7class_20132014_E1300000_N1770000.tif",
    "labels_nlcd/nlcd2011.tif",
    pytest.param(
        "labels_worldcover/ESA_WorldCover_10m_2021_v200_N00E006_Map.tif", marks=pytest.mark.slow
    ),
]


def done(*arguments):
    result = CliRunner().invoke(cli, [str(part) for part in arguments])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("path", LABELS)
def test_a_map_agrees_with_itself_at_every_point(shared, tmp_path, path):
    points = tmp_path / "points.gpkg"
    drawn = done("sample", shared / path, "-o", points, "--count", 1_000, "--min-per-class", 5,
                 "--json")  # fmt: skip
    design = read_design(tmp_path / "points.design.json")
    frame = gpd.read_file(points)
    frame["ref_class"] = [str(design.points[i].map_class) for i in frame.sample_id]
    frame.to_file(points, layer="samples")
    found = done("evaluate", shared / path, "--samples", points, "--json")
    assert found["points"] == drawn["points"] == 1_000
    assert found["overall_accuracy"]["value"] == pytest.approx(1)
    assert found["overall_accuracy"]["se"] == 0
    # Every stratum is a class, so the areas are those of the map, to the last pixel.
    for of_class in found["classes"].values():
        assert of_class["area_ha"]["value"] == pytest.approx(of_class["mapped_ha"])
    assert sum(c["mapped_ha"] for c in found["classes"].values()) == pytest.approx(
        sum(stratum["area_ha"] for stratum in drawn["strata"])
    )
