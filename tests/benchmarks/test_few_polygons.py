"""mIoU over the number of polygons, beside what others do with them.

Needs real labels in ../shared, a model with a transformer in HYSEG_FEW_MODEL (the built-in one
unless it is set), and scikit-learn and scikit-image.
"""

from __future__ import annotations

import os
from statistics import mean

import numpy as np
import pytest
import rasterio
import torch
from benchmarks.few_polygons import (
    draw_squares,
    map_by_forest,
    map_by_logistic_regression,
    score,
    write_squares,
)
from PIL import Image
from rasters import write_geotiff
from workflows.training import run

from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import load_model

COUNTS = (5, 10, 20, 40)
DRAWS = int(os.environ.get("HYSEG_FEW_DRAWS", "5"))


def loveda(shared, tmp_path):
    """Scenes of LoveDA: path of a GeoTIFF, and labels (H, W), 255 where unknown."""
    for path in sorted((shared / "eval_loveda" / "images").glob("*.png")):
        image = np.asarray(Image.open(path).convert("RGB"))
        mask = np.asarray(Image.open(shared / "eval_loveda" / "masks" / path.name)).astype(int)
        scene = write_geotiff(tmp_path / f"{path.stem}.tif", image.transpose(2, 0, 1))
        yield scene, np.where(mask == 0, 255, mask - 1)


def tokens_of(model, scene):
    """Tokens (h, w, C) of a scene at the finest size that the model has, and their stride."""
    loaded = load_model(model)
    with rasterio.open(scene) as file:
        image = torch.from_numpy(file.read())[None]
    valid = torch.ones(1, 1, *image.shape[-2:], dtype=torch.bool)
    with torch.inference_mode():
        finest = loaded.network.backbone(Standardise(loaded.card.radiometry)(image, valid))[0][0]
    # The last depth alone, as those do it who take a transformer as it comes.
    half = finest[finest.shape[0] // 2 :]
    return half.movedim(0, -1).numpy(), image.shape[-1] // finest.shape[-1]


@pytest.mark.bench
def test_print_maps_from_a_few_polygons(shared, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    pytest.importorskip("skimage")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    donor = find_model(os.environ.get("HYSEG_FEW_MODEL"))
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for scene, truth in loveda(shared, tmp_path):
        with rasterio.open(scene) as file:
            image = file.read().transpose(1, 2, 0)
        tokens, stride = None, 0
        for count in COUNTS:
            for seed in range(DRAWS):
                squares = draw_squares(truth, count, seed)
                labels = tmp_path / "drawn.gpkg"
                labels.unlink(missing_ok=True)
                write_squares(squares, scene, labels)
                mine = map_by_hyseg(scene, labels, donor, tmp_path)
                if tokens is None:
                    tokens, stride = tokens_of(tmp_path / "my.safetensors", scene)
                ways = {
                    "hyseg": mine,
                    "forest": map_by_forest(image, squares),
                    "logistic": map_by_logistic_regression(tokens, stride, squares),
                }
                for way, mapped in ways.items():
                    found.setdefault((way, count), []).append(score(mapped, truth, squares))
    print("\n| polygons | way | mIoU | boundary F1 |\n|---|---|---|---|")
    for (way, count), scores in sorted(found.items(), key=lambda entry: (entry[0][1], entry[0][0])):
        ious, edges = zip(*scores, strict=True)
        print(f"| {count} | {way} | {100 * mean(ious):.1f} | {100 * mean(edges):.1f} |")


def map_by_hyseg(scene, labels, donor, tmp_path):
    """Train and map by the commands that people type."""
    model, out = tmp_path / "my.safetensors", tmp_path / "map.tif"
    trained = run(
        "train", "--images", scene, "--labels", labels, "--class-field", "kind",
        "--from", donor, "--out", model, "--preset", "probe", "--overwrite", "-q",
    )  # fmt: skip
    assert trained.exit_code == 0, trained.output
    mapped = run("predict", scene, "--model", model, "--out", out, "--overwrite", "-q")
    assert mapped.exit_code == 0, mapped.output
    with rasterio.open(out) as file:
        return file.read(1).astype(np.int64)
