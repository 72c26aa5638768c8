"""A Ray cluster on loopback, and runs that use it in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import make_scene
import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from rasters import write_geotiff

from hyseg_cli.cli.group import cli
from hyseg_cli.geo.tiling import blocks

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TILES = ("--tile-size", "64", "--overlap", "32", "--precision", "float32")
"""Small tiles, and the format of machines that share scenes: alone, some processors would choose
another, and their bytes differ."""
SMALL_BLOCKS = "from hyseg_cli.geo.tiling import blocks; blocks.BLOCK_PIXELS = 6000; "
RUN = "from hyseg_cli.cli.group import cli; cli()"
SECONDS = 120.0
"""How long anything may take on a busy machine."""


class SmallCluster:
    """A head and two nodes; nodes can be taken away and brought back.

    Args:
        places: Folders beside those of hyseg whose modules workers can import.
    """

    def __init__(self, *places):
        path = os.pathsep.join(
            [*map(str, places), str(ROOT), str(ROOT / "models"), *filter(None, sys.path)]
        )
        self.environment = {
            **os.environ,
            "PYTHONPATH": path,
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", HERE / "small_cluster.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self.environment,
        )
        self.address = self.process.stdout.readline().strip()
        self.environment["RAY_ADDRESS"] = self.address

    def order(self, word):
        print(word, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "ok\n"

    def workers(self):
        """The processes of the actors."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in found if "RayWorker" in " ".join(child.cmdline())]

    def start(self, *words, setting=SMALL_BLOCKS):
        """`hyseg predict` on the cluster, in a process of its own."""
        return subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-c", setting + RUN, "predict"),
                *map(str, words),
                *("--cluster", "ray"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def run(self, *words, setting=SMALL_BLOCKS):
        """Exit code, and what it wrote to stderr."""
        process = self.start(*words, setting=setting)
        told = process.communicate(timeout=SECONDS)[1]
        return process.returncode, told

    def stop(self):
        try:
            self.process.stdin.close()
            self.process.wait(timeout=30)
        finally:
            self.process.stdout.close()
            for child in psutil.Process().children(recursive=True):
                if child.pid == self.process.pid:
                    for one in [*child.children(recursive=True), child]:
                        one.kill()


@pytest.fixture(scope="session")
def cluster():
    pytest.importorskip("ray")
    found = SmallCluster()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    make_scene.write_scene(folder, "east", seed=3, size=300)
    return folder / "images" / "east.tif"


@pytest.fixture(scope="session")
def expected(tmp_path_factory, scene, lively_model):
    """The bytes of the map of one process."""
    out = tmp_path_factory.mktemp("expected") / "map.tif"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_PIXELS", 6000)
        words = ["predict", scene, "--out", out, "-m", lively_model, *TILES]
        result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return out.read_bytes()


@pytest.fixture
def strange_scene(tmp_path):
    """Noise, of which the built-in model knows that it has seen nothing like it."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 256, 256)).astype(np.uint8)
    return write_geotiff(tmp_path / "noise.tif", noise)


class Shards:
    """Watches the shards of a map while it is made."""

    def __init__(self, out, process):
        self.folder = out.with_name(f"{out.name}.hyseg")
        self.process = process
        self.seen = {}
        """Each shard and the time of its last change, as it was seen first."""
        self.changed = []

    def look(self):
        for path in self.folder.glob("row*.tif"):
            try:
                stamp = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue  # the run has ended
            if self.seen.setdefault(path.name, stamp) != stamp:
                self.changed.append(path.name)
        return len(self.seen)

    def wait_for(self, more):
        """Wait for so many more shards."""
        wanted, end = self.look() + more, time.monotonic() + SECONDS
        while self.look() < wanted and self.process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert self.process.poll() is None, self.process.communicate()

    def wait_for_the_end(self):
        end = time.monotonic() + SECONDS
        while self.process.poll() is None:
            self.look()
            assert time.monotonic() < end
            time.sleep(0.05)
        return self.process.communicate()
