"""The map depends on nothing but the scene, the model and the settings."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import make_scene
import numpy as np
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from filelock import FileLock
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from hyseg_cli.cli.group import cli
from hyseg_cli.geo import atomic
from hyseg_cli.geo.output import work_folder as work
from hyseg_cli.geo.tiling import blocks

# A shell may start the tests in the background, where Ctrl-C is ignored.
SMALL_BLOCKS = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from hyseg_cli.geo.tiling import blocks; blocks.BLOCK_PIXELS = 6000; "
    "from hyseg_cli.cli.group import cli; cli()"
)
TILES = ("--tile-size", 64, "--overlap", 32)


def run(*arguments):
    return CliRunner().invoke(cli, ["predict", *map(str, arguments)])


def read(path):
    with rasterio.open(path) as file:
        return file.read()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_PIXELS", 6000)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A scene whose size is no multiple of anything."""
    folder = tmp_path_factory.mktemp("scene")
    make_scene.write_scene(folder, "east", seed=3, size=300)
    source = folder / "images" / "east.tif"
    with rasterio.open(source) as file:
        profile, window = file.profile, Window(0, 0, 287, 231)
        image, transform = file.read(window=window), file.window_transform(window)
    image[:, 100:130, 40:60] = profile["nodata"] or 0
    path = folder / "scene.tif"
    profile.update(width=287, height=231, transform=transform, tiled=False)
    for key in ("blockxsize", "blockysize"):
        profile.pop(key, None)
    with rasterio.open(path, "w", **profile) as file:
        file.write(image)
    return path


@pytest.fixture
def model(lively_model):
    return lively_model


@pytest.fixture
def expected(tmp_path, scene, model):
    path = tmp_path / "expected" / "map.tif"
    path.parent.mkdir()
    result = run(scene, "--out", path, "-m", model, *TILES)
    assert result.exit_code == 0, result.output
    counts = np.bincount(read(path).ravel(), minlength=256)[:255]
    assert (counts > 0.01 * counts.sum()).sum() > 2  # a map of one class would prove nothing
    return path


@pytest.mark.parametrize(
    "flags",
    [
        ["--batch-size", 1],
        ["--batch-size", 7],
        # about 100 and about 180 columns of pixels
        ["--max-memory", "1MB"],
        ["--max-memory", "1.8MB"],
        ["--devices", 2],
        ["--confidence", "sure.tif"],
    ],
    ids=lambda flags: "".join(map(str, flags)),
)
def test_the_map_is_the_same_byte_for_byte(tmp_path, scene, model, expected, flags, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    result = run(scene, "--out", "map.tif", "-m", model, *TILES, *flags)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "map.tif").read_bytes() == expected.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} <= {
        "expected", "map.tif", "map.tif.aux.xml", "sure.tif", "sure.tif.aux.xml"
    }  # fmt: skip


def test_column_blocks_are_cut_at_all(tmp_path, scene, model):
    dry = run(scene, "--out", tmp_path / "m.tif", "-m", model, *TILES, "-n", "--json")
    narrow = run(
        scene, "--out", tmp_path / "m.tif", "-m", model, *TILES, "-n", "--json",
        "--max-memory", "1MB",
    )  # fmt: skip
    assert dry.exit_code == narrow.exit_code == 0, dry.output
    few, many = (json.loads(result.stdout)["forecast"] for result in (dry, narrow))
    assert 3 < few["parts"] < many["parts"]
    assert few["tiles"] == many["tiles"]
    assert list(tmp_path.iterdir()) == []


def test_parts_make_the_same_map(tmp_path, scene, model, expected):
    out = tmp_path / "map.tif"
    common = [scene, "--out", out, "-m", model, *TILES]
    for part in (2, 1):
        result = run(*common, "--shard", f"{part}/3")
        assert result.exit_code == 0, result.output
        assert not out.exists()
    early = run(*common, "--merge")
    assert early.exit_code == 1
    assert "parts are not computed" in early.stderr
    assert run(*common, "--shard", "3/3").exit_code == 0
    assert run(*common, "--merge").exit_code == 0
    assert out.read_bytes() == expected.read_bytes()
    assert not out.with_name("map.tif.hyseg").exists()


def test_merging_nothing_is_an_error(tmp_path, scene, model):
    result = run(scene, "--out", tmp_path / "map.tif", "-m", model, "--merge")
    assert result.exit_code == 3
    assert "no unfinished run" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stopped(tmp_path, scene, model, monkeypatch):
    """A run that was interrupted half-way, and its output."""
    from hyseg_cli.learn.inference.stitch import Stitcher

    out, finish, calls = tmp_path / "map.tif", Stitcher.finish, []

    def interrupt(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return finish(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Stitcher, "finish", interrupt)
        result = run(scene, "--out", out, "-m", model, *TILES)
    assert result.exit_code == 130
    assert "kept in" in result.stderr
    return out


def test_an_interrupted_run_goes_on(scene, model, expected, stopped, monkeypatch):
    from hyseg_cli.learn.inference.predictor import Predictor

    assert not stopped.exists()
    shards = {path: path.stat().st_mtime_ns for path in stopped.parent.glob("*.hyseg/row*.tif")}
    assert len(shards) >= 2
    tiles, call = [], Predictor.__call__

    def counting(self, image, valid, origin):
        tiles.append(len(image))
        return call(self, image, valid, origin)

    monkeypatch.setattr(Predictor, "__call__", counting)
    result = run(scene, "--out", stopped, "-m", model, *TILES)
    assert result.exit_code == 0, result.output
    assert "resuming" in result.stderr
    assert stopped.read_bytes() == expected.read_bytes()
    rest = sum(tiles)
    tiles.clear()
    run(scene, "--out", stopped, "-m", model, *TILES, "--overwrite")
    assert rest < 0.8 * sum(tiles)


@pytest.mark.parametrize(
    ("flags", "key"),
    [(["--seed", 5], "seed was 0, is 5"), (["--overlap", 0], "overlap was 32, is 0")],
)
def test_other_settings_do_not_go_on(scene, model, stopped, flags, key):
    common = [scene, "--out", stopped, "-m", model, *TILES, *flags]
    result = run(*common)
    assert result.exit_code == 3
    assert key in result.stderr
    assert "--no-resume" in result.stderr
    assert run(*common, "--no-resume").exit_code == 0
    assert not stopped.with_name("map.tif.hyseg").exists()


def test_a_changed_scene_does_not_go_on(tmp_path, scene, model, stopped):
    copy = tmp_path / "scene.tif"
    shutil.copy(scene, copy)
    with rasterio.open(copy, "r+") as file:
        file.write(255 - file.read())
    result = run(copy, "--out", stopped, "-m", model, *TILES)
    assert result.exit_code == 3
    assert "scene was" in result.stderr


def test_two_runs_on_one_output_refuse_each_other(tmp_path, scene, model, monkeypatch):
    monkeypatch.setattr(work, "PATIENCE_SECONDS", 0.1)
    folder = tmp_path / "map.tif.hyseg"
    folder.mkdir()
    with FileLock(folder / "run.lock"):
        for flags in ([], ["--shard", "1/2"]):
            result = run(scene, "--out", tmp_path / "map.tif", "-m", model, *flags)
            assert result.exit_code == 3
            assert "another run" in result.stderr
    with FileLock(folder / "part-1-of-2.lock"):
        for flags, code in (
            ([], 3), (["--shard", "1/2"], 3), (["--merge"], 3), (["--shard", "2/2"], 0)
        ):  # fmt: skip
            result = run(scene, "--out", tmp_path / "map.tif", "-m", model, *flags)
            assert result.exit_code == code, (flags, result.output)


def test_bounds_give_a_window_of_the_map(tmp_path, scene, model, expected):
    with rasterio.open(scene) as file:
        place = Window(61, 47, 150, 99)
        bounds = file.window_bounds(place)
        transform = file.window_transform(place)
    result = run(
        scene, "--out", tmp_path / "map.tif", "-m", model, *TILES,
        "--bounds", ",".join(map(repr, bounds)), "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    with rasterio.open(tmp_path / "map.tif") as file, rasterio.open(expected) as whole:
        np.testing.assert_array_equal(file.read(), whole.read(window=place))
        np.testing.assert_allclose(file.transform, transform, rtol=1e-12)
        counts = np.bincount(file.read(1).ravel(), minlength=256)
    told = json.loads(result.stdout)
    assert {c["id"]: c["pixels"] for c in told["classes"]} == {
        i: n for i, n in enumerate(counts) if n
    }
    assert sum(c["hectares"] for c in told["classes"]) == pytest.approx(
        150 * 99 * abs(transform.a * transform.e) / 1e4
    )


def test_bounds_elsewhere_are_wrong_usage(tmp_path, scene, model):
    result = run(scene, "--out", tmp_path / "map.tif", "-m", model, "--bounds", "0,0,10,10")
    assert result.exit_code == 2
    assert "lies outside" in result.stderr


def test_nothing_is_mapped_outside_an_area(tmp_path, scene, model, expected):
    with rasterio.open(scene) as file:
        left, bottom, right, top = file.bounds
        crs = file.crs
    middle = shapely.Point((left + right) / 2, (bottom + top) / 2)
    shape = middle.buffer((right - left) / 4)
    path = tmp_path / "area.gpkg"
    gpd.GeoDataFrame(geometry=[shape], crs=crs).to_crs(4326).to_file(path)
    result = run(scene, "--out", tmp_path / "map.tif", "-m", model, *TILES, "--aoi", path)
    assert result.exit_code == 0, result.output
    with rasterio.open(tmp_path / "map.tif") as file, rasterio.open(expected) as whole:
        place = whole.window(*file.bounds).round_offsets().round_lengths()
        found, there = file.read(1), whole.read(1, window=place)
        rows, cols = np.indices(found.shape)
        x, y = file.transform @ (cols + 0.5, rows + 0.5)
    inside = shapely.contains_xy(shape.buffer(-0.6), x, y)
    outside = ~shapely.contains_xy(shape.buffer(0.6), x, y)
    np.testing.assert_array_equal(found[inside], there[inside])
    assert (found[outside] == 255).all()
    assert inside.sum() > 1000


def cut(scene, folder, rows=3, cols=3):
    """Cut a scene into files of one grid."""
    folder.mkdir()
    with rasterio.open(scene) as file:
        height, width = -(-file.height // rows), -(-file.width // cols)
        for row in range(rows):
            for col in range(cols):
                window = Window(
                    col * width,
                    row * height,
                    min(width, file.width - col * width),
                    min(height, file.height - row * height),
                )
                profile = {
                    **file.profile, "width": window.width, "height": window.height,
                    "transform": file.window_transform(window),
                }  # fmt: skip
                with rasterio.open(folder / f"part{row}{col}.tif", "w", **profile) as part:
                    part.write(file.read(window=window))
                    part.colorinterp = file.colorinterp


def test_a_cut_scene_maps_with_context_as_the_whole(tmp_path, scene, model, expected):
    cut(scene, tmp_path / "cut")
    out = tmp_path / "maps"
    result = run(tmp_path / "cut", "--out", out, "-m", model, *TILES, "--context")
    assert result.exit_code == 0, result.output
    alone = run(tmp_path / "cut", "--out", tmp_path / "alone", "-m", model, *TILES)
    assert alone.exit_code == 0
    differing = 0
    with rasterio.open(expected) as whole:
        for path in sorted(out.glob("*.tif")):
            with rasterio.open(path) as part:
                place = whole.window(*part.bounds).round_offsets().round_lengths()
                np.testing.assert_array_equal(part.read(), whole.read(window=place))
                differing += (part.read() != read(tmp_path / "alone" / path.name)).sum()
    assert len(list(out.glob("*.tif"))) == 9
    assert differing > 0  # without context, edges show
    assert not list(out.glob(".*"))


def test_one_bad_scene_does_not_stop_the_rest(tmp_path, scene, model):
    folder = tmp_path / "scenes"
    folder.mkdir()
    for name in ("a", "c"):
        shutil.copy(scene, folder / f"{name}.tif")
    (folder / "b.tif").write_text("this is no raster")
    common = [folder, "--out", tmp_path / "maps", "-m", model, *TILES]
    result = run(*common, "--json")
    assert result.exit_code == 6, result.output
    told = json.loads(result.stdout)
    assert [entry["state"] for entry in told["scenes"]] == ["done", "failed", "done"]
    assert "cannot be opened" in told["scenes"][1]["error"]["message"]
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {
        "a_hyseg.tif", "a_hyseg.tif.aux.xml", "c_hyseg.tif", "c_hyseg.tif.aux.xml"
    }  # fmt: skip
    again = run(*common, "--skip-existing", "--on-error", "stop")
    assert again.exit_code == 1
    assert "b.tif" in again.stderr
    (folder / "b.tif").unlink()
    assert run(*common, "--skip-existing", "-q").exit_code == 0


def test_scenes_may_come_from_a_list(tmp_path, scene, model):
    names = tmp_path / "list.txt"
    names.write_text(f"# two scenes\n{scene}\n\n")
    result = run(f"@{names}", "--out", tmp_path / "maps", "-m", model, *TILES, "-q")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "maps" / "scene_hyseg.tif").exists()
    names.write_text(f"{scene}\n{scene}\n")
    twice = run(f"@{names}", "--out", tmp_path / "maps", "-m", model)
    assert twice.exit_code == 2
    assert "both be written" in twice.stderr


def test_too_little_disk_is_refused_before_anything_runs(tmp_path, scene, model, monkeypatch):
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    result = run(scene, "--out", tmp_path / "map.tif", "-m", model)
    assert result.exit_code == 1
    assert "are needed" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_thirty_kills_change_nothing(tmp_path, scene, model):
    script = Path(__file__).parent / "killed_runs.py"
    out = tmp_path / "out"
    out.mkdir()
    printed = subprocess.run(
        [sys.executable, script, scene, model, out, "30", "0"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    found = json.loads(printed.stdout)
    assert found["killed"] == 30
    assert found["recomputed"] == 0
    assert found["same"]
    assert found["left"] == ["map.tif", "map.tif.aux.xml"]
    # The moments are spread over the run: before, between and after the shards.
    states = {(shards > 0, is_there) for _, shards, is_there in found["moments"]}
    assert {(False, False), (True, False)} <= states
    assert cog_validate(out / "map.tif")[0]


def test_ctrl_c_and_sigterm_keep_what_is_done(tmp_path, scene, model, expected):
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        out = tmp_path / f"{code}.tif"
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", SMALL_BLOCKS, "predict", scene, "--out", out),
                *("-m", model, *map(str, TILES)),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        folder = out.with_name(f"{out.name}.hyseg")
        while not any(folder.glob("row*.tif")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        _, told = process.communicate()
        assert process.returncode == code, told
        assert "kept in" in told
        assert not out.exists()
        assert run(scene, "--out", out, "-m", model, *TILES).exit_code == 0
        assert out.read_bytes() == expected.read_bytes()


def test_a_full_disk_keeps_what_is_done(tmp_path, scene, model, expected, monkeypatch):
    synced, sync = [], atomic.sync

    def fill(path):
        synced.append(path)
        if len(synced) > 12:
            raise OSError(28, "No space left on device", str(path))
        sync(path)

    out = tmp_path / "map.tif"
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "sync", fill)
        result = run(scene, "--out", out, "-m", model, *TILES)
    assert result.exit_code == 1
    assert "No space left" in result.stderr
    assert "kept in" in result.stderr
    assert not list(out.with_name("map.tif.hyseg").glob("*.tmp"))
    assert run(scene, "--out", out, "-m", model, *TILES).exit_code == 0
    assert out.read_bytes() == expected.read_bytes()
