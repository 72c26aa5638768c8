"""Scenes shared by the actors of a Ray cluster."""

from __future__ import annotations

import signal
import socket

import pytest
from cluster.conftest import SMALL_BLOCKS, TILES, Shards
from workflows.test_full_disk import fill

pytestmark = pytest.mark.slow


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_workers_and_machines_that_go_and_come_change_nothing(
    tmp_path, cluster, scene, lively_model, expected
):
    out = tmp_path / "map.tif"
    run = cluster.start(scene, "--out", out, "-m", lively_model, *TILES, "--workers", 2)
    shards = Shards(out, run)
    shards.wait_for(2)
    for worker in cluster.workers():
        worker.send_signal(signal.SIGKILL)
    shards.wait_for(2)
    cluster.order("remove")
    shards.wait_for(2)
    cluster.order("add")
    told = shards.wait_for_the_end()
    assert run.returncode == 0, told
    assert told[1].count("another worker takes over its task") >= 1
    assert shards.changed == []
    assert out.read_bytes() == expected
    assert names(tmp_path) == ["map.tif", "map.tif.aux.xml"]


def test_a_driver_that_is_killed_is_started_again(tmp_path, cluster, scene, lively_model, expected):
    out = tmp_path / "map.tif"
    words = (scene, "--out", out, "-m", lively_model, *TILES)
    first = cluster.start(*words)
    shards = Shards(out, first)
    shards.wait_for(3)
    first.kill()
    first.communicate()
    assert not out.exists()
    shards.process = cluster.start(*words)
    told = shards.wait_for_the_end()
    assert shards.process.returncode == 0, told
    assert "resuming" in told[1]
    assert out.read_bytes() == expected
    assert names(tmp_path) == ["map.tif", "map.tif.aux.xml"]


def test_a_scene_that_looks_unlike_the_training_is_announced(tmp_path, cluster, strange_scene):
    code, told = cluster.run(strange_scene, "--out", tmp_path / "map.tif", setting="")
    assert code == 0, told
    assert "looks unlike" in told


def test_what_is_wrong_with_a_cluster_is_told_in_one_line(
    tmp_path, cluster, scene, lively_model, monkeypatch
):
    words = (scene, "--out", tmp_path / "map.tif", "-m", lively_model, *TILES)
    code, told = cluster.run(*words, "--gpus-per-worker", 1)
    assert code == 2
    assert "the cluster has 0 GPUs" in told.splitlines()[-2]
    older = "import hyseg_cli; hyseg_cli.__version__ = '0.0.9'; " + SMALL_BLOCKS
    code, told = cluster.run(*words, setting=older)
    assert code == 1
    assert "this is hyseg 0.0.9" in told.splitlines()[-2]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setitem(
            cluster.environment, "RAY_ADDRESS", f"127.0.0.1:{free.getsockname()[1]}"
        )
        code, told = cluster.run(*words)
    assert code == 1
    assert "no Ray cluster answers at 127.0.0.1" in told.splitlines()[-2]
    assert names(tmp_path) == []


def test_storage_that_is_full_ends_in_one_error_and_the_run_goes_on(
    cluster, small_disk, scene, lively_model, expected
):
    out = small_disk / "map.tif"
    filler = fill(small_disk, 40_000)
    no_forecast = (
        "from hyseg_cli.workflows.predict import plan; "
        "plan.BYTES_PER_CLASS_PIXEL = 0.0; " + SMALL_BLOCKS
    )
    words = (scene, "--out", out, "-m", lively_model, *TILES)
    code, told = cluster.run(*words, setting=no_forecast)
    assert code == 1, told
    error, hint = told.splitlines()[-2:]
    assert "the map cannot be written" in error
    assert "free space" in hint
    assert not out.exists()
    filler.unlink()
    assert cluster.run(*words)[0] == 0
    assert out.read_bytes() == expected
    assert names(small_disk) == ["map.tif", "map.tif.aux.xml"]
