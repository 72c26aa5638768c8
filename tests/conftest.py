"""Fixtures: small rasters written on the spot, a tiny model, the folder of real data."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import make_scene
import numpy as np
import pytest
import torch
from rasters import write_geotiff

from hyseg_cli.geo.output.cog import Source, put_in_place, write_cog
from hyseg_cli.geo.output.shards import shard_path, writing_shard
from hyseg_cli.geo.output.sidecar import sidecar_of_classes
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.suffixes import SIDECAR_SUFFIX
from hyseg_cli.geo.tiling.blocks import Block
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.inference import precision
from hyseg_cli.learn.model.card import ModelCard
from hyseg_cli.learn.model.weights import load_model, save_model
from hyseg_cli.legend import Legend
from hyseg_models import HySegConfig, build, preset
from hyseg_models.config.config import HeadConfig, HostConfig
from hyseg_models.config.probe_config import ProbeConfig

DISK_SIZE = 400_000
"""Bytes of the disk that a test may fill."""
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Whatever connects to another host fails; servers on this machine still answer."""
    connect = socket.socket.connect

    def refuse(self, address):
        if isinstance(address, tuple) and address[0] != "127.0.0.1":
            message = f"a test tried to connect to {address}"
            raise OSError(message)
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True)
def _in_single_precision(monkeypatch):
    """What is computed does not depend on what this machine is good at."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    for command in ("PREDICT", "TRAIN"):
        monkeypatch.setenv(f"HYSEG_{command}_PRECISION", "float32")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture
def shared() -> Path:
    """The folder of real rasters, which is not part of the repository."""
    if not (SHARED / "data").is_dir():
        pytest.skip("real data of ../shared is not here")
    return SHARED / "data"


@pytest.fixture(scope="session")
def legend() -> Legend:
    return Legend.from_dict(make_scene.LEGEND)


@pytest.fixture(scope="session")
def scene_folder(tmp_path_factory) -> Path:
    """Two generated scenes, `east` and `west`, with labels and legend.json."""
    folder = tmp_path_factory.mktemp("scenes")
    make_scene.write_scene(folder, "east", seed=1, size=256)
    make_scene.write_scene(folder, "west", seed=2, size=256)
    return folder


def tiny_config() -> HySegConfig:
    """The smallest network with every part of the method in it."""
    config = replace(preset("cpu_smoke"), classes=5)
    return replace(
        config,
        host=replace(config.host, backbone="resnet10t"),
        prior=replace(
            config.prior,
            condition=replace(config.prior.condition, backbone="resnet10t"),
            net=replace(config.prior.net, base=8, mult=(1, 2)),
        ),
    )


def probe_config(*, bands: int = 3, classes: int = 3, **probe: object) -> HySegConfig:
    """A probe on the tokens of a tiny transformer."""
    return HySegConfig(
        bands=bands,
        classes=classes,
        head=HeadConfig(kind="none", prior="none", message="identity"),
        host=HostConfig(name="probe", backbone="test_vit", frozen=True),
        probe=ProbeConfig(backbone="test_vit", **{"depths": (1, 2), **probe}),
    )


def make_card(legend: Legend, **changes: object) -> ModelCard:
    """A card of the tiny network for 8-bit RGB."""
    values = {
        "config": tiny_config(),
        "legend": legend,
        "bands": ("red", "green", "blue"),
        "dtype": "uint8",
        "mean": (120.0, 110.0, 100.0),
        "std": (50.0, 45.0, 40.0),
        "resolution_m": (0.25, 1.0),
        "tile_size": 128,
    }
    return ModelCard(**{**values, **changes})


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, legend) -> Path:
    """A model file with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    card = make_card(legend)
    save_model(path, build(card.config), card)
    return path


@pytest.fixture(scope="session")
def write_map():
    """Write a map as the run of a scene does: shards of neighbouring parts, then the COG."""

    def write(path, spec, classes, *, rows=100, parts=3):
        work, width = WorkFolder(path), -(-spec.width // parts)
        blocks = [
            Block(
                range(1),
                range(1),
                Window(row, col, min(600, spec.height - row), min(width, spec.width - col)),
            )
            for row in range(0, spec.height, 600)
            for col in range(0, spec.width, width)
        ]
        with work.locked():
            for block in blocks:
                part = classes[block.window.slices]
                with writing_shard(work, block, 1) as shard:
                    for start in range(0, len(part), rows):
                        shard.append(part[None, start : start + rows])
                    shard.finish({})
            sources = [Source(shard_path(work, block), block.window) for block in blocks]
            sidecar = sidecar_of_classes(
                spec.legend, np.bincount(classes.ravel(), minlength=256), None
            )
            beside = {path.with_name(path.name + SIDECAR_SUFFIX): sidecar}
            put_in_place(write_cog(work, "map.tif", spec, sources), path, beside)
            work.finish()

    return write


@pytest.fixture(scope="session")
def gdalinfo():
    """What Debian's GDAL, of another version than the one in rasterio, tells of a raster."""
    program = shutil.which("gdalinfo")
    if program is None:
        pytest.skip("gdalinfo is not installed (gdal-bin)")

    def read(path):
        told = subprocess.run([program, "-json", path], check=True, capture_output=True, text=True)
        assert told.stderr == ""
        return json.loads(told.stdout)

    return read


@pytest.fixture(scope="session")
def lively_model(tmp_path_factory, tiny_model) -> Path:
    """Random weights that see much: a map of all classes, with edges everywhere."""
    found = load_model(tiny_model)
    with torch.no_grad():
        found.network.decoder.classify[2].weight.mul_(100.0)
        found.network.decoder.classify[2].bias.zero_()
    path = tmp_path_factory.mktemp("model") / "lively.safetensors"
    save_model(path, found.network, found.card)
    return path


@pytest.fixture
def write_raster(tmp_path):
    """Write an array (bands, height, width) as a GeoTIFF and return its path."""

    def write(array, name="raster.tif", **profile):
        return write_geotiff(tmp_path / name, array, **profile)

    return write


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("no mount on this system")
    words = [mount, "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", folder]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("only the superuser may mount a small file system")
    yield folder
    subprocess.run([shutil.which("umount"), folder], check=True)
