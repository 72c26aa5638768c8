"""Processes of this machine as workers, and what is said before any engine starts."""

from __future__ import annotations

import ast
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from cluster.conftest import ROOT, RUN, SMALL_BLOCKS, TILES, Shards

from hyseg_cli.cli.group import cli


def predict(*words):
    return CliRunner().invoke(cli, ["predict", *map(str, words)])


def test_ray_is_imported_where_it_is_asked_for_and_nowhere_else():
    places = []
    for path in sorted((ROOT / "hyseg_cli").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            found = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            if isinstance(node, ast.ImportFrom) and node.module:
                found = {node.module}
            if any(name.split(".")[0] == "ray" or "ray_pool" in name for name in found):
                assert node not in tree.body, f"{path} imports it at once"
                places.append(path.name)
    assert places == ["ray_pool.py", "queue.py"]


def test_ray_that_is_not_installed_is_told(tmp_path, scene, tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = predict(scene, "--out", tmp_path / "map.tif", "-m", tiny_model, "--cluster", "ray")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-2:] == [
        "Error: --cluster needs Ray, which is not installed",
        'Hint: Install it on all machines: pip install "hyseg[ray]".',
    ]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--cluster", "dask"], "--cluster dask is not a valid cluster"),
        (["--cluster", "ray://host"], "is not a valid cluster"),
        (["--cluster", "ray", "--devices", 2], "exclude each other"),
        (["--cluster", "ray", "--device", "cuda"], "exclude each other"),
        (["--cluster", "ray", "--shard", "1/2"], "exclude each other"),
        (["--cluster", "ray", "--workers", 0], "--workers 0 is less than 1"),
        (["--cluster", "ray", "--gpus-per-worker", -1], "is not a valid number of GPUs"),
        (["--workers", 2], "need --cluster"),
        (["--gpus-per-worker", 1], "need --cluster"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_flags_that_make_no_sense_together_are_refused(tmp_path, scene, flags, told):
    result = predict(scene, "--out", tmp_path / "map.tif", *flags)
    assert result.exit_code == 2
    assert told in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_scene_that_looks_unlike_the_training_is_announced_on_several_devices(
    tmp_path, strange_scene
):
    """How unlike it is does not depend on who maps."""
    found = []
    for devices in (1, 2):
        out = tmp_path / f"{devices}.tif"
        told = predict(strange_scene, "-o", out, "--device", "cpu", "--devices", devices, "--json")
        assert told.exit_code == 0, told.output
        result = json.loads(told.stdout)
        assert any("looks unlike" in warning for warning in result["warnings"])
        assert "looks unlike" in told.stderr
        found.append(result["dissimilarity"])
    assert found[0] > 1
    assert found[1] == pytest.approx(found[0], rel=1e-3)


@pytest.mark.slow
def test_processes_that_are_killed_are_replaced(tmp_path, scene, lively_model, expected):
    out = tmp_path / "map.tif"
    words = ["predict", scene, "--out", out, "-m", lively_model, *TILES, "--devices", "2"]
    run = subprocess.Popen(
        [sys.executable, "-c", SMALL_BLOCKS + RUN, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    shards = Shards(out, run)
    shards.wait_for(2)
    workers = [
        child
        for child in psutil.Process(run.pid).children()
        if "spawn_main" in " ".join(child.cmdline())
    ]
    assert len(workers) == 2
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    told = shards.wait_for_the_end()
    assert run.returncode == 0, told
    assert "ended with code -9; another worker takes over its task" in told[1]
    assert shards.changed == []
    assert out.read_bytes() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "map.tif.aux.xml"]


@pytest.mark.slow
def test_scenes_that_fail_are_told_and_the_rest_is_mapped(
    tmp_path, scene, lively_model, expected, monkeypatch
):
    from hyseg_cli.geo.tiling import blocks

    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 6000)
    folder = tmp_path / "scenes"
    folder.mkdir()
    for name in ("a", "c"):
        shutil.copy(scene, folder / f"{name}.tif")
    (folder / "b.tif").write_text("this is no raster")
    cut = folder / "d.tif"
    cut.write_bytes(scene.read_bytes()[: Path(scene).stat().st_size // 2])
    common = (folder, "--out", tmp_path / "maps", "-m", lively_model, *TILES, "--devices", 2)
    result = predict(*common, "--json")
    assert result.exit_code == 6, result.output
    assert result.stderr.count("is left out") == 2
    maps = tmp_path / "maps"
    for name in ("a", "c"):
        assert rasters_equal(maps / f"{name}_hyseg.tif", expected, tmp_path / "expected.tif")
    assert not [path for path in maps.iterdir() if path.name.startswith(("b", "d"))]
    assert predict(*common, "--skip-existing", "--on-error", "stop").exit_code == 1


def rasters_equal(path, data, copy):
    """Whether a map holds the classes of another, whose bytes tell another name of the scene."""
    import numpy as np
    import rasterio

    copy.write_bytes(data)
    with rasterio.open(path) as one, rasterio.open(copy) as other:
        return np.array_equal(one.read(), other.read())
