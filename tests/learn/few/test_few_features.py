"""Features of places are what the network makes of the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rasters import write_geotiff

from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.learn.few.design import design, set_head, set_moments
from hyseg_cli.learn.few.features import (
    BLOCK,
    Features,
    Moments,
    blocks_of,
    make_room,
    sample_block,
)
from hyseg_cli.learn.few.probe import Fit
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import Radiometry
from hyseg_models import HySegConfig, build
from hyseg_models.config.config import HeadConfig, HostConfig
from hyseg_models.config.probe_config import ProbeConfig

PROBE = ProbeConfig(backbone="test_vit", depths=(1, 2), radius=0)
CONFIG = HySegConfig(
    bands=3,
    classes=3,
    head=HeadConfig(kind="none", prior="none", message="identity"),
    host=HostConfig(name="probe", backbone="test_vit", frozen=True),
    probe=PROBE,
)
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


def features_of(reader, network, folder=None):
    return Features(
        reader, network, Standardise(RADIOMETRY), key=("test",), folder=folder, device=CPU
    )


@pytest.mark.parametrize("detail", [0, 16])
def test_a_head_scores_places_as_the_network_scores_the_scene(reader, detail):
    network = build(replace(CONFIG, probe=replace(PROBE, detail=detail))).eval()
    features = features_of(reader, network)
    block = features.block((0, 0))
    moments = Moments()
    moments.add(block)
    set_moments(network, *moments.result())
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
    moments = Moments()
    moments.add(features.block((0, 0)))
    mean, scale = moments.result()
    rows, cols = (part.ravel() for part in np.mgrid[0:192:2, 0:192:2])
    sampled = sample_block(features.block((0, 0)), features.sizes, rows, cols)
    standard = (sampled - mean) * scale
    assert standard.mean(dim=0).abs().max() < 0.5
    assert 0.5 < standard.std() < 1.5


def test_kept_features_are_those_that_were_computed(reader, network, tmp_path):
    fresh = features_of(reader, network, tmp_path / "kept").block((0, 0))
    assert features_of(reader, network, tmp_path / "kept").is_kept((0, 0))
    kept = features_of(reader, network, tmp_path / "kept").block((0, 0))
    assert all(torch.equal(a, b) for a, b in zip(fresh.tokens, kept.tokens, strict=True))


def test_blocks_hold_their_pixels():
    rows, cols = np.array([0, BLOCK - 1, BLOCK, 5 * BLOCK]), np.array([0, 0, 0, 2 * BLOCK])
    assert blocks_of(rows, cols) == [(0, 0), (1, 0), (5, 2)]


def test_the_oldest_features_make_room(tmp_path):
    import os

    for age in range(4):
        path = tmp_path / f"{age}.safetensors"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1000 - age, 1000 - age))
    make_room(tmp_path, limit=250)
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["0", "1"]
    make_room(tmp_path / "not there")
