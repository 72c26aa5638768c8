"""Twenty polygons on a scene that the built-in model has not seen."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from rasterio.features import shapes
from rasterio.transform import from_origin
from scipy.ndimage import label

from hyseg_cli.cli import cli
from hyseg_cli.geo.picture import read_picture
from hyseg_cli.learn.labels import encode_labels
from hyseg_cli.learn.weights import load_model
from hyseg_cli.legend_files import read_legend

ROOT = Path(__file__).parents[1]
SCENE = "Tile 3"
DRAWN_ON = (1, 5)
"""Images of the scene with polygons; the others are measured on."""
RADIUS_PX = 30


def write_images(folder, dubai, legend):
    """The images of the scene and their labels as GeoTIFFs, side by side on the ground."""
    for kind in ("drawn", "rest", "truth"):
        (folder / kind).mkdir()
    for path in sorted((dubai / SCENE / "images").glob("*.jpg")):
        number = int(path.stem[-3:])
        image = read_picture(path)
        mask = read_picture(path.parents[1] / "masks" / f"{path.stem}.png")
        labels = encode_labels(mask, legend, path.name)
        place = from_origin(300_000 + 1000 * number, 2_780_000, 0.3, 0.3)
        parts = [("drawn", image)] if number in DRAWN_ON else [("rest", image)]
        for kind, array in (*parts, ("truth", labels[None])):
            with rasterio.open(
                folder / kind / f"{number}.tif", "w", driver="GTiff", count=len(array),
                height=array.shape[1], width=array.shape[2], dtype="uint8", crs="EPSG:32640",
                transform=place, nodata=255 if kind == "truth" else None,
            ) as file:  # fmt: skip
                file.write(array)


def draw_polygons(folder, legend, count=20, seed=0):
    """Pieces of what one sees around points drawn at random, the classes in turn."""
    rng = np.random.default_rng(seed)
    rasters = {}
    for number in DRAWN_ON:
        with rasterio.open(folder / "truth" / f"{number}.tif") as file:
            rasters[number] = file.read(1), file.transform
    places = [
        [(number, at) for number, (labels, _) in rasters.items() for at in np.argwhere(labels == c)]
        for c in range(len(legend))
    ]
    present = [channel for channel, found in enumerate(places) if found]
    drawn = []
    for turn in range(count):
        channel = present[turn % len(present)]
        number, (row, col) = places[channel][rng.integers(len(places[channel]))]
        labels, transform = rasters[number]
        down, across = np.indices(labels.shape)
        near = np.hypot(down - row, across - col) < RADIUS_PX
        pieces, _ = label((labels == channel) & near)
        piece = (pieces == pieces[row, col]).astype(np.uint8)
        outline = next(shape for shape, value in shapes(piece, transform=transform) if value == 1)
        drawn.append((legend.names[channel], shapely.geometry.shape(outline)))
    classes, geometry = zip(*drawn, strict=True)
    path = folder / "polygons.gpkg"
    gpd.GeoDataFrame({"kind": classes}, geometry=list(geometry), crs="EPSG:32640").to_file(path)
    return path


def evaluated(folder):
    """Scores of the built-in model on the rest of the scene."""
    arguments = ["evaluate", "--images", folder / "rest", "--labels", folder / "truth", "--json"]
    result = CliRunner().invoke(cli, [str(part) for part in (*arguments, "-q")])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
def test_twenty_polygons_teach_the_built_in_model_a_scene(shared, tmp_path, capsys):
    legend_file = ROOT / "examples" / "dubai.legend.json"
    legend = read_legend(legend_file)
    write_images(tmp_path, shared / "dubai", legend)
    polygons = draw_polygons(tmp_path, legend)
    ways = {
        "taught": ["--from", "default", "--prior-steps", 0, "--steps", 100],
        "anew": ["--prior-steps", 60, "--steps", 150],
    }
    scores = {}
    for name, flags in ways.items():
        out = tmp_path / f"{name}.safetensors"
        arguments = [
            "train", "--images", tmp_path / "drawn", "--labels", polygons, "--class-field", "kind",
            "--legend", legend_file, "--val-images", tmp_path / "rest",
            "--val-labels", tmp_path / "truth", "--out", out, "--chip-size", 128,
            "--batch-size", 4, "--val-every", 1000, "-q", *flags,
        ]  # fmt: skip
        result = CliRunner().invoke(cli, [str(part) for part in arguments])
        assert result.exit_code == 0, result.output
        scores[name] = load_model(out).card.metrics
    scores["as it is"] = evaluated(tmp_path)
    with capsys.disabled():
        print(  # noqa: T201 - the figures are what the test is for
            f"\n20 polygons, {gpd.read_file(polygons).area.sum():.0f} m2 of {SCENE}; "
            "measured on the rest of it:"
        )
        for name, found in scores.items():
            line = f"{name:9} mIoU {found['miou']:.3f}, accuracy {found['overall_accuracy']:.3f}"
            print(line)  # noqa: T201
    assert scores["taught"]["miou"] > scores["anew"]["miou"] + 0.02
