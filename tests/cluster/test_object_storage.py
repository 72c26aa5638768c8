"""Scenes in object storage, read from an S3-compatible server on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import rasterio
from cluster.conftest import RUN, SECONDS, SMALL_UNITS, TILES

pytestmark = pytest.mark.slow

UPLOAD = """
import sys
import boto3
endpoint, path = sys.argv[1:]
store = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
store.create_bucket(Bucket="scenes")
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


def predict(environment, *words):
    done = subprocess.run(
        [sys.executable, "-c", SMALL_UNITS + RUN, "predict", *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


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
