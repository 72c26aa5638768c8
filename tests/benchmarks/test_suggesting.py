"""Whether `hyseg suggest` finds better places than chance, simulated on real labels.

Five rounds of ten squares of 16 pixels: those that are suggested, or at random places. A square
that holds several classes is deleted, as a person would, and the next one is taken. Besides, 13,
26, ... 65 squares at random: what is suggested must be worth as much as 30 % more. Needs real
labels in ../shared. HYSEG_FEW_RESULTS, HYSEG_FEW_DRAWS and HYSEG_FEW_SCENES as in
test_few_polygons.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import mean

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from benchmarks.few_polygons import Square, classes_of, score, write_squares
from benchmarks.few_scenes import CHOOSING, UNLABELLED, scenes
from benchmarks.test_few_polygons import map_by_hyseg
from rasters import write_geotiff
from workflows.training import run

ROUNDS, TEN, SIDE = 5, 10, 16
MORE = 1.3
DRAWS = int(os.environ.get("HYSEG_FEW_DRAWS", "2"))
NAMES = os.environ.get("HYSEG_FEW_SCENES", "").split()


@pytest.mark.bench
def test_print_suggested_places_beside_random_ones(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept = Path(os.environ.get("HYSEG_FEW_RESULTS", tmp_path / "results.json"))
    found = json.loads(kept.read_text()) if kept.is_file() else {}
    for scene in scenes(shared):
        if scene.name not in NAMES if NAMES else scene.name in CHOOSING:
            continue
        path = write_geotiff(tmp_path / f"{scene.name}.tif", scene.image.transpose(2, 0, 1))
        for draw in range(DRAWS):
            if f"{scene.name} {draw}" not in found:
                found[f"{scene.name} {draw}"] = simulate(scene, path, draw)
                kept.write_text(json.dumps(found))
                print(scene.name, draw, found[f"{scene.name} {draw}"], flush=True)
    print("\n| squares | suggested | random | random, 30 % more |\n|---|---|---|---|")
    for turn in range(ROUNDS):
        cells = [100 * mean(entry[way][turn] for entry in found.values()) for way in WAYS]
        print(f"| {TEN * (turn + 1)} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")
    print(f"{len(found)} sets of squares")


WAYS = ("suggested", "random", "more")


def simulate(scene, path, draw):
    """Mean IoU after each round, of each way."""
    order = random_squares(scene.truth, int(TEN * ROUNDS * MORE) + 1, draw)
    found = {
        "random": [worth(scene, path, order[: TEN * turn]) for turn in range(1, ROUNDS + 1)],
        "more": [
            worth(scene, path, order[: round(MORE * TEN * turn)]) for turn in range(1, ROUNDS + 1)
        ],
    }
    squares = order[:TEN]
    found["suggested"] = [found["random"][0]]
    worth(scene, path, squares)
    for _turn in range(1, ROUNDS):
        squares = squares + suggested_squares(scene, path, squares)
        found["suggested"].append(worth(scene, path, squares))
    return found


def worth(scene, path, squares):
    labels = path.with_suffix(".gpkg")
    labels.unlink(missing_ok=True)
    write_squares(squares, scene.names, path, labels)
    return score(map_by_hyseg(path, labels, scene.names), scene, squares).miou


def random_squares(truth, count, draw):
    """Squares at random places of the grid of what may be suggested."""
    rng = np.random.default_rng(draw)
    places = [(row, col) for row in range(0, 1024, SIDE) for col in range(0, 1024, SIDE)]
    squares = []
    for index in rng.permutation(len(places)):
        square = labelled(truth, *places[index])
        if square is not None:
            squares.append(square)
        if len(squares) == count:
            break
    if len({square.channel for square in squares[:TEN]}) < 2:
        pytest.fail("ten squares of one class")
    return squares


def suggested_squares(scene, path, squares):
    """The first ten places of one class that the last model suggests."""
    out = path.with_name("next.gpkg")
    done = run(
        "suggest", path, "--model", path.with_suffix(".safetensors"), "--labels",
        path.with_suffix(".gpkg"), "--class-field", "kind", "--out", out, "-n", 3 * TEN,
        "--overwrite", "-q",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    table = gpd.read_file(out, layer="polygons")
    with rasterio.open(path) as file:
        inverse = ~file.transform
    found = []
    for shape in table[table["rank"] > 0].sort_values("rank").geometry:
        left, _, _, top = shapely.bounds(shape)
        col, row = (round(value) for value in inverse * (left, top))
        square = labelled(scene.truth, row, col)
        if square is not None:
            found.append(square)
    return found[:TEN]


def labelled(truth, row, col):
    """The square at a place, if it holds one class that counts."""
    part = truth[row : row + SIDE, col : col + SIDE]
    channel = int(part[0, 0])
    if channel == UNLABELLED or (part != channel).any() or channel not in classes_of(truth):
        return None
    return Square(row, col, SIDE, channel)
