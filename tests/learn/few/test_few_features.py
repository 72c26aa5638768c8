"""Features of places are what the network makes of the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import probe_config
from hypothesis import given, settings
from hypothesis import strategies as st
from rasters import write_geotiff

from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.learn.few.design import design, set_head, set_moments
from hyseg_cli.learn.few.features import (
    Features,
    Moments,
    own_pixels,
    sample_block,
    spread_over,
    tile_of,
    window_of,
)
from hyseg_cli.learn.few.probe import Fit
from hyseg_cli.learn.inference.kept_tokens import KeptTokens
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import Radiometry
from hyseg_models import build

CONFIG = probe_config(radius=0)
RADIOMETRY = Radiometry((120.0, 110.0, 100.0), (50.0, 50.0, 50.0))
CPU = torch.device("cpu")


@pytest.fixture
def reader(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 24, 24)).astype(np.uint8)
    smooth = pixels.repeat(8, axis=1).repeat(8, axis=2)  # 192 x 192 pixels
    return SceneReader(open_raster(write_geotiff(tmp_path / "scene.tif", smooth)), (1, 2, 3))


@pytest.fixture
def network():
    return build(CONFIG).eval()


def features_of(reader, network):
    return Features(reader, network, Standardise(RADIOMETRY), precision="float32", device=CPU)


@pytest.mark.parametrize("detail", [0, 16])
def test_a_head_scores_places_as_the_network_scores_the_scene(reader, detail):
    network = build(replace(CONFIG, probe=replace(CONFIG.probe, detail=detail))).eval()
    features = features_of(reader, network)
    block = features.block((0, 0))
    set_moments(network, *Moments.of(block).result())
    rng = np.random.default_rng(1)
    rows, cols = rng.integers(0, 192, (2, 50))
    x = design(network, sample_block(block, features.sizes, rows, cols))
    fitted = Fit(torch.randn(3, x.shape[1]), torch.randn(3), 0.01, None, 1.0)
    set_head(network, fitted)
    scores = x @ fitted.weight.T + fitted.bias
    pixels = reader.read(block.window)
    standard = Standardise(RADIOMETRY)(
        torch.from_numpy(pixels.image)[None], torch.from_numpy(pixels.valid)[None, None]
    )
    with torch.inference_mode():
        logits = network(standard).logits[0]
    seen = logits[:, rows - block.window.row, cols - block.window.col].T
    assert torch.allclose(scores, seen, atol=0.05)  # features are kept in half precision
    assert scores.std() > 0.5


def test_moments_standardise_what_they_were_taken_of(reader, network):
    features = features_of(reader, network)
    mean, scale = Moments.of(features.block((0, 0))).result()
    rows, cols = (part.ravel() for part in np.mgrid[0:192:2, 0:192:2])
    sampled = sample_block(features.block((0, 0)), features.sizes, rows, cols)
    standard = (sampled - mean) * scale
    assert standard.mean(dim=0).abs().max() < 0.5
    assert 0.5 < standard.std() < 1.5


def test_tiles_that_are_kept_are_known(reader, network, tmp_path):
    features = features_of(reader, network)
    assert not features.is_kept((0, 0))
    network.backbone.recall = KeptTokens(network.backbone, tmp_path, 2**20)
    assert not features.is_kept((0, 0))
    features.block((0, 0))
    assert features.is_kept((0, 0))


@given(
    height=st.integers(1, 900), width=st.integers(1, 900), phase=st.integers(0, 31),
    tile=st.sampled_from([128, 256]), overlap=st.sampled_from([0, 32, 64]),
)  # fmt: skip
@settings(deadline=None, max_examples=30)
def test_each_pixel_of_a_scene_is_one_tiles_own(height, width, phase, tile, overlap):
    grid = TileGrid.cover(height, width, tile=tile, overlap=overlap, phase=(phase, 0))
    times = np.zeros((height + 2 * tile, width + 2 * tile), int)
    for row in range(len(grid.rows.starts)):
        for col in range(len(grid.cols.starts)):
            window, own = window_of(grid, (row, col)), own_pixels(grid, (row, col))
            top, left = window.row + tile, window.col + tile
            times[top : top + window.height, left : left + window.width] += own
            rows, cols = np.nonzero(own)
            assert (tile_of(grid.rows, rows + window.row) == row).all()
            assert (tile_of(grid.cols, cols + window.col) == col).all()
    inside = np.zeros_like(times)
    inside[tile : tile + height, tile : tile + width] = 1
    assert (times == inside).all()


def test_places_spread_over_a_tile_lie_in_the_scene(reader, network):
    block = features_of(reader, network).block((0, 0))
    rows, cols = spread_over(block, 16)
    assert len(rows) == (192 // 16) ** 2
    assert set(np.diff(np.unique(rows))) == {16}
    assert min(rows.min(), cols.min()) >= 0
    assert max(rows.max(), cols.max()) < 192
