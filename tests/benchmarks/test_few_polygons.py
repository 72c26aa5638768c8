"""What maps from a few polygons are worth, beside what others do with them.

Needs real labels in ../shared, scikit-learn and scikit-image. Results are kept in the file of
HYSEG_FEW_RESULTS, if it is set: a second call goes on where the first was ended. HYSEG_FEW_DRAWS,
HYSEG_FEW_COUNTS and HYSEG_FEW_SCENES choose less; HYSEG_FEW_PICTURE is a file for the curves.
Dubai is in it although the decoder of the built-in model was trained on its tiles 1 and 4 to 7: a
head on polygons takes the frozen transformer alone from that model, which no label has changed.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import astuple
from functools import lru_cache
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
import rasterio
import torch
from benchmarks.few_polygons import (
    draw_squares,
    features_of_image,
    map_by_forest,
    map_by_logistic_regression,
    score,
    write_squares,
)
from benchmarks.few_scenes import CHOOSING, scenes
from rasters import write_geotiff
from workflows.training import run

from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.learn.few.backbone import build_probe, probe_config
from hyseg_cli.learn.few.features import Features, own_pixels, tiles_of
from hyseg_cli.learn.inference.kept_tokens import keep_tokens
from hyseg_cli.learn.inference.precision import choose_precision
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import read_card
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import load_model

COUNTS = [int(count) for count in os.environ.get("HYSEG_FEW_COUNTS", "5 10 20 40").split()]
DRAWS = int(os.environ.get("HYSEG_FEW_DRAWS", "5"))
NAMES = os.environ.get("HYSEG_FEW_SCENES", "").split()


@pytest.mark.bench
def test_print_maps_from_a_few_polygons(shared, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("skimage")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept = Path(os.environ.get("HYSEG_FEW_RESULTS", tmp_path / "results.json"))
    found = json.loads(kept.read_text()) if kept.is_file() else {}
    for scene in scenes(shared):
        if scene.name not in NAMES if NAMES else scene.name in CHOOSING:
            continue
        path = write_geotiff(tmp_path / f"{scene.name}.tif", scene.image.transpose(2, 0, 1))
        for draw in range(DRAWS):
            for count in COUNTS:
                if f"{scene.name} {count} {draw}" not in found:
                    squares = draw_squares(scene.truth, count, draw)
                    found[f"{scene.name} {count} {draw}"] = compare(scene, path, squares)
                    kept.write_text(json.dumps(found))
        print(scene.name, flush=True)
    print_table(found)
    if "HYSEG_FEW_PICTURE" in os.environ:
        draw_curves(found, Path(os.environ["HYSEG_FEW_PICTURE"]))


def draw_curves(found, path):
    """Mean IoU over the number of polygons, of each way, over the scenes that have all numbers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    keys = {key.rsplit(" ", 2)[0] + " " + key.rsplit(" ", 1)[1] for key in found}
    whole = [
        key for key in keys
        if all(f"{key.split()[0]} {count} {key.split()[1]}" in found for count in COUNTS)
    ]  # fmt: skip
    counts = sorted(COUNTS)
    for way, mark in (("hyseg", "o"), ("logistic regression", "s"), ("forest", "^")):
        means = [
            mean(found[f"{key.split()[0]} {count} {key.split()[1]}"][way][0] for key in whole)
            for count in counts
        ]
        axes.plot(counts, [100 * value for value in means], marker=mark, label=way)
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("polygons in a scene")
    axes.set_ylabel("mean IoU in points")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def compare(scene, path, squares):
    """Score and seconds of processor time of each way to map a scene from some squares."""
    labels = path.with_suffix(".gpkg")
    labels.unlink(missing_ok=True)
    write_squares(squares, scene.names, path, labels)
    ways = {
        "hyseg": lambda: map_by_hyseg(path, labels, scene.names),
        "forest": lambda: map_by_forest(features_of(path), squares),
        "logistic regression": lambda: map_by_logistic_regression(tokens_of(path), squares),
    }
    found = {}
    for way, mapped in ways.items():
        start = time.process_time()
        classes = mapped()
        seconds = time.process_time() - start
        found[way] = [*astuple(score(classes, scene, squares)), seconds]
    return found


@lru_cache(maxsize=1)
def features_of(path):
    with rasterio.open(path) as file:
        return features_of_image(file.read().transpose(1, 2, 0))


@lru_cache(maxsize=1)
def tokens_of(path):
    """Maps of the tokens that hyseg sees, float32 (C, h, w), put together from its tiles."""
    model = load_model(find_model(None))
    config = probe_config(model.card, 3, 2)
    network, device = build_probe(find_model(None), config), torch.device("cpu")
    keep_tokens(network, device)
    precision = choose_precision("auto", "cpu")
    with SceneReader(open_raster(path), (1, 2, 3)) as reader:
        standardise, grid = Standardise(model.card.radiometry), tiles_of(reader)
        features = Features(reader, network, standardise, precision=precision, device=device)
        height, width = reader.scene.height, reader.scene.width
        whole = [
            np.zeros((channels, height // side, width // side), np.float32)
            for channels, side in zip(network.backbone.channels, features.sizes, strict=True)
        ]
        for place in np.ndindex(len(grid.rows.starts), len(grid.cols.starts)):
            block = features.block(place)
            own = own_pixels(grid, place)
            for level, tokens, side in zip(whole, block.tokens, features.sizes, strict=True):
                row, col = np.nonzero(own[::side, ::side])
                top, left = block.window.row // side, block.window.col // side
                level[:, row + top, col + left] = tokens[:, row, col].float()
    return whole


def map_by_hyseg(scene, labels, names):
    """Train and map by the commands that people type, with their defaults."""
    model, out = scene.with_suffix(".safetensors"), scene.with_name("map.tif")
    trained = run(
        "train", "--images", scene, "--labels", labels, "--class-field", "kind",
        "--out", model, "--overwrite", "-q",
    )  # fmt: skip
    assert trained.exit_code == 0, trained.output
    mapped = run("predict", scene, "--model", model, "--out", out, "--overwrite", "-q")
    assert mapped.exit_code == 0, mapped.output
    with rasterio.open(out) as file:
        ids = file.read(1)
    found = np.full(ids.shape, 255, np.int64)
    for entry in read_card(model).legend.classes:
        found[ids == entry.id] = names.index(entry.name)
    return found


def print_table(found):
    """Means of all scenes and draws, then of each place."""
    draws = {key.split()[2] for key in found}
    print(f"\n{len(found)} sets of squares, {len(draws)} draws")
    print("| polygons | way | scenes | mIoU | accuracy | boundary F1 | s |")
    print("|---|---|---|---|---|---|---|")
    for place in ("", "dubai", "ohio", "loveda"):
        for count in COUNTS:
            own = [
                ways for key, ways in found.items()
                if key.startswith(place) and key.split()[1] == str(count)
            ]  # fmt: skip
            for way in own[0] if own else ():
                miou, accuracy, edges, seconds = (
                    mean(ways[way][part] for ways in own) for part in range(4)
                )
                print(
                    f"| {count} | {way} | {place or 'all'} | {100 * miou:.1f} | "
                    f"{100 * accuracy:.1f} | {100 * edges:.1f} | {seconds:.0f} |"
                )
