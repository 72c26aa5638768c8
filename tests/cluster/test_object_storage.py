"""Scenes and maps in object storage, on an S3-compatible server of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from cluster.conftest import RUN, SECONDS, SMALL_BLOCKS, TILES

from hyseg_cli.cli.group import cli
from hyseg_cli.errors import HysegError, StateMismatchError
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.raster import object_storage

pytestmark = pytest.mark.slow

UPLOAD = """
import sys
import boto3
endpoint, path = sys.argv[1:]
store = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
store.create_bucket(Bucket="scenes")
store.create_bucket(Bucket="maps")
store.upload_file(path, "scenes", "east.tif")
"""


@pytest.fixture
def storage(scene):
    """The environment in which /vsis3/scenes/east.tif is a scene."""
    pytest.importorskip("moto.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_S3_ENDPOINT": f"127.0.0.1:{port}",
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "OMP_NUM_THREADS": "1",
    }
    server = subprocess.Popen(
        [
            *(sys.executable, "-W", "ignore", "-c"),
            "from moto.server import main; main()",
            *("-H", "127.0.0.1", "-p", str(port)),
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        upload = [sys.executable, "-W", "ignore", "-c", UPLOAD, f"http://127.0.0.1:{port}", scene]
        end = time.monotonic() + SECONDS
        # Until the server listens, the client is refused.
        while subprocess.run(upload, env=environment, check=False, capture_output=True).returncode:
            assert time.monotonic() < end
        yield environment
    finally:
        server.kill()
        server.wait()


def start(environment, *words):
    return subprocess.Popen(
        [sys.executable, "-c", SMALL_BLOCKS + RUN, "predict", *map(str, words)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def predict(environment, *words):
    process = start(environment, *words)
    told = process.communicate(timeout=SECONDS)[1]
    return process.returncode, told


@pytest.fixture
def bucket(storage, monkeypatch):
    """The bucket of maps, and its server as this process finds it."""
    for name, value in storage.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    object_storage._client.cache_clear()
    yield "/vsis3/maps/"
    object_storage._client.cache_clear()


def content(tmp_path, name):
    file = tmp_path / "fetched"
    object_storage.download(name, file)
    return file.read_bytes()


def test_a_scene_of_a_bucket_maps_as_the_file(tmp_path, storage, lively_model, expected):
    out, local = tmp_path / "map.tif", tmp_path / "local.tif"
    code, told = predict(
        storage, "/vsis3/scenes/east.tif", "--out", out, "-m", lively_model, *TILES, "--devices", 2
    )
    assert code == 0, told
    local.write_bytes(expected)
    with rasterio.open(out) as found, rasterio.open(local) as file:
        np.testing.assert_array_equal(found.read(), file.read())
        assert found.transform == file.transform
    names = tmp_path / "scenes.txt"
    names.write_text("/vsis3/scenes/east.tif\n/vsis3/scenes/none.tif\n")
    code, told = predict(
        storage, f"@{names}", "--out", tmp_path / "maps", "-m", lively_model, *TILES
    )
    assert code == 6, told
    assert "/vsis3/scenes/none.tif is left out" in told
    assert (tmp_path / "maps" / "east_hyseg.tif").exists()


def test_a_map_goes_to_a_bucket_whole(tmp_path, scene, storage, bucket, lively_model, expected):
    staging, out = tmp_path / "staging", f"{bucket}lagos/map.tif"
    object_storage.create_text(f"{out}.ovr", "of a map that is gone")
    words = (scene, "--out", out, "-m", lively_model, *TILES, "--staging", staging)
    more = ("--confidence", f"{bucket}lagos/sure.tif", "--style", "--stac")
    local = ("--preview", tmp_path / "preview.png")
    code, told = predict(storage, *words, *more, *local)
    assert code == 0, told
    assert content(tmp_path, out) == expected
    assert object_storage.names_under(f"{bucket}lagos/") == {
        *("map.tif", "map.tif.aux.xml", "map.qml", "map.sld", "map.tif.stac.json"),
        *("sure.tif", "sure.tif.aux.xml"),
    }
    assert object_storage.names_under(f"{out}.hyseg/") == frozenset()
    assert (tmp_path / "preview.png").exists()
    assert [path for path in staging.rglob("*") if path.is_file()] == []
    with rasterio.open(out) as found:  # as anybody would
        assert found.colormap(1)
        assert found.width == 300
    for words_of in (("info", out), ("vectorize", out, "--out", tmp_path / "polygons.gpkg")):
        result = CliRunner().invoke(cli, [*map(str, words_of), "--json"])
        assert result.exit_code == 0, result.output

    code, told = predict(storage, *words)
    assert code == 3
    assert f"{out} exists already" in told
    code, told = predict(storage, *words, "--overwrite")
    assert code == 0, told
    assert content(tmp_path, out) == expected


def test_parts_of_machines_that_share_a_bucket_only(
    tmp_path, scene, storage, bucket, lively_model, expected
):
    out = f"{bucket}map.tif"
    words = (scene, "--out", out, "-m", lively_model, *TILES)
    parts = [
        start(storage, *words, "--shard", f"{part}/3", "--staging", tmp_path / f"machine{part}")
        for part in (1, 2, 3)
    ]
    for part in parts:
        told = part.communicate(timeout=SECONDS)[1]
        assert part.returncode == 0, told
    for part in (1, 2, 3):
        left = (tmp_path / f"machine{part}").rglob("*")
        assert [path for path in left if path.is_file() and path.suffix != ".lock"] == []
    code, told = predict(storage, *words, "--merge", "--staging", tmp_path / "merging")
    assert code == 0, told
    assert content(tmp_path, out) == expected
    assert object_storage.names_under(bucket) == {"map.tif", "map.tif.aux.xml"}
    assert object_storage.names_under(f"{out}.hyseg/") == frozenset()


def test_a_killed_run_goes_on_on_another_machine(
    tmp_path, scene, storage, bucket, lively_model, expected
):
    out = f"{bucket}map.tif"
    words = (scene, "--out", out, "-m", lively_model, *TILES)
    first = start(storage, *words, "--staging", tmp_path / "lost")
    end = time.monotonic() + SECONDS
    while sum(n.endswith(".tif") for n in object_storage.names_under(f"{out}.hyseg/")) < 2:
        assert time.monotonic() < end
        assert first.poll() is None
    first.kill()
    first.communicate()
    code, told = predict(
        storage, *words, "--seed", 1, "--staging", tmp_path / "other", "--noise", "position"
    )
    assert code == 3
    assert "seed was 0, is 1" in told
    code, told = predict(storage, *words, "--staging", tmp_path / "other")
    assert code == 0, told
    assert "resuming:" in told
    assert content(tmp_path, out) == expected
    assert object_storage.names_under(f"{out}.hyseg/") == frozenset()


def test_of_two_machines_that_settle_at_once_one_does(tmp_path, bucket, monkeypatch):
    one, other = (
        WorkFolder(tmp_path / name / "map.tif", remote=f"{bucket}map.tif") for name in "ab"
    )
    with one.locked(), other.locked():
        assert not one.settle({"seed": 0}, resume=True)
        # The other had looked before there was anything.
        looked = [None]
        read = object_storage.read_text
        monkeypatch.setattr(
            object_storage, "read_text", lambda name: looked.pop() if looked else read(name)
        )
        with pytest.raises(StateMismatchError, match="seed was 0, is 1"):
            other.settle({"seed": 1}, resume=True)
        looked.append(None)
        assert other.settle({"seed": 0}, resume=True)
        assert other.mark == one.mark
    # A worker of a third machine, which holds no lock.
    worker = WorkFolder(tmp_path / "c" / "map.tif", one.mark, remote=f"{bucket}map.tif")
    with worker.writing("shard.tif") as path:
        path.write_bytes(b"pixels")
    assert worker.names() == {"manifest.json", "shard.tif"}
    assert not list((tmp_path / "c").rglob("*.tif"))


def test_a_bucket_that_is_not_there_is_told_before_any_work(
    tmp_path, scene, storage, bucket, lively_model
):
    words = (scene, "-m", lively_model, "--staging", tmp_path / "staging")
    code, told = predict(storage, *words, "--out", "/vsis3/nowhere/map.tif")
    assert code == 1
    assert "/vsis3/nowhere" in told
    assert "AWS_S3_ENDPOINT" in told
    code, told = predict(storage, *words, "--out", "/vsigs/maps/map.tif")
    assert code == 2
    assert "/vsis3/BUCKET/NAME" in told
    with pytest.raises(HysegError, match="nowhere"):
        object_storage.upload(scene, "/vsis3/nowhere/scene.tif")
