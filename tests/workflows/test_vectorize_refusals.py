"""What `hyseg vectorize` cannot do, and what it leaves then: nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin
from workflows.vectorizing import read, run

from hyseg_cli.cli.group import cli
from hyseg_cli.errors import HysegError
from hyseg_cli.geo.coverage import rings
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.workflows.vectorize import polygons


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--out", "map.txt"], 2, "does not end in"),
        (["--out", "nowhere/map.gpkg"], 2, "no such folder"),
        (["--out", "map.gpkg", "--simplify", "5"], 2, "is not an amount in px or m"),
        (["--out", "map.gpkg", "--simplify", "-1px"], 2, "is not an amount"),
        (["--out", "map.gpkg", "--mmu", "5m"], 2, "is not an amount in px or m2 or ha"),
        (["--out", "map.gpkg", "--mmu", "5px", "--mmu", "road=5m2"], 2, "mixes pixels and areas"),
        (["--out", "map.gpkg", "--mmu", "swamp=5px"], 2, "The classes are building, land"),
        (["--out", "map.gpkg", "--classes", "swamp"], 2, "no such class"),
        (["--out", "map.gpkg", "--mmu", "5px", "--keep", "9"], 2, "no such class"),
        (["--out", "map.gpkg", "--fill-nodata"], 2, "needs a minimum mapping unit"),
        (["--out", "map.gpkg", "--split-tiles", "3"], 2, "less than 16"),
        (["--out", "map.gpkg", "--split-tiles", "64", "--dissolve"], 2, "Leave one of them out"),
        (["--out", "map.gpkg", "--split-files"], 2, "is for Shapefiles"),
        (["--out", "map.gpkg", "--confidence", "none.tif"], 2, "no such file"),
        (["--out", "map.SHP"], 2, "write .shp"),
        (["--out", "map.geojson", "--dst-crs", "EPSG:3857"], 2, "longitude and latitude"),
        (["--out", "map.gpkg", "--sieve-out", "s.png"], 2, "--sieve-out s.png does not end"),
        (["--out", "map.gpkg", "--dst-crs", "Mars"], 2, "is not a valid CRS"),
        (["--out", "map.gpkg", "--legend", "none.json"], 2, "no such legend"),
        (["--out", "/proc/map.gpkg"], 1, "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_told_and_leaves_nothing(tmp_path, land_cover, flags, code, words):
    out = flags[1] if flags[1].startswith("/") else str(tmp_path / flags[1])
    before = set(tmp_path.iterdir())
    result = run(land_cover, "--out", out, *flags[2:])
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda w: w(np.zeros((3, 9, 9), np.uint8)), 4, "not a class raster"),
        (lambda w: w(np.full((1, 9, 9), 0.5, np.float32)), 4, "not a class raster"),
        (lambda w: w(np.full((1, 9, 9), 255, np.uint8), nodata=255), 1, "holds no class"),
    ],
)
def test_rasters_that_hold_no_classes_are_refused(tmp_path, write_raster, make, code, words):
    result = run(make(write_raster), "--out", tmp_path / "map.gpkg")
    assert result.exit_code == code
    assert words in result.stderr


def test_without_place_there_are_no_metres_and_no_degrees(tmp_path, write_raster):
    path = write_raster(np.zeros((1, 9, 9), np.uint8), crs=None, transform=rasterio.Affine.scale(2))
    for flags in (
        ["m.gpkg", "--simplify", "2m"],
        ["m.geojson"],
        ["m.gpkg", "--dst-crs", "EPSG:4326"],
    ):
        result = run(path, "--out", tmp_path / flags[0], *flags[1:])
        assert result.exit_code == 2, flags


def test_polygons_that_exist_are_kept(tmp_path, land_cover):
    out = tmp_path / "map.gpkg"
    out.write_text("mine")
    assert run(land_cover, "--out", out).exit_code == 3
    assert out.read_text() == "mine"
    assert run(land_cover, "--out", out, "--overwrite").exit_code == 0
    assert len(read(out)) > 1


def test_a_failed_check_writes_nothing(tmp_path, land_cover, monkeypatch):
    close = rings.OpenArcs.close

    def spoil(self, *arguments):
        found = close(self, *arguments)
        found.x[0] += 1
        return found

    monkeypatch.setattr(rings.OpenArcs, "close", spoil)
    result = run(land_cover, "--out", tmp_path / "map.gpkg")
    assert result.exit_code == 5
    assert "do not form a coverage" in result.stderr
    assert not list(tmp_path.glob("map.gpkg*"))
    # The same polygons without the check: it is the check that refused them.
    assert run(land_cover, "--out", tmp_path / "map.gpkg", "--no-check").exit_code == 0


def test_a_damaged_raster_leaves_nothing(tmp_path, write_raster):
    rng = np.random.default_rng(0)
    path = write_raster(rng.integers(0, 4, (1, 600, 300), dtype=np.uint8), compress="deflate")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    path.write_bytes(data)
    result = run(path, "--out", tmp_path / "map.gpkg")
    assert result.exit_code == 1
    assert "cannot be read" in result.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"raster.tif"}


def test_a_disk_that_would_fill_up_is_told_before(tmp_path, land_cover, monkeypatch):
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(polygons.shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    result = run(land_cover, "--out", tmp_path / "map.gpkg")
    assert result.exit_code == 1
    assert "are free" in result.stderr
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet", ".shp"])
@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "Interrupted"),
        (HysegError("the disk has gone", hint="Find it."), 1, "the disk has gone"),
    ],
)
def test_what_stops_the_tracing_is_told_as_it_is(
    tmp_path, land_cover, monkeypatch, suffix, error, code, words
):
    before = set(tmp_path.iterdir())
    trace = polygons.trace_polygons

    def interrupted(*arguments):
        yield next(trace(*arguments))
        raise error

    monkeypatch.setattr(polygons, "trace_polygons", interrupted)
    result = run(land_cover, "--out", tmp_path / f"map{suffix}")
    assert result.exit_code == code, result.stderr
    assert words in result.stderr
    assert "defect" not in result.stderr
    assert set(tmp_path.iterdir()) == before


def test_points_without_a_place_in_the_new_crs_are_told(tmp_path, write_raster):
    place = from_origin(95, 10, 1, 1)
    path = write_raster(np.ones((10, 10), np.uint8), crs="EPSG:4326", transform=place)
    result = run(path, "--out", tmp_path / "map.gpkg", "--dst-crs", "EPSG:32632")
    assert result.exit_code == 1
    assert "cannot be transformed to the requested CRS" in result.stderr


def test_classes_that_do_not_occur_are_told(tmp_path, write_raster):
    (tmp_path / "legend.csv").write_text("id,name\n1,land\n2,water\n")
    path = write_raster(np.ones((4, 4), np.uint8))
    flags = ["--legend", tmp_path / "legend.csv", "--classes", "water"]
    result = run(path, "--out", tmp_path / "map.gpkg", *flags)
    assert result.exit_code == 2
    assert "has no pixel of water" in result.stderr


def test_areas_need_a_place(tmp_path, write_raster):
    path = write_raster(np.ones((4, 4), np.uint8), crs=None, transform=rasterio.Affine.scale(2))
    result = run(path, "--out", tmp_path / "map.gpkg", "--mmu", "100m2")
    assert result.exit_code == 2
    assert "Give the unit in px" in result.stderr


# A shell may start the tests in the background, where Ctrl-C is ignored.
TOLD_OF_SIGNALS = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from hyseg_cli.cli.group import cli; cli()"
)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_half_made(tmp_path, write_raster, sign, code):
    random = np.random.default_rng(0)
    path = write_raster(random.integers(1, 5, (900, 900), dtype=np.uint8))
    out = tmp_path / "out" / "polygons.gpkg"
    out.parent.mkdir()
    command = [sys.executable, "-c", TOLD_OF_SIGNALS, "vectorize", path, "--out", out, "-q"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        half_made = out.parent / "polygons.gpkg.hyseg" / "layer" / "polygons.gpkg"
        while not half_made.exists() and running.poll() is None:
            time.sleep(0.01)
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        writers = children.read_text().split() if children.exists() else []
        running.send_signal(sign)
        _, told = running.communicate(timeout=60)
    assert running.returncode == code, told
    assert told == ("Interrupted.\n" if sign == signal.SIGINT else "Terminated.\n")
    assert list(out.parent.iterdir()) == []
    assert not any(Path(f"/proc/{writer}").exists() for writer in writers)


@pytest.fixture
def unfinished(tmp_path, scene_of_strips, tiny_model):
    """Parts of a map that `hyseg predict --out b.tif` has computed and not joined."""
    flags = ["--out", tmp_path / "b.tif", "-m", tiny_model, "--shard", "1/1", "-q"]
    done = CliRunner().invoke(cli, ["predict", *map(str, [scene_of_strips, *flags])])
    assert done.exit_code == 0, done.output
    return tmp_path / "b.tif.hyseg"


@pytest.fixture
def scene_of_strips(write_raster):
    image = np.random.default_rng(0).integers(1, 255, (3, 90, 130), dtype=np.uint8)
    return write_raster(image, "scene.tif", photometric="RGB")


def test_a_sieved_raster_never_costs_the_unfinished_work_of_a_map(tmp_path, land_cover, unfinished):
    before = {path.name: path.read_bytes() for path in unfinished.iterdir()}
    flags = ["--mmu", "25px", "--sieve-out", tmp_path / "b.tif"]
    result = run(land_cover, "--out", tmp_path / "o.gpkg", *flags)
    assert {path.name: path.read_bytes() for path in unfinished.iterdir()} == before
    assert result.exit_code == 3, result.output
    assert "holds the unfinished work of another run" in result.stderr
    assert not (tmp_path / "o.gpkg").exists()


def test_two_runs_never_write_one_layer_at_a_time(tmp_path, land_cover):
    out = tmp_path / "o.gpkg"
    with WorkFolder(out).locked():
        result = run(land_cover, "--out", out)
    assert result.exit_code == 3, result.output
    assert "being written by another run" in result.stderr
    assert run(land_cover, "--out", out).exit_code == 0


def test_what_a_killed_run_left_of_its_polygons_hinders_no_other(tmp_path, land_cover):
    left = tmp_path / "o.gpkg.hyseg" / "layer"
    left.mkdir(parents=True)
    (left / "o.gpkg").write_text("half")
    assert run(land_cover, "--out", tmp_path / "o.gpkg").exit_code == 0
    assert not left.parent.exists()
